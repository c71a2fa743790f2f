"""Where features lie on a head: hairline, neckline, creases, nostrils; lips, lids and ears by masks.

`canonical` are points [N, 3] of the average adult in millimetres from the midpoint of the eyes: what is
painted there sits on the same feature of every face (eyes at x = +-28.9, nose tip at (0, -36, 42), lips' seam
at y = -66, chin at y = -100, crown at y = 106, ears at x = +-75).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from render.making import makehuman
from render.making.people.fields import blob, groove, smoothstep
from render.making.people.person import HAIRLINE_DEG, Clothes, Hair

Array = NDArray[np.float64]

IRIS_M = 5.9e-3  # radius
_MASK_SIZE = 1024


def above_hairline(canonical: Array, hair: Hair) -> Array:
    """Canonical millimetres [N] over the hairline."""
    azimuth = np.degrees(np.arctan2(np.abs(canonical[:, 0]), canonical[:, 2] + 89.5))
    height = np.interp(azimuth, HAIRLINE_DEG, hair.hairline_mm)
    return np.asarray(canonical[:, 1] - (height + hair.hairline_lift * smoothstep(62, 30, azimuth)))


def above_neckline(canonical: Array, clothes: Clothes) -> Array:
    """Canonical millimetres [N] over the garment's edge; positive is bare skin."""
    x, y, z = np.abs(canonical[:, 0]), canonical[:, 1], canonical[:, 2]
    height = y + 0.5 * z + 202.7 - 15 * smoothstep(35, 90, x)
    if clothes.neckline == "vee":
        height = height + 42 * np.clip(1 - x / 52, 0, 1) * smoothstep(-70, -30, z)
    return np.asarray(height)


def lid_crease(canonical: Array, reach: float) -> Array:
    """The fold of the upper lid at rest, [N] in 0..1; `reach` in centimetres to each side."""
    dx = (np.abs(canonical[:, 0]) - 30.0) / 10
    height = 9.0 - 1.7 * dx**2
    return groove(canonical[:, 1] - height, 0.8) * groove(dx, reach) * (canonical[:, 2] > -5)


def nostrils(canonical: Array) -> Array:
    """Share [N] of the nose's openings."""
    mirrored = np.c_[np.abs(canonical[:, 0]), canonical[:, 1:]]
    return smoothstep(0.15, 0.6, blob(mirrored, (9.6, -40.7, 30.5), (3.3, 1.6, 3.8)))


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
