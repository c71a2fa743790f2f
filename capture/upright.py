"""Decoded frames as pictures: upright, with square pixels, in the colours of an ordinary screen."""

from __future__ import annotations

from typing import cast

import av.filter
import numpy as np
from av.buffer import Buffer
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from capture.colour import ScreenColours, assumed_matrix

Rgb = NDArray[np.uint8]  # [H, W, 3]
_EXIF = 31  # AV_FRAME_DATA_EXIF, since FFmpeg 8


class Upright:
    """Turns the decoded frames of one film or picture into RGB as a player shows them.

    All of them have the size of the first: a film that changes its size on the way, as a browser's recording
    of a call does, is fitted into it.
    """

    def __init__(self, first: VideoFrame, pixel_aspect: float = 1.0, *, still: bool = False) -> None:
        """Prepare for what begins with this frame.

        Args:
            first: tells the size, and how it is turned.
            pixel_aspect: width of a pixel over its height, as the file states it.
            still: a picture, whose matrix is BT.601 of any size where it does not say another.
        """
        self._pixel_aspect = pixel_aspect
        self._still = still
        self._turn = _Turn(first)
        self._colours: ScreenColours | None = None
        width, height = self._square_size(first)
        self.size = (height, width) if self._turn.transposes else (width, height)

    def __call__(self, decoded: VideoFrame) -> Rgb:
        matrix = None if self._still else assumed_matrix(decoded)
        width, height = self._square_size(decoded)
        if ScreenColours.needed(decoded):
            if self._colours is None or not self._colours.fits(decoded):
                self._colours = ScreenColours(decoded)
            decoded, matrix = self._colours(decoded), None
        # By itself swscale wakes dozens of threads for a picture, which costs more than converting it.
        rgb = decoded.to_ndarray(
            format="rgb24", width=width, height=height, threads=1, src_colorspace=matrix
        ).astype(np.uint8, copy=False)
        return fitted(self._turn(rgb), self.size)

    def _square_size(self, decoded: VideoFrame) -> tuple[int, int]:
        return max(1, round(decoded.width * self._pixel_aspect)), decoded.height


class _Turn:
    """Quarter turns and mirrorings, as a phone writes them beside its film and a camera into EXIF."""

    def __init__(self, frame: VideoFrame) -> None:
        self.transposes = self._mirrors_x = self._mirrors_y = False
        matrix = side_data(frame, "DISPLAYMATRIX")
        if matrix is None:
            return
        # Source: libavutil/display.h. A picture's point (p, q) is shown at (a p + c q, b p + d q).
        a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].astype(float)
        self.transposes = abs(b) + abs(c) > abs(a) + abs(d)
        self._mirrors_x, self._mirrors_y = (c < 0, b < 0) if self.transposes else (a < 0, d < 0)

    def __call__(self, rgb: Rgb) -> Rgb:
        if self.transposes:
            rgb = rgb.transpose(1, 0, 2)
        if self._mirrors_x:
            rgb = rgb[:, ::-1]
        if self._mirrors_y:
            rgb = rgb[::-1]
        return np.ascontiguousarray(rgb)


def side_data(frame: VideoFrame, kind: str) -> bytes | None:
    """What a frame carries of one kind (a name of PyAV's) beside its pixels; None where it has nothing."""
    try:
        found = frame.side_data.get(kind)
    except ValueError:  # a kind that PyAV does not know keeps it from telling any
        found = _without_exif(frame).side_data.get(kind)
    return None if found is None else bytes(cast(Buffer, found))


def _without_exif(frame: VideoFrame) -> VideoFrame:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    bare, sink = graph.add("sidedata", f"mode=delete:type={_EXIF}"), graph.add("buffersink")
    source.link_to(bare)
    bare.link_to(sink)
    graph.configure()
    graph.push(frame)
    return cast(VideoFrame, graph.pull())


def fitted(rgb: Rgb, size: tuple[int, int]) -> Rgb:
    """A picture [H, W, 3] made as large as fits `size` (width, height), in its middle, black beside it."""
    height, width = rgb.shape[:2]
    if (width, height) == size:
        return rgb
    scale = min(size[0] / width, size[1] / height)
    inner = max(1, min(size[0], round(width * scale))), max(1, min(size[1], round(height * scale)))
    scaled = VideoFrame.from_ndarray(rgb, format="rgb24").to_ndarray(
        width=inner[0], height=inner[1], threads=1, interpolation="AREA" if scale < 1 else "BICUBIC"
    )
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = scaled
    return canvas
