"""How skin shines and what its relief is: by region, and by what the face does at a moment.

Two pictures. `surface_picture` holds what stays (roughness, pores, moisture) for the whole body. `skin_state`
is made anew for every pose: folds as heights in millimetres, and the blood that pressing and stretching move.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from render.making.people import wrinkles
from render.making.people.features import mask
from render.making.people.fields import blob, groove, smoothstep, value_noise
from render.making.people.person import Person
from render.making.people.scene.uv import flat_body, places

Array = NDArray[np.float64]

SIZE = 1024  # of the surface picture
FACE_SIZE = 2048  # of the picture that the face is cut out of
FACE_ROWS, FACE_COLUMNS = slice(688, 1360), slice(1440, 2048)
_VERSION = 2


def surface_picture(person: Person, folder: Path) -> Path:
    """Roughness, depth of pores and moisture [SIZE, SIZE, 3] in the body's UV, 8 bit; made if not there."""
    described = repr((_VERSION, person.skin.lip_gloss, person.skin.oil, person.age))
    path = folder / f"surface_{hashlib.sha256(described.encode()).hexdigest()[:16]}.png"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"partial_{path.name}")
        Image.fromarray((255 * surface(person) + 0.5).astype(np.uint8)).save(partial, compress_level=1)
        partial.replace(path)
    return path


def surface(person: Person) -> Array:
    """The same as numbers in 0..1."""
    flat = flat_body(SIZE)
    points = flat.points.reshape(-1, 3).astype(float)
    side = np.c_[np.abs(points[:, 0]), points[:, 1:]]
    uv = places(SIZE)
    face = smoothstep(-70, -30, points[:, 2]) * smoothstep(-125, -105, points[:, 1])
    lips = smoothstep(0.2, 0.7, mask("lips", uv, 1.0))
    lining = smoothstep(0.3, 0.7, mask("inside-mouth", uv, 1.0))
    oil = (
        0.75 * blob(side, (0, 42, 25), (34, 16, 40))
        + 1.0 * blob(side, (0, -25, 35), (9, 22, 25))
        + 0.6 * blob(side, (9, -38, 28), (7, 6, 14))
        + 0.55 * blob(side, (0, -90, 25), (15, 9, 30))
        + 0.35 * blob(side, (40, -18, 15), (16, 9, 30))
    )
    oil = np.clip(oil, 0, 1) * (1 + 0.35 * value_noise(points, 0.12, 61))
    rough = 0.54 - 0.05 * face - person.skin.oil * 0.17 * oil + 0.03 * person.age
    rough = rough + 0.035 * value_noise(points, 0.35, 62)
    rough = rough * (1 - lips) + lips * (0.46 - 0.16 * person.skin.lip_gloss)
    rough = rough * (1 - lining) + 0.22 * lining
    pores = 0.25 + face * (
        0.25
        + 0.5 * blob(side, (22, -30, 25), (16, 14, 30))
        + 0.5 * blob(side, (0, -30, 35), (10, 16, 30))
        + 0.3 * blob(side, (0, 45, 20), (40, 16, 40))
        + 0.25 * blob(side, (0, -92, 25), (16, 10, 30))
    )
    lids = mask("eyelids", uv, 2.0)
    pores = np.clip(pores * (1 - 0.8 * lids) * (1 - lips) * (1 - lining) * (1 + 0.4 * person.age), 0, 1)
    moist = np.maximum(0.55 * person.skin.lip_gloss * lips, 0.9 * lining)
    return np.clip(np.stack([rough, pores, moist], -1), 0, 1).reshape(SIZE, SIZE, 3)


@dataclass(frozen=True)
class Fold:
    """When a fold deepens: units of the face by name, `@` for the fold's own side."""

    units: Mapping[str, float]
    at_rest: float  # millimetres deep at rest at age 1
    young: float  # and when its units act, at age 0
    old: float  # and what age 1 adds to that


FOLDS = {
    "forehead": Fold({"browInnerUp": 0.75, "browOuterUp@": 0.6}, 0.14, 0.2, 0.4),
    "glabella": Fold({"browDown@": 1.0, "noseSneer@": 0.3}, 0.16, 0.28, 0.4),
    "crows_feet": Fold({"eyeSquint@": 0.6, "cheekSquint@": 0.6, "mouthSmile@": 0.45}, 0.10, 0.12, 0.4),
    "under_eye": Fold({"eyeSquint@": 0.6, "cheekSquint@": 0.6, "mouthSmile@": 0.35}, 0.14, 0.12, 0.25),
    "nasolabial": Fold(
        {"mouthSmile@": 0.7, "noseSneer@": 0.6, "mouthUpperUp@": 0.4, "cheekSquint@": 0.2}, 0.22, 0.3, 0.35
    ),
    "marionette": Fold({"mouthFrown@": 0.8, "mouthPress@": 0.3, "mouthShrugLower": 0.3}, 0.18, 0.12, 0.3),
    "nose_bridge": Fold({"noseSneer@": 0.9, "browDown@": 0.25}, 0.03, 0.18, 0.2),
}
_SIDES = ("Left", "Right")
# Blood by unit: where (canonical, mirrored), how wide, how much; what is stretched or pressed turns pale.
_BLOOD: dict[str, tuple[tuple[float, float, float], tuple[float, float, float], float]] = {
    "mouthSmile@": ((42, -32, 15), (14, 11, 30), 0.16),
    "cheekSquint@": ((36, -22, 15), (14, 8, 30), 0.14),
    "browDown@": ((7, 16, 30), (9, 9, 25), 0.22),
    "noseSneer@": ((14, -34, 28), (10, 12, 25), 0.20),
    "cheekPuff": ((44, -60, 10), (16, 14, 30), 0.16),
    "browInnerUp": ((0, 46, 25), (26, 12, 30), -0.08),
    "jawOpen": ((34, -62, 15), (12, 22, 30), -0.10),
}
_LIPS_PRESSED = {"mouthPressLeft": 0.5, "mouthPressRight": 0.5, "mouthRollLower": 0.4, "mouthRollUpper": 0.4}
_LIPS_STRETCHED = {"mouthSmileLeft": 0.25, "mouthSmileRight": 0.25, "jawOpen": 0.25}
_LIPS_GATHERED = {"mouthPucker": 1.0, "mouthFunnel": 0.5}
_CHIN = {
    "mouthShrugLower": 1.0,
    "mouthShrugUpper": 0.4,
    "mouthPucker": 0.35,
    "mouthFrownLeft": 0.3,
    "mouthFrownRight": 0.3,
}


def face_box() -> tuple[float, float, float, float]:
    """Left, bottom, width and height in UV of the part that `skin_state` covers."""
    left, width = FACE_COLUMNS.start, FACE_COLUMNS.stop - FACE_COLUMNS.start
    height = FACE_ROWS.stop - FACE_ROWS.start
    return left / FACE_SIZE, 1 - FACE_ROWS.stop / FACE_SIZE, width / FACE_SIZE, height / FACE_SIZE


def skin_state(weights: Mapping[str, float], age: float) -> NDArray[np.float16]:
    """Relief and blood of a face [rows, columns, 3] in `face_box`, row 0 at the top.

    Red is height in millimetres, green haemoglobin that is added, blue the share of light a fold keeps out.
    """
    parts = _parts()
    height, shut = np.zeros(parts.shape), np.zeros(parts.shape)
    for name, fold in FOLDS.items():
        furrow, ridge = parts.folds[name]
        for side, share in zip(_SIDES, parts.sides, strict=True):
            acting = min(_drive(fold.units, weights, side), 1.2)
            depth = share * (age * fold.at_rest + acting * (fold.young + age * fold.old))
            height += depth * (0.55 * ridge - furrow)
            shut += depth * furrow
    chin, gathered = min(_drive(_CHIN, weights), 1.0), min(_drive(_LIPS_GATHERED, weights), 1.0)
    height += 0.28 * chin * parts.chin + 0.22 * gathered * parts.lip_lines
    blood = np.zeros(parts.shape)
    for name, (_, _, amount) in _BLOOD.items():
        for side, share in zip(_SIDES, parts.sides, strict=True):
            blood += amount * _drive({name: 1.0}, weights, side) * share * parts.blood[name]
    blood -= parts.lips * (0.5 * _drive(_LIPS_PRESSED, weights) + 0.4 * _drive(_LIPS_STRETCHED, weights))
    blood += 0.5 * np.clip(shut, 0, 0.5)  # a fold's bottom is redder than its banks
    return np.stack([height, blood, np.clip(0.5 * shut, 0, 0.4)], -1).astype(np.float16)


def _drive(units: Mapping[str, float], weights: Mapping[str, float], side: str = "") -> float:
    return sum(share * max(weights.get(name.replace("@", side), 0.0), 0.0) for name, share in units.items())


@dataclass(frozen=True)
class _Parts:
    """What folds are made of, all [rows, columns]."""

    folds: Mapping[str, tuple[Array, Array]]
    blood: Mapping[str, Array]
    sides: tuple[Array, Array]  # share of the person's left, and of the right
    chin: Array
    lips: Array
    lip_lines: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.lips.shape


@cache
def _parts() -> _Parts:
    points = flat_body(FACE_SIZE).points[FACE_ROWS, FACE_COLUMNS].astype(float)
    shape = points.shape[:2]
    points = points.reshape(-1, 3)
    side = np.c_[np.abs(points[:, 0]), points[:, 1:]]
    uv = places(FACE_SIZE).reshape(FACE_SIZE, FACE_SIZE, 2)[FACE_ROWS, FACE_COLUMNS].reshape(-1, 2)
    lips = smoothstep(0.2, 0.7, mask("lips", uv, 1.0))
    outside = 1 - smoothstep(0.2, 0.6, mask("inside-mouth", uv, 1.0))
    near = (side[:, 0] < 70) & (points[:, 2] > -32) & (points[:, 1] > -100) & (points[:, 1] < 75)
    folds = {}
    for name in wrinkles.FOLDS:
        furrow, ridge = np.zeros(len(points)), np.zeros(len(points))
        furrow[near], ridge[near] = wrinkles.fold(name, points[near])
        if name == "forehead":
            # No forehead folds in straight lines from side to side.
            broken = smoothstep(-0.45, 0.35, value_noise(points, (0.05, 0.16, 0.05), 74))
            furrow, ridge = furrow * broken, ridge * broken
        folds[name] = ((outside * furrow).reshape(shape), (outside * ridge).reshape(shape))
    left = smoothstep(-5, 5, points[:, 0])
    # The chin dimples like an orange's peel; gathered lips fold along the way to their edge.
    peel = value_noise(points, 0.28, 71) + 0.6 * value_noise(points, 0.55, 72)
    around = np.hypot(points[:, 0], 1.6 * (points[:, 1] + 66))
    lines = np.sin(2 * np.pi * (points[:, 0] / 3.1 + 0.5 * value_noise(points, 0.2, 73)))
    above_lips = groove(np.abs(around - 22), 7) * smoothstep(-100, -85, points[:, 1])
    return _Parts(
        folds=folds,
        blood={name: blob(side, centre, radii).reshape(shape) for name, (centre, radii, _) in _BLOOD.items()},
        sides=(left.reshape(shape), (1 - left).reshape(shape)),
        chin=(outside * peel * blob(side, (0, -90, 25), (15, 9, 30))).reshape(shape),
        lips=lips.reshape(shape),
        lip_lines=(outside * lines * np.maximum(lips, 0.5 * above_lips)).reshape(shape),
    )
