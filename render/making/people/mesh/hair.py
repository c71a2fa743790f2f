"""Hair: a cap that thickens the scalp, and strands combed over it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render.making.people.features import Features
from render.making.people.fields import fbm, linear, mix, smoothstep, unit, value_noise
from render.making.people.mesh.surface import FineMesh
from render.making.people.person import Person

Array = NDArray[np.float64]

_CENTRE_MM = np.array([0.0, 8.0, -85.0])  # of the skull, canonical
_NUM_STRANDS, _NUM_NODES = 5200, 7
_WIDTH_MM = 0.75


@dataclass(frozen=True)
class Strands:
    """Thin ribbons, rigid with the head: two vertices per node."""

    points: Array  # [S * K * 2, 3] metres, rig axes, rest pose
    tangents: Array  # [S * K * 2, 3]
    normals: Array  # [S * K * 2, 3]
    faces: NDArray[np.int32]
    albedo: Array  # [S * K * 2, 3] linear
    root: NDArray[np.int64]  # [S * K * 2] fine vertex it grows from


def _combed(canonical: Array) -> Array:
    """Coordinates [N, 3] in which noise runs along the strands."""
    crown = canonical - _CENTRE_MM
    around = np.arctan2(crown[:, 0], crown[:, 2])
    down = np.arccos(np.clip(unit(crown)[:, 1], -1, 1))
    return np.c_[60 * around * np.sin(down), 9 * down, np.zeros(len(down))]


def cap_mm(person: Person, canonical: Array, features: Features) -> Array:
    """Thickness [N] of the hair above the skin, millimetres, ridged along the strands."""
    comb = _combed(canonical)
    ridges = fbm(comb, 0.28, person.seed % 61 + 201)
    lumps = fbm(canonical, 0.03, person.seed % 67 + 211)
    rise = smoothstep(-1.0, 16.0, features.scalp_depth)
    sides = 0.45 + 0.55 * smoothstep(0, 70, canonical[:, 1])
    thickness = person.hair.thickness * rise * sides * (1 + 0.25 * lumps + 0.16 * ridges)
    return np.asarray(np.clip(thickness, 0, None) * (features.scalp > 0))


def cap_colour(person: Person, canonical: Array) -> Array:
    """Linear colour [N, 3] of the cap: streaks along the strands."""
    comb = _combed(canonical)
    tone = 0.30 + 0.35 * fbm(comb, 0.45, person.seed % 71 + 221) + 0.2 * value_noise(canonical, 0.05, 223)
    return mix(linear(*person.hair.dark), linear(*person.hair.light), np.clip(tone, 0, 1))


def make_strands(
    person: Person, fine: FineMesh, points: Array, normals: Array, canonical: Array, features: Features
) -> Strands:
    """Strands over the scalp; metres, unit, canonical [N, 3] and features of the fine mesh."""
    depth, cap = features.scalp_depth, cap_mm(person, canonical, features)
    rng = np.random.default_rng([person.seed, 3])
    able = np.flatnonzero(fine.of("body") & (depth > 0.5))
    # More at the hairline, where single strands are seen against the skin.
    weight = 0.35 + 1.6 * np.exp(-depth[able] / 9.0)
    root = able[rng.choice(len(able), _NUM_STRANDS, p=weight / weight.sum())]
    base, normal, c = points[root], unit(normals[root]), canonical[root]
    away = unit(c - _CENTRE_MM)
    # Combed from the crown outwards, swept aside over the forehead.
    comb = np.array([0, 1.0, -0.25])[None] - away * (away @ np.array([0, 1.0, -0.25]))[:, None]
    sideways = unit(np.cross(np.array([0, 1.0, 0]), away))
    forehead = smoothstep(-60, 10, c[:, 2])
    heading = unit(-unit(comb) + np.tan(person.hair.parting) * forehead[:, None] * sideways)
    heading = unit(heading + 0.22 * rng.normal(size=heading.shape) + 0.25 * _wave(c, person.seed))
    heading = unit(heading - normal * (heading * normal).sum(1, keepdims=True))
    length = (
        1e-3
        * person.hair.length
        * rng.uniform(0.5, 1.2, len(root))
        * (0.35 + 0.65 * smoothstep(0, 18, depth[root]))
    )
    length *= 0.45 + 0.55 * smoothstep(-20, 60, c[:, 1])
    lift = 1e-3 * (cap[root] * rng.uniform(0.6, 1.05, len(root)) + 0.3)
    t = np.linspace(0, 1, _NUM_NODES)
    # A strand leaves the skull and bends over it: the skull's radius is about 85 mm.
    along = length[:, None] * t
    bend = along**2 / (2 * 0.085)
    height = (
        lift[:, None] * np.sqrt(np.minimum(1, t * 2.5))
        - bend
        + 1e-3 * rng.uniform(0, 2.5, (len(root), 1)) * t
    )
    node = base[:, None] + heading[:, None] * along[:, :, None] + normal[:, None] * height[:, :, None]
    tangent = unit(np.gradient(node, axis=1))
    across = unit(np.cross(tangent, normal[:, None]))
    half = 0.5e-3 * _WIDTH_MM * (1 - 0.7 * t**2)[None, :, None] * rng.uniform(0.6, 1.2, (len(root), 1, 1))
    ribbon = np.stack([node - across * half, node + across * half], 2)  # [S, K, 2, 3]
    s, k = ribbon.shape[:2]
    first = (np.arange(s)[:, None] * k + np.arange(k - 1)[None]).ravel() * 2
    faces = np.concatenate(
        [np.stack([first, first + 1, first + 2], 1), np.stack([first + 1, first + 3, first + 2], 1)]
    )
    tone = np.clip(0.25 + 0.25 * rng.normal(size=s) + 0.3 * value_noise(c, 0.07, 231), 0, 1)
    colour = mix(linear(*person.hair.dark), linear(*person.hair.light), tone)
    colour = colour[:, None] * (0.45 + 0.55 * t)[None, :, None]  # roots lie in the hair's own shadow
    outwards = unit(np.broadcast_to(normal[:, None], node.shape))

    def both(values: Array) -> Array:
        return np.repeat(values.reshape(-1, 3), 2, 0)

    return Strands(
        ribbon.reshape(-1, 3),
        both(tangent),
        both(outwards),
        faces.astype(np.int32),
        both(colour),
        np.repeat(root, 2 * k),
    )


def _wave(c: Array, seed: int) -> Array:
    return np.stack([value_noise(c, 0.05, seed % 73 + 240 + k) for k in range(3)], 1)
