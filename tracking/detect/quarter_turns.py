"""Pictures turned upright by quarter turns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NUM_TURNS = 4


def turned(rgb: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """A picture [H, W, 3] turned clockwise by `turn` quarters; the picture itself for none."""
    import cv2

    if turn == 0:
        return rgb
    codes = (cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_COUNTERCLOCKWISE)
    return np.asarray(cv2.rotate(rgb, codes[turn - 1]), np.uint8)
