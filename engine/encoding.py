"""Which H.264 encoder a job uses: the graphics card's when it draws there and has one, else x264."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING

from engine.backends import open_backend

if TYPE_CHECKING:
    from engine.look import Look
    from transport.files.mp4_writer import H264
    from transport.webrtc.encoders import Codec, MakeEncoder


def choose_h264(look: Look, refusal: Callable[[int, int], str | None] | None = None) -> H264:
    """The encoder for pictures of this look, chosen once a process; with CUDA, stderr says what and why.

    `refusal(width, height)` says why the card encodes nothing: `nvenc_refusal`, which tries it.
    """
    if open_backend(look.backend).name != "cuda":
        return "libx264"
    if refusal is None:
        from transport.webrtc.nvenc import nvenc_refusal as refusal
    return _choose(look.width, look.height, refusal)


def live_encoders(look: Look) -> Mapping[Codec, MakeEncoder]:
    """What a broadcast of pictures of this look encodes with."""
    from transport.webrtc.encoders import ENCODERS

    if choose_h264(look) == "libx264":
        return ENCODERS
    from transport.webrtc.nvenc import NvencEncoder

    return {**ENCODERS, "h264": NvencEncoder}


@cache
def _choose(width: int, height: int, refusal: Callable[[int, int], str | None]) -> H264:
    reason = refusal(width, height)
    if reason is None:
        print("visavis: encoding on the graphics card (h264_nvenc)", file=sys.stderr, flush=True)
        return "h264_nvenc"
    print(f"visavis: encoding on the processor (libx264): {reason}", file=sys.stderr, flush=True)
    return "libx264"
