"""Path-traced pictures as arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray


def over(path: Path, background: ArrayLike) -> NDArray[np.uint8]:
    """A picture [H, W, 3] over display colours 0..1 that broadcast to it."""
    from PIL import Image

    with Image.open(path) as file:
        picture = np.asarray(file.convert("RGBA"), float) / 255
    alpha = picture[:, :, 3:]
    mixed = picture[:, :, :3] * alpha + np.asarray(background) * (1 - alpha)
    return np.asarray((255 * mixed).round().clip(0, 255), np.uint8)
