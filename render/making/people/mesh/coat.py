"""Colour and relief of the skin and everything else on the mesh: what the rig itself cannot express."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.making.people import wrinkles
from render.making.people.features import IRIS_M, Features, nostrils
from render.making.people.fields import blob, fbm, linear, mix, skin_colour, smoothstep, unit, value_noise
from render.making.people.head import both_sides
from render.making.people.light import DRY_WRAP, FLESH_WRAP
from render.making.people.mesh.hair import cap_colour, cap_mm
from render.making.people.mesh.surface import FineMesh
from render.making.people.person import Person

Array = NDArray[Any]

# Which units press which fold into the skin, how deep in millimetres, and the share that age leaves at rest.
_FOLDS: dict[str, tuple[dict[str, float], float, float]] = {
    "forehead": ({"browInnerUp": 0.6, "browOuterUp@": 0.7}, 1.1, 0.16),
    "nasolabial": (
        {"mouthSmile@": 1, "cheekSquint@": 0.3, "mouthUpperUp@": 0.5, "noseSneer@": 0.5},
        0.8,
        0.35,
    ),
    "crows_feet": ({"eyeSquint@": 0.8, "cheekSquint@": 0.5, "mouthSmile@": 0.3}, 0.9, 0.22),
    "under_eye": ({"cheekSquint@": 0.6, "eyeSquint@": 0.5, "mouthSmile@": 0.25}, 0.7, 0.3),
    "glabella": ({"browDown@": 1.0}, 1.3, 0.0),
    "nose_bridge": ({"noseSneer@": 1.0}, 0.9, 0.0),
    "marionette": ({"mouthFrown@": 1.0, "mouthStretch@": 0.4}, 0.8, 0.25),
}
_MANY_FRECKLES = 180


@dataclass(frozen=True)
class Coat:
    """What lies on the fine mesh of one person; N fine vertices, K folds."""

    albedo: Array  # [N, 3] linear, the hair's where there is hair
    shine: Array  # [N] strength of the highlight
    gloss: Array  # [N] exponent of the highlight
    wrap: Array  # [N, 3] how far light bleeds round the terminator
    relief_mm: Array  # [N] along the normal, at rest
    cap_mm: Array  # [N] thickness of the hair
    fold_relief_mm: Array  # [K, N] added per unit of its drive
    fold_shade: Array  # [K, N] darkening per unit of its drive
    left: Array  # [N] 1 on the subject's left, 0 on the right, smooth between

    def drive(self, units: Mapping[str, float]) -> Array:
        """How far each fold is pressed, [K, N] in 0..1.1."""
        out = np.zeros_like(self.fold_relief_mm)
        for row, (drivers, _, _) in enumerate(_FOLDS.values()):
            for name, share in drivers.items():
                weights = [units.get(one, 0.0) for one in both_sides(name)]
                # A vertex follows its own side's unit.
                out[row] += share * (weights[0] * self.left + weights[-1] * (1 - self.left))
        return np.clip(out, 0, 1.1)


def make_coat(
    person: Person, mesh: FineMesh, canonical: Array, features: Features, eyes: Mapping[str, Array]
) -> Coat:
    """Paint one person: `canonical` [N, 3] millimetres, `features` of all N.

    `eyes` are the offsets [M, 3], metres, of each eyeball's vertices from its centre, by part.
    """
    body = mesh.of("body")
    c = canonical
    mirrored = np.c_[np.abs(c[:, 0]), c[:, 1:]]
    albedo = np.full((len(c), 3), 0.3)
    shine, gloss = np.full(len(c), 0.35), np.full(len(c), 14.0)
    relief = np.zeros(len(c))
    bare = body & (features.cloth < 0.99)
    albedo[bare] = _skin(person, c[bare], mirrored[bare], features.where(bare))
    relief[body] = _relief(person, c[body], mirrored[body], features.where(body))
    shine[body] = 0.30 + 0.25 * blob(mirrored[body], (0, 20, 30), (25, 60, 40))
    wet = features.lips + 1.2 * features.lining
    shine += 0.8 * wet
    gloss += 26 * np.clip(wet, 0, 1)
    cloth = features.cloth * body
    fabric = (
        linear(*person.clothes.colour) * (1 + 0.10 * value_noise(c, 0.8, 7) + 0.12 * fbm(c, 0.03, 9))[:, None]
    )
    albedo = mix(albedo, fabric, cloth)
    shine *= 1 - cloth
    for part, colour, strength in (
        ("tongue", linear(168, 84, 80), 0.8),
        ("upper_teeth", linear(226, 214, 192), 1.0),
        ("lower_teeth", linear(216, 202, 180), 0.9),
    ):
        rows = mesh.of(part)
        albedo[rows], shine[rows], gloss[rows] = colour, strength, 50.0
        if part != "tongue":  # dark gaps stand for the single teeth
            gaps = np.exp(-0.5 * ((np.abs(np.mod(c[rows, 0] + 3.8, 7.6) - 3.8)) / 0.45) ** 2)
            albedo[rows] *= (1 - 0.35 * gaps)[:, None]
    for part, offset in eyes.items():
        rows = mesh.of(part)
        albedo[rows] = _eye_colours(person, offset, 1 if part == "left_eye" else -1)
        shine[rows], gloss[rows] = 3.0, 420.0
        from_axis = np.hypot(offset[:, 0], offset[:, 1]) * 1e3
        relief[rows] = np.where(offset[:, 2] > 0, 0.9 * smoothstep(7.5, 3.0, from_axis), 0)  # the cornea
    folds = [wrinkles.fold(name, c) for name in _FOLDS]
    deep = (0.6 + 0.7 * person.age) * body * (1 - features.scalp)
    depth = np.array([mm for _, mm, _ in _FOLDS.values()])[:, None] * deep
    furrow, ridge = np.stack([f for f, _ in folds]), np.stack([r for _, r in folds])
    resting = np.array([rest for _, _, rest in _FOLDS.values()])[:, None] * person.age
    relief += (resting * depth * (0.45 * ridge - furrow)).sum(0)
    shade = 0.38 * furrow * deep
    albedo *= (1 - np.clip(0.5 * (resting * shade).sum(0), 0, 0.6))[:, None]
    cap = cap_mm(person, c, features) * body
    haired = smoothstep(0.5, 4.0, cap)
    fleshy = body & (haired < 0.5) & (features.cloth < 0.5)
    return Coat(
        albedo=mix(np.clip(albedo, 0.003, 0.9), cap_colour(person, c), haired).astype(np.float32),
        shine=(shine * (1 - 0.7 * haired)).astype(np.float32),
        gloss=gloss.astype(np.float32),
        wrap=np.where(fleshy[:, None], FLESH_WRAP, DRY_WRAP).astype(np.float32),
        relief_mm=(relief * (1 - haired)).astype(np.float32),
        cap_mm=cap.astype(np.float32),
        fold_relief_mm=depth * (0.45 * ridge - furrow),
        fold_shade=shade,
        left=np.asarray(smoothstep(-4, 4, c[:, 0])),
    )


def _skin(person: Person, c: Array, mirrored: Array, at: Features) -> Array:
    seed = person.seed * 31 % 997
    melanin = person.skin.melanin * (1 + 0.10 * fbm(c, 0.022, seed + 1) + 0.05 * fbm(c, 0.12, seed + 5))
    blood = person.skin.haemoglobin * (1 + 0.16 * fbm(c, 0.05, seed + 11) + 0.10 * fbm(c, 0.2, seed + 13))
    blood += 0.30 * blob(mirrored, (42, -30, 10), (15, 13, 40)) + 0.35 * at.ears
    blood += 0.20 * blob(mirrored, (0, -38, 42), (9, 8, 20))
    blood += 0.14 * blob(mirrored, (0, -96, 20), (15, 10, 40))
    eye = blob(mirrored, (29, -2, 10), (17, 13, 30))
    blood += 0.22 * eye
    melanin += (0.05 + 0.10 * person.skin.melanin) * eye
    if person.skin.freckles:
        spots = value_noise(c, 0.55, seed + 21) + 0.6 * value_noise(c, 0.9, seed + 22)
        where = blob(mirrored, (22, -20, 20), (28, 16, 40)) + 0.25
        strength = 0.8 * person.skin.freckles / _MANY_FRECKLES
        melanin += strength * smoothstep(0.55, 1.1, spots) * where
    melanin += 1.2 * smoothstep(0.93, 0.99, value_noise(c, 0.12, seed + 25)) * (c[:, 1] < 50)
    albedo = skin_colour(melanin, np.maximum(blood, 0.1))
    albedo *= (1 + 0.05 * value_noise(c, 0.9, seed + 31))[:, None]
    if person.skin.stubble:
        jaw = (
            smoothstep(-42, -60, c[:, 1] - 0.45 * np.maximum(mirrored[:, 0] - 40, 0))
            * smoothstep(-128, -112, c[:, 1])
            * smoothstep(-85, -55, c[:, 2])
            * smoothstep(76, 64, mirrored[:, 0])
        )
        tips = 0.6 + 0.4 * value_noise(c, 1.3, seed + 35)
        dark = 0.55 * person.skin.stubble * np.maximum(jaw, blob(mirrored, (11, -53, 33), (13, 5, 30)))
        albedo *= 1 - (dark * tips * (1 - at.lips))[:, None] * np.array([1.0, 0.95, 0.85])
    lip_lines = 1 + 0.14 * value_noise(c, (0.7, 0.15, 0.15), seed + 41)
    lip_melanin, lip_blood = person.skin.lip_pigment
    lips = skin_colour(person.skin.melanin + lip_melanin, blood + lip_blood) * lip_lines[:, None]
    albedo = mix(albedo, lips, 0.9 * at.lips)
    albedo = mix(albedo, linear(120, 46, 44), at.lining)
    albedo *= (1 - 0.9 * nostrils(c))[:, None]
    albedo = mix(albedo, 0.25 * albedo + linear(70, 30, 26) * 0.3, 0.85 * at.lid_rim * (c[:, 1] > -1.5))
    albedo *= (1 - 0.35 * at.lid_crease)[:, None]
    hairs = smoothstep(
        -0.5, 0.7, value_noise(c, (0.55, 0.9, 0.3), seed + 51) + 0.5 * value_noise(c, 1.6, seed + 52)
    )
    albedo = mix(albedo, 1.1 * linear(*person.brows.colour), at.brows * (0.55 + 0.35 * hairs))
    return np.asarray(mix(albedo, linear(*person.hair.dark), 0.92 * at.scalp))


def _relief(person: Person, c: Array, mirrored: Array, at: Features) -> Array:
    """Millimetres [N] at rest: asymmetry no identity mode has, brow hair, pores, cloth."""
    seed = person.seed * 37 % 991
    smooth = (1 - at.cloth) * (1 - at.lid_rim) * (1 - at.lining)
    face = smoothstep(-60, -20, c[:, 2]) * (c[:, 1] > -120)
    near_eye = blob(mirrored, (29, 0, 10), (14, 9, 30))
    broad = 1.6 * fbm(c, 0.018, seed + 1, octaves=2) * face * (1 - near_eye)
    fine = 0.16 * fbm(c, 0.35, seed + 5) * (0.5 + person.age)
    bumps = 0.35 * fbm(c, 0.09, seed + 9) * face * (1 - near_eye)
    brows = 1.0 * at.brows * (0.6 + 0.4 * value_noise(c, (0.5, 0.9, 0.3), seed + 13))
    lips = -0.25 * at.lips * (0.5 + 0.5 * value_noise(c, (0.7, 0.12, 0.12), seed + 17))
    cloth = at.cloth * (3.5 + 2.2 * fbm(c, (0.016, 0.03, 0.016), seed + 21) + 0.25 * value_noise(c, 0.8, 23))
    return np.asarray(smooth * (broad + fine + bumps + brows + lips) + cloth)


def _eye_colours(person: Person, offset: Array, sign: int) -> Array:
    """Linear colours [N, 3] of one eyeball: veined white, limbal ring, fibres of the iris, pupil."""
    out = unit(offset)
    radius = np.linalg.norm(offset, axis=1)
    rim = smoothstep(0.35, 0.95, np.hypot(out[:, 0], out[:, 1]))
    vein = smoothstep(0.35, 0.8, 1 - np.abs(value_noise(out, 9, 81 + sign)) * 3) * rim
    clear = 1 - rim[:, None] * np.array([0.06, 0.22, 0.22]) - (0.12 * vein)[:, None] * np.array([0.2, 1, 1])
    q = np.where(out[:, 2] > 0, np.hypot(out[:, 0], out[:, 1]) * radius / IRIS_M, 9.0)
    turn = np.arctan2(out[:, 1], out[:, 0])
    ring = np.c_[np.cos(turn), np.sin(turn), np.zeros(len(turn))]
    fibre = value_noise(ring * 9 + [0, 0, 1] * (q * 1.2)[:, None], 1.0, 91 + person.seed % 50)
    iris = mix(
        linear(*person.eyes.iris_inner),
        linear(*person.eyes.iris_outer),
        smoothstep(0.42, 0.8, q),
    )
    iris *= (1 + 0.4 * fibre)[:, None] * (1 - 0.8 * smoothstep(0.8, 1.0, q))[:, None]
    iris = mix(iris, linear(8, 6, 6), smoothstep(0.46, 0.38, q))
    return np.asarray(mix(iris, linear(*person.eyes.white) * clear, smoothstep(0.94, 1.06, q)))
