"""Where features lie on a head: the hairline; lips, lids and ears by masks.

`canonical` are points [N, 3] of the average adult in millimetres from the midpoint of the eyes: what is
painted there sits on the same feature of every face (eyes at x = +-28.9, nose tip at (0, -36, 42), lips' seam
at y = -66, chin at y = -100, crown at y = 106, ears at x = +-75).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from render.making import makehuman
from render.making.people.fields import smoothstep
from render.making.people.person import HAIRLINE_DEG, Hair

Array = NDArray[np.float64]

_MASK_SIZE = 1024


def above_hairline(canonical: Array, hair: Hair) -> Array:
    """Canonical millimetres [N] over the hairline."""
    azimuth = np.degrees(np.arctan2(np.abs(canonical[:, 0]), canonical[:, 2] + 89.5))
    height = np.interp(azimuth, HAIRLINE_DEG, hair.hairline_mm)
    return np.asarray(canonical[:, 1] - (height + hair.hairline_lift * smoothstep(62, 30, azimuth)))


@cache
def _mask_picture(name: str, blur_px: float) -> Array:
    from PIL import Image, ImageFilter

    path = makehuman.data_folder() / f"mpfb2/textures/mpfb_{name}.jpg"
    picture = Image.open(path).convert("L").resize((_MASK_SIZE, _MASK_SIZE), Image.Resampling.BOX)
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(blur_px)), float) / 255


def mask(name: str, uv: Array, blur_px: float = 0.0) -> Array:
    """MakeHuman's region masks (`lips`, `eyelids`, `ears`, `inside-mouth`, `face`) at uv [N, 2], 0..1."""
    picture = _mask_picture(name, blur_px)
    column = np.clip((uv[:, 0] * _MASK_SIZE).astype(int), 0, _MASK_SIZE - 1)
    row = np.clip(((1 - uv[:, 1]) * _MASK_SIZE).astype(int), 0, _MASK_SIZE - 1)
    return np.asarray(picture[row, column])
