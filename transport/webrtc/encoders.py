"""Video encoders for live streams: H.264 by x264 superfast, and VP8 for browsers that cannot show H.264."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, Protocol, cast

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext

Codec = Literal["h264", "vp8"]

CLOCK_RATE = 90_000  # RTP ticks per second of every video codec (RFC 6184, RFC 7741)
TIME_BASE = Fraction(1, CLOCK_RATE)
VBV_FRAMES = 4  # a key frame may take four frames' worth of the highest bitrate, then the stream catches up
VP8_REBUILD_RATIO = 1.25  # libvpx behind FFmpeg cannot change its bitrate: a new encoder and a key frame
IDR, SEI = 5, 6  # H.264 NAL unit types: key frame; remarks no browser needs, such as x264's settings


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """One encoded picture, ready to be packed into RTP for any number of viewers."""

    data: bytes  # H.264: Annex B with start codes; VP8: the bare frame
    ticks: int  # RTP time, 1/90000 s, growing; the sender adds its own random origin
    is_key: bool
    capture_ns: int  # of the frame that drove it
    width: int
    height: int
    codec: Codec


class MakeEncoder(Protocol):
    """Opens an encoder of one codec, such as `X264Encoder`."""

    def __call__(
        self, width: int, height: int, *, fps: float, bitrate: int, max_bitrate: int
    ) -> VideoEncoder: ...


class VideoEncoder(Protocol):
    """Encodes I420 pictures one by one, without delay."""

    @property
    def codec(self) -> Codec: ...

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures it takes."""
        ...

    @property
    def bitrate(self) -> int:
        """Target, bits per second."""
        ...

    @bitrate.setter
    def bitrate(self, value: int) -> None: ...

    def encode(self, picture: NDArray[np.uint8], ticks: int, key: bool, capture_ns: int) -> EncodedPicture:
        """Encode one I420 picture [H * 3/2, W] (BT.601 limited range)."""
        ...


def i420_size(picture: NDArray[np.uint8]) -> tuple[int, int]:
    """Width and height of an I420 array [H * 3/2, W]. Raises ValueError for any other array."""
    if picture.dtype != np.uint8 or picture.ndim != 2 or picture.shape[0] % 3 or picture.shape[1] % 2:
        raise ValueError(f"not an I420 picture: {picture.dtype} array of shape {picture.shape}")
    width, height = picture.shape[1], picture.shape[0] * 2 // 3
    if height % 2 or not picture.flags.c_contiguous:
        raise ValueError(f"an I420 picture needs an even height and C order, got {picture.shape}")
    return width, height


def to_i420(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An RGB picture [H, W, 3] as I420 [H * 3/2, W], BT.601 limited range; I420 passes through."""
    if picture.ndim == 2:
        return picture
    import cv2

    # 0.09 ms at 512x512 against swscale's 0.58
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), np.uint8)


def h264_context(name: str, width: int, height: int, *, fps: float, bitrate: int) -> VideoCodecContext:
    """FFmpeg's encoder `name` for I420 pictures of this size in BT.601, not open yet.

    Raises ValueError when a side is odd.
    """
    if width % 2 or height % 2:
        raise ValueError(f"H.264 needs even picture sizes, got {width}x{height}")
    context = cast("VideoCodecContext", av.CodecContext.create(name, "w"))
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.bit_rate = bitrate
    context.framerate = Fraction(fps).limit_denominator(1001)
    context.time_base = TIME_BASE
    # Untagged, Chromium shows H.264 as BT.709: RGB (200, 50, 50) came back as (213, 64, 50).
    context.colorspace = Colorspace.ITU601
    context.color_primaries = ColorPrimaries.SMPTE170M
    context.color_trc = ColorTrc.SMPTE170M
    context.color_range = ColorRange.MPEG
    return context


def encode_h264(
    context: VideoCodecContext, picture: NDArray[np.uint8], ticks: int, key: bool, capture_ns: int
) -> EncodedPicture:
    """Encode one I420 picture [H * 3/2, W]. Raises ValueError when its size is not the encoder's."""
    size = context.width, context.height
    frame = video_frame(picture, size, ticks, key)
    data = b"".join(bytes(packet) for packet in context.encode(frame))
    units = [unit for unit in split_annex_b(data) if unit[0] & 31 != SEI]
    data = b"".join(b"\x00\x00\x00\x01" + unit for unit in units)
    is_key = any(unit[0] & 31 == IDR for unit in units)
    return EncodedPicture(data, ticks, is_key, capture_ns, *size, "h264")


class X264Encoder:
    """H.264 Constrained Baseline with the settings that measured fastest at good quality (superfast).

    The bitrate follows `bitrate` while running, without a new encoder and without a key frame. x264 allows
    that only for a stream that began as constant bitrate: it is opened at `max_bitrate`, then set lower.
    Source: x264 encoder/ratecontrol.c, x264_ratecontrol_init_reconfigurable.
    """

    codec: Codec = "h264"

    def __init__(self, width: int, height: int, *, fps: float, bitrate: int, max_bitrate: int) -> None:
        context = h264_context("libx264", width, height, fps=fps, bitrate=max_bitrate)
        context.thread_count = 1  # a second thread would cut the picture into slices and cost bits
        context.profile = "Baseline"  # "Constrained Baseline" silently gives High; this gives 42c0
        context.options = {
            "preset": "superfast",
            "tune": "zerolatency",
            "maxrate": str(max_bitrate),
            "bufsize": str(round(max_bitrate / fps * VBV_FRAMES)),
            "forced-idr": "1",
            # Neither small partitions nor bits moved to flat parts: 20 % less time and, of an avatar, 0.6 dB
            # better at 2 Mbit/s.
            "x264-params": "scenecut=0:keyint=infinite:repeat-headers=1:partitions=none:aq-mode=0",
        }
        context.open()
        self._context = context
        self.size = (width, height)
        self._max_bitrate = max_bitrate
        self.bitrate = bitrate

    @property
    def bitrate(self) -> int:
        return self._bitrate

    @bitrate.setter
    def bitrate(self, value: int) -> None:
        self._bitrate = self._context.bit_rate = min(value, self._max_bitrate)

    def encode(self, picture: NDArray[np.uint8], ticks: int, key: bool, capture_ns: int) -> EncodedPicture:
        """Encode one I420 picture [H * 3/2, W]. Raises ValueError when its size is not the encoder's."""
        return encode_h264(self._context, picture, ticks, key, capture_ns)


class Vp8Encoder:
    """VP8 by libvpx at its fastest real-time setting; a markedly new bitrate needs a new encoder."""

    codec: Codec = "vp8"

    def __init__(self, width: int, height: int, *, fps: float, bitrate: int, max_bitrate: int) -> None:
        self.size = (width, height)
        self._fps = fps
        self._max_bitrate = max_bitrate
        self._open(min(bitrate, max_bitrate))

    def _open(self, bitrate: int) -> None:
        width, height = self.size
        context: VideoCodecContext = av.CodecContext.create("libvpx", "w")
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.bit_rate = bitrate
        context.framerate = Fraction(self._fps).limit_denominator(1001)
        context.time_base = TIME_BASE
        context.thread_count = 1
        context.gop_size = 1_000_000  # key frames come on request
        context.qmin, context.qmax = 2, 56
        context.options = {
            "deadline": "realtime",
            "cpu-used": "-8",
            "lag-in-frames": "0",
            "noise-sensitivity": "0",
            "minrate": str(bitrate),  # minrate = maxrate = bitrate is constant bitrate
            "maxrate": str(bitrate),
            "bufsize": str(bitrate),
            "undershoot-pct": "100",
            "overshoot-pct": "15",
            "static-thresh": "1",
        }
        context.open()
        self._context = context
        self._bitrate = bitrate
        self._opened_bitrate = bitrate
        self._num_encoded = 0

    @property
    def bitrate(self) -> int:
        return self._bitrate

    @bitrate.setter
    def bitrate(self, value: int) -> None:
        self._bitrate = min(value, self._max_bitrate)
        ratio = self._bitrate / self._opened_bitrate
        if not 1 / VP8_REBUILD_RATIO <= ratio <= VP8_REBUILD_RATIO:
            self._open(self._bitrate)

    def encode(self, picture: NDArray[np.uint8], ticks: int, key: bool, capture_ns: int) -> EncodedPicture:
        """Encode one I420 picture [H * 3/2, W]. Raises ValueError when its size is not the encoder's."""
        frame = video_frame(picture, self.size, ticks, key or self._num_encoded == 0)
        packets = self._context.encode(frame)
        self._num_encoded += 1
        data = b"".join(bytes(packet) for packet in packets)
        # RFC 7741 section 4.3: the lowest bit of the first byte is 0 in a key frame
        is_key = bool(data) and not data[0] & 1
        return EncodedPicture(data, ticks, is_key, capture_ns, *self.size, "vp8")


ENCODERS: dict[Codec, MakeEncoder] = {"h264": X264Encoder, "vp8": Vp8Encoder}


def split_annex_b(data: bytes) -> list[bytes]:
    """The NAL units of an H.264 byte stream, without their start codes."""
    units = []
    start = data.find(b"\x00\x00\x01")
    while start >= 0:
        start += 3
        end = data.find(b"\x00\x00\x01", start)
        unit = data[start:] if end < 0 else data[start:end]
        unit = unit.rstrip(b"\x00")  # the zero of a four-byte start code, or trailing zeros
        if unit:
            units.append(unit)
        start = end
    return units


def video_frame(picture: NDArray[np.uint8], size: tuple[int, int], ticks: int, key: bool) -> av.VideoFrame:
    """An I420 picture [H * 3/2, W] as the encoders take it. Raises ValueError when its size is not `size`."""
    if i420_size(picture) != size:
        raise ValueError(f"picture of size {i420_size(picture)}, the encoder was made for {size}")
    frame = av.VideoFrame.from_numpy_buffer(picture, format="yuv420p")  # no copy: 4 us
    frame.pts = ticks
    frame.time_base = TIME_BASE
    frame.colorspace = Colorspace.ITU601
    frame.color_range = ColorRange.MPEG
    frame.pict_type = PictureType.I if key else PictureType.NONE
    return frame
