"""A made-up moving picture, the same on every machine, for tests and for running without a camera."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from capture.closing import Closing
from capture.errors import SourceError
from capture.frame import Frame


class SyntheticSource(Closing):
    """A colour gradient that drifts under a bright disc going round, one turn in four seconds.

    Every pixel is a function of the frame's index alone. It never waits: pacing is the reader's business.
    `num_frames=None` never ends.
    """

    def __init__(
        self, width: int = 640, height: int = 480, fps: float = 30.0, num_frames: int | None = None
    ) -> None:
        if width < 1 or height < 1 or not (math.isfinite(fps) and fps > 0):
            raise SourceError(
                f"a {width}x{height} picture at {fps} fps cannot be made: give positive numbers"
            )
        self._size = (width, height)
        self._fps = fps
        self._num_frames = num_frames
        self._index = 0
        self._closed = False

    @property
    def fps(self) -> float:
        return self._fps

    @property
    def size(self) -> tuple[int, int]:
        return self._size

    @property
    def has_audio(self) -> bool:
        return False

    @property
    def num_frames(self) -> int | None:
        return self._num_frames

    @property
    def notes(self) -> tuple[str, ...]:
        return ()

    def read(self) -> Frame | None:
        """The next picture; None after the last or after `close`."""
        index = self._index
        if self._closed or (self._num_frames is not None and index >= self._num_frames):
            return None
        self._index += 1
        return Frame(self._picture(index), round(index * 1e9 / self._fps), index)

    def close(self) -> None:
        self._closed = True

    def _picture(self, index: int) -> NDArray[np.uint8]:
        width, height = self._size
        rgb = np.empty((height, width, 3), np.uint8)
        column = np.arange(width)
        row = np.arange(height)[:, None]
        rgb[..., 0] = (column * 255 // width + 2 * index) % 256
        rgb[..., 1] = (row * 255 // height + index) % 256
        rgb[..., 2] = 96
        angle = 2 * math.pi * index / (4 * self._fps)
        radius = min(width, height) / 8
        centre_x = width / 2 + 2 * radius * math.cos(angle)
        centre_y = height / 2 + 2 * radius * math.sin(angle)
        rgb[(column - centre_x) ** 2 + (row - centre_y) ** 2 < radius**2] = 255
        return rgb
