"""The graphics card's encoder is taken only when it does what a stream needs; every failure is one line.

No machine of the tests has such an encoder: x264 stands in for one that works, wrapped for one that does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from transport.webrtc.encoders import EncodedPicture, X264Encoder
from transport.webrtc.nvenc import NvencEncoder, nvenc_refusal

Encode = Callable[[X264Encoder, tuple[Any, ...]], EncodedPicture]


def changed(encode: Encode) -> Callable[..., Any]:
    """x264 whose `encode` is another."""

    def make(*args: Any, **options: Any) -> Any:
        inner = X264Encoder(*args, **options)
        return SimpleNamespace(encode=lambda *given: encode(inner, given))

    return make


def failing(error: BaseException) -> Callable[..., Any]:
    def make(*args: Any, **options: Any) -> Any:
        raise error

    return make


@pytest.mark.parametrize("size", [(512, 512), (96, 64), (1280, 720)])
def test_an_encoder_that_works_is_taken(size: tuple[int, int]) -> None:
    assert nvenc_refusal(*size, make=X264Encoder) is None


def test_the_real_one_is_tried_and_answers_in_one_line() -> None:
    """With an NVIDIA card that has an encoder there is no reason, without one the driver is missing."""
    reason = nvenc_refusal(512, 512)
    try:
        NvencEncoder(512, 512, fps=30, bitrate=1_000_000, max_bitrate=1_000_000)
    except av.error.FFmpegError:
        assert reason is not None
        assert "\n" not in reason
        assert "NVIDIA" in reason or "h264_nvenc" in reason
    else:
        assert reason is None


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (av.error.PermissionError(1, "Operation not permitted"), "no NVIDIA driver"),
        (av.error.ExternalError(-542398533, "Generic error in an external library"), "external library"),
        (av.error.FFmpegError(38, "Function not implemented"), "driver is old"),
    ],
)
def test_an_encoder_that_does_not_open_says_why(error: av.error.FFmpegError, told: str) -> None:
    reason = nvenc_refusal(512, 512, make=failing(error))
    assert reason is not None
    assert told in reason
    assert "\n" not in reason


def test_a_bug_is_no_reason() -> None:
    with pytest.raises(ZeroDivisionError):
        nvenc_refusal(512, 512, make=failing(ZeroDivisionError()))


def late(inner: X264Encoder, given: tuple[Any, ...]) -> EncodedPicture:
    return replace(inner.encode(*given), data=b"")


def keyless(inner: X264Encoder, given: tuple[Any, ...]) -> EncodedPicture:
    picture, ticks, key, capture_ns = given
    if key:
        inner.encode(picture, ticks, True, capture_ns)
        ticks += 1
    return inner.encode(picture, ticks, False, capture_ns)


def swapped(inner: X264Encoder, given: tuple[Any, ...]) -> EncodedPicture:
    picture: NDArray[np.uint8] = given[0].copy()
    luma = picture.shape[0] * 2 // 3
    picture[luma:] = picture[luma:].reshape(2, -1)[::-1].reshape(picture[luma:].shape)
    return inner.encode(picture, *given[1:])


def high_profile(inner: X264Encoder, given: tuple[Any, ...]) -> EncodedPicture:
    encoded = inner.encode(*given)
    return replace(
        encoded, data=encoded.data.replace(b"\x00\x00\x00\x01\x67\x42", b"\x00\x00\x00\x01\x67\x64")
    )


@pytest.mark.parametrize(
    ("encode", "told"),
    [(late, "holds"), (keyless, "no key frame"), (swapped, "do not look"), (high_profile, "profile 100")],
)
def test_an_encoder_that_streams_badly_is_refused(encode: Encode, told: str) -> None:
    reason = nvenc_refusal(256, 256, make=changed(encode))
    assert reason is not None
    assert told in reason


def test_the_bitrate_moves_in_steps_because_each_costs_a_key_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: list[int] = []

    class Context(SimpleNamespace):
        def __setattr__(self, name: str, value: Any) -> None:
            if name == "bit_rate":
                set_to.append(value)
            super().__setattr__(name, value)

    context = Context(open=lambda: None)
    monkeypatch.setattr(av.CodecContext, "create", lambda name, mode: context)
    encoder = NvencEncoder(256, 256, fps=30, bitrate=1_000_000, max_bitrate=2_000_000)
    for bitrate in (1_100_000, 1_240_000, 1_300_000, 1_200_000, 900_000, 9_000_000):
        encoder.bitrate = bitrate
        assert encoder.bitrate == min(bitrate, 2_000_000)
    assert set_to == [1_000_000, 1_300_000, 900_000, 2_000_000]
    assert context.options["forced-idr"] == "1"
    with pytest.raises(ValueError, match="even"):
        NvencEncoder(255, 256, fps=30, bitrate=1, max_bitrate=1)
