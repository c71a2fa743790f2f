"""H.264 by the graphics card (NVENC), where it has an encoder: asked once, by encoding a picture."""

from __future__ import annotations

from collections.abc import Callable

import av
import numpy as np
from numpy.typing import NDArray

from transport.webrtc.encoders import (
    VBV_FRAMES,
    Codec,
    EncodedPicture,
    VideoEncoder,
    encode_h264,
    h264_context,
    split_annex_b,
)

RESET_RATIO = 1.25  # FFmpeg resets NVENC and sends a key frame at every new bitrate: not for small changes
BASELINE = 66  # H.264 profile_idc, which every browser's offer includes
SPS, PPS = 7, 8  # NAL unit types


class NvencEncoder:
    """H.264 Baseline on the graphics card, tuned for no delay; see `VideoEncoder`.

    The bitrate follows `bitrate` in steps, each with a key frame: FFmpeg knows no other way.
    Source: FFmpeg libavcodec/nvenc.c, reconfig_encoder.
    """

    codec: Codec = "h264"

    def __init__(self, width: int, height: int, *, fps: float, bitrate: int, max_bitrate: int) -> None:
        """Raises av.error.FFmpegError when this machine cannot encode such pictures in hardware."""
        context = h264_context("h264_nvenc", width, height, fps=fps, bitrate=min(bitrate, max_bitrate))
        context.gop_size = 1_000_000  # key frames come on request
        context.max_b_frames = 0
        context.options = {
            "preset": "p4",
            "tune": "ull",
            "profile": "baseline",
            "rc": "cbr",
            "zerolatency": "1",
            "delay": "0",
            "forced-idr": "1",
            "bufsize": str(round(max_bitrate / fps * VBV_FRAMES)),
        }
        context.open()
        self._context = context
        self.size = (width, height)
        self._max_bitrate = max_bitrate
        self._bitrate = self._encoding_at = min(bitrate, max_bitrate)

    @property
    def bitrate(self) -> int:
        return self._bitrate

    @bitrate.setter
    def bitrate(self, value: int) -> None:
        self._bitrate = min(value, self._max_bitrate)
        if not 1 / RESET_RATIO <= self._bitrate / self._encoding_at <= RESET_RATIO:
            self._context.bit_rate = self._encoding_at = self._bitrate

    def encode(self, picture: NDArray[np.uint8], ticks: int, key: bool, capture_ns: int) -> EncodedPicture:
        """Encode one I420 picture [H * 3/2, W]. Raises ValueError when its size is not the encoder's."""
        return encode_h264(self._context, picture, ticks, key, capture_ns)


def nvenc_refusal(width: int, height: int, make: Callable[..., VideoEncoder] = NvencEncoder) -> str | None:
    """Why pictures of this size cannot be streamed from the graphics card's encoder, in one line; None if so.

    Opens the encoder and encodes two pictures: each must come out at once, the first as a whole key frame
    that a viewer of a Baseline stream can decode.
    """
    picture = _test_picture(width, height)
    try:
        encoder = make(width, height, fps=30.0, bitrate=2_000_000, max_bitrate=2_000_000)
        first = encoder.encode(picture, 0, True, 0)
        second = encoder.encode(picture, 3000, False, 0)
    except PermissionError:
        return "no NVIDIA driver for hardware encoding"
    except av.error.FFmpegError as error:
        return (
            f"h264_nvenc cannot be opened ({error.strerror}); the card has no encoder, or its driver is old"
        )
    if not first.data or not second.data:
        return "h264_nvenc holds pictures back"
    units = split_annex_b(first.data)
    if [unit[0] & 31 for unit in units[:2]] != [SPS, PPS] or not first.is_key or second.is_key:
        return "h264_nvenc gives no key frame on request"
    if units[0][1] != BASELINE:
        return f"h264_nvenc encodes profile {units[0][1]} when asked for Baseline ({BASELINE})"
    shown = av.CodecContext.create("h264", "r").decode(av.Packet(first.data))
    # a smooth picture at 2 Mbit/s keeps within a few levels; swapped planes or colours are tens away
    if len(shown) != 1 or np.abs(shown[0].to_ndarray(format="yuv420p").astype(int) - picture).mean() > 8:
        return "h264_nvenc gives pictures that do not look like what it was given"
    return None


def _test_picture(width: int, height: int) -> NDArray[np.uint8]:
    """I420 with another slope in every plane."""
    picture = np.empty((height * 3 // 2, width), np.uint8)
    picture[:height] = np.linspace(40, 210, width)
    chroma = picture[height:].reshape(2, height // 2, width // 2)
    chroma[0] = np.linspace(90, 160, height // 2)[:, None]
    chroma[1] = np.linspace(170, 100, width // 2)
    return picture
