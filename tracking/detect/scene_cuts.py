"""Where a film is cut: the picture has little to do with the one before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SIDE, _SAMPLES = 32, 3  # cells along a side of the picture, and about as many samples along a cell's
_LEAST_CORRELATION = 0.8  # with the picture before; people who move stay above 0.9
_FALL = 0.2  # of the correlation: where everything moves all the time it is low all the time
_FLAT = 0.01  # standard deviation, of 1: a black or covered picture says nothing


class SceneCuts:
    """Watches the pictures of a film; takes a few hundredths of a millisecond for each."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """The next picture is not compared with the one before."""
        self._before: NDArray[np.float32] | None = None
        self._usual = 1.0  # correlation of pictures that follow each other

    def is_cut(self, rgb: NDArray[np.uint8]) -> bool:
        """Whether a picture [H, W, 3] begins another shot."""
        import cv2

        down, across = (max(1, length // (_SIDE * _SAMPLES)) for length in rgb.shape[:2])
        samples = np.ascontiguousarray(rgb[::down, ::across, 1])
        cells = cv2.resize(samples, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        thumb = np.asarray(cells, np.float32) / np.float32(255)
        thumb -= thumb.mean()
        before, self._before = self._before, thumb
        if before is None:
            return False
        spread = float(np.sqrt((thumb**2).mean() * (before**2).mean()))
        if spread < _FLAT**2:
            return False
        correlation = float((thumb * before).mean()) / spread
        usual, self._usual = self._usual, correlation
        return correlation < min(_LEAST_CORRELATION, usual - _FALL)
