"""Where features lie on a head: hairline, neckline, creases, nostrils; lips, brows and lids by landmarks.

`canonical` are points [N, 3] of the average adult in millimetres from the midpoint of the eyes: what is
painted there sits on the same feature of every face (eyes at x = +-28.9, nose tip at (0, -36, 42), lips' seam
at y = -66, chin at y = -100, crown at y = 106, ears at x = +-75).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.making import makehuman
from render.making.people.fields import blob, groove, inside_distance, smoothstep, value_noise
from render.making.people.person import HAIRLINE_DEG, Clothes, Hair, Person

Array = NDArray[np.float64]

IRIS_M = 5.9e-3  # radius
_MASK_SIZE = 1024
# Rings of MediaPipe's landmarks.
_OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
_INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
_BROWS = ((70, 63, 105, 66, 107, 55, 65, 52, 53, 46), (300, 293, 334, 296, 336, 285, 295, 282, 283, 276))


def above_hairline(canonical: Array, hair: Hair) -> Array:
    """Canonical millimetres [N] over the hairline."""
    azimuth = np.degrees(np.arctan2(np.abs(canonical[:, 0]), canonical[:, 2] + 89.5))
    height = np.interp(azimuth, HAIRLINE_DEG, hair.hairline_mm)
    return np.asarray(canonical[:, 1] - (height + hair.hairline_lift * smoothstep(62, 30, azimuth)))


def above_neckline(canonical: Array, clothes: Clothes) -> Array:
    """Canonical millimetres [N] over the garment's edge; positive is bare skin."""
    x, y, z = np.abs(canonical[:, 0]), canonical[:, 1], canonical[:, 2]
    if clothes.neckline == "round":
        return np.asarray(y - (-158.0 + clothes.collar + 0.0016 * x**2 - 0.20 * (z + 60)))
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


@dataclass(frozen=True)
class Features:
    """Shares [N] in 0..1 of the skin's points that belong to each feature."""

    lips: Array
    lining: Array  # the mouth's inside
    brows: Array
    lid_rim: Array
    lid_crease: Array
    scalp: Array
    scalp_depth: Array  # [N] millimetres above the hairline, noise included
    ears: Array
    cloth: Array

    def where(self, rows: NDArray[Any]) -> Features:
        return Features(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def find_features(person: Person, points: Array, landmarks: Array) -> Features:
    """Features at canonical `points` [N, 3] by MediaPipe's `landmarks` [478, 3], canonical too."""
    x, y, z = points.T
    seed = person.seed
    front = smoothstep(-25, -5, z)
    outer = inside_distance(points[:, :2], landmarks[list(_OUTER_LIPS), :2])  # millimetres, positive inside
    depth = landmarks[list(_INNER_LIPS), 2].mean() - 0.012 * x**2 - z
    near_lips = (outer > -9) & (z > -40) & (y > -110)
    lining = near_lips * smoothstep(7.0, 10.0, depth)
    brows = np.zeros(len(points))
    wander = 1.5 * value_noise(points, 0.2, seed + 3)
    for ring in _BROWS:
        inside = inside_distance(points[:, :2], landmarks[list(ring), :2])
        brows = np.maximum(brows, smoothstep(-1.2, 1.0, inside + wander))
    eye_x = np.abs(x) - 29.0
    near = (np.hypot(eye_x, y) < 19) & (z > -5)
    ball = np.linalg.norm(np.c_[eye_x, y, z], axis=1)
    ears = (
        smoothstep(66, 71, np.abs(x))
        * smoothstep(-48, -42, y)
        * smoothstep(30, 24, y)
        * smoothstep(-124, -116, z)
        * smoothstep(-70, -76, z)
    )
    above = above_hairline(points, person.hair)
    above += 4 * value_noise(points, 0.09, seed + 43) + 1.5 * value_noise(points, 0.4, seed + 44)
    return Features(
        lips=smoothstep(-1.0, 0.6, outer) * front * (1 - lining),
        lining=lining,
        brows=brows * front,
        lid_rim=near * smoothstep(17.6, 16.6, ball),
        lid_crease=lid_crease(points, 1.0),
        scalp=smoothstep(-3, 3, above) * (1 - ears) * (y > -80),
        scalp_depth=np.where(y > -80, above, -50.0) - 60 * ears,
        ears=ears,
        cloth=smoothstep(3.0, -3.0, above_neckline(points, person.clothes)),
    )
