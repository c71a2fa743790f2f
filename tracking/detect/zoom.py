"""The way from a crop around a small face to the whole picture, in steps that the tracker can follow.

MediaPipe finds a face only where it is large, but follows one of any size: where it looks in the next picture
is a share of the picture, taken from the landmarks before. So it is started on a crop, and the crop grows a
little with every step until it is the picture. From then on it follows the small face like any other, at no
cost.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# In a step: how much the crop grows, and how far the face may move within it, of its size. Faces at all
# places of the picture survive this; some are lost at 1.15 and 0.08.
_GROWTH = 1.1
_PAN = 0.05
_MARGIN = 0.62  # of the face's size: from its middle to the crop's edge, at least


class Zoom:
    """A window of the picture's own shape around a face, growing to the whole picture."""

    def __init__(self, centre: Array, size: float, width: int, height: int, share: float) -> None:
        """The face [2] and its size in pixels are to be `share` of the window's longer side."""
        self._picture = np.array([width, height], np.float64)
        self._scale = min(1.0, size / (share * max(width, height)))
        window = self._scale * self._picture
        margin = np.minimum(0.5, _MARGIN * size / window)
        place = np.clip(centre / self._picture, margin, 1 - margin)
        self._corner = self._within(centre - place * window)

    @property
    def done(self) -> bool:
        """Whether the window is the whole picture."""
        return self._scale >= 1

    def window(self) -> tuple[int, int, int, int]:
        """Left, top, width and height in whole pixels."""
        width, height = np.maximum(1, np.round(self._scale * self._picture)).astype(int)
        most = self._picture.astype(int) - [width, height]
        left, top = np.clip(np.round(self._corner).astype(int), 0, most)
        return int(left), int(top), int(width), int(height)

    def grow(self, centre: Array, size: float) -> None:
        """The next window, given where the face was in this one, in pixels of the picture."""
        place = (centre - self._corner) / (self._scale * self._picture)
        edge = np.minimum(0.5, 0.5 * size / (self._scale * self._picture))
        target = np.clip(centre / self._picture, edge, 1 - edge)  # the whole face stays in the window
        step = _PAN * size / (self._scale * self._picture)
        # The face keeps its place in the window but for this: with the last window that is its place in the
        # picture. Each step has less room for it than the one before.
        panned = place + np.clip(target - place, -step, step)
        room = step / (1 - 1 / _GROWTH) - step
        if (np.abs(target - panned) <= 0.8 * room + 1e-9).all():
            self._scale = min(1.0, self._scale * _GROWTH)
        self._corner = self._within(centre - panned * self._scale * self._picture)

    def _within(self, corner: Array) -> Array:
        return np.clip(corner, 0, (1 - self._scale) * self._picture)
