"""Stubble and short beards, which follow the face."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.making.people.fields import inside_distance, smoothstep, value_noise
from render.making.people.person import Person
from render.making.people.scene.strands.comb import along_skin
from render.making.people.scene.strands.hair import melanin_of
from render.making.people.scene.strands.roots import BoundStrands, Skin, is_lip
from render.making.people.scene.strands.strand import Strands, taper
from render.making.people.scene.uv import canonical_body

Array = NDArray[np.float64]

# Where it grows on the left: angle from the front about the skull's axis (degrees) and canonical height
# (millimetres), from the sideburn along the cheek to the upper lip, and back under the jaw.
_ZONE = np.array(
    [
        (62, -12), (55, -34), (46, -50), (34, -57), (22, -56), (13, -50), (7, -47), (0, -48),
        (-20, -48), (-20, -124), (0, -124), (20, -122), (38, -114), (52, -100), (62, -82), (70, -60),
        (71, -36), (70, -12),
    ],
    float,
)  # fmt: skip
_AXIS_Z_MM, _MM_A_DEGREE = -89.5, 1.3
_STUBBLE_UM, _NODES = 55.0, 5
_PER_MM2 = 0.75


def beard_share(points: Array) -> Array:
    """How dense a beard is [N], 0..1, at canonical `points` [N, 3]; lips are not told apart."""
    angle = np.degrees(np.arctan2(np.abs(points[:, 0]), points[:, 2] - _AXIS_Z_MM))
    within = inside_distance(np.c_[_MM_A_DEGREE * angle, points[:, 1]], _ZONE * [_MM_A_DEGREE, 1])
    within += 2.5 * value_noise(points, 0.12, 61)
    cheek = smoothstep(38, 52, angle) * smoothstep(-80, -50, points[:, 1])
    return np.asarray(smoothstep(0, 1, (within + 2) / (9 + 8 * cheek)) * (points[:, 2] > -110))


def grow_beard(person: Person, skin: Skin) -> BoundStrands | None:
    """The person's beard; None without one."""
    beard = person.beard
    if not beard.length_mm:
        return None
    rng = np.random.default_rng((person.seed, 13))
    centre, lips = canonical_body()[skin.faces].mean(1), is_lip()[skin.faces].any(1)
    outer = skin.normals[skin.faces].mean(1)[:, 2] > -0.75
    near = (centre[:, 1] < 0) & (centre[:, 1] > -140) & (centre[:, 2] > -100) & ~lips & outer
    near &= ~_inside_mouth(centre)
    roots = skin.roots(skin.faces[near], _PER_MM2, rng)
    patchy = 0.8 + 0.35 * value_noise(roots.canonical, 0.09, 62)
    kept = rng.random(len(roots)) < beard.density * patchy * beard_share(roots.canonical)
    roots = roots.where(kept)
    count, at = len(roots), roots.canonical
    chin = smoothstep(30, 10, np.abs(at[:, 0])) * smoothstep(-70, -85, at[:, 1])
    lip = smoothstep(-72, -60, at[:, 1]) * smoothstep(34, 26, np.abs(at[:, 0]))
    length = beard.length_mm * (0.75 + 0.5 * chin - 0.15 * lip) * rng.uniform(0.55, 1.1, count)
    aside = np.sign(at[:, 0]) * (0.15 + 0.45 * lip)
    heading = np.c_[aside, np.full(count, -1.0), 0.25 * chin - 0.1]
    heading += 0.32 * rng.normal(size=(count, 3))
    lift = 0.55 + 0.25 * rng.normal(size=count)
    first, later = along_skin(heading, roots.normal, lift), along_skin(heading, roots.normal, 0.35 * lift)
    along = np.linspace(0, 1, _NODES)[None, :, None]
    curl = 0.10 * np.cumsum(rng.normal(size=(count, _NODES, 3)), 1) * along
    way = first[:, None] * along + 0.5 * (later - first)[:, None] * along**2 + curl
    nodes = (roots.position - 0.25 * roots.normal)[:, None] + (length[:, None, None] + 0.25) * way
    melanin = person.hair.melanin
    strands = Strands.of(
        nodes,
        skin.body.eye_midpoint,
        taper(_STUBBLE_UM * rng.uniform(0.75, 1.15, count), _NODES, 0.5),
        melanin_of(roots.position, person.hair, min(1.0, melanin + 0.03), beard.grey, rng),
    )
    return BoundStrands.of(strands, roots.anchors, skin.body.rest)


def _inside_mouth(points: Array) -> NDArray[np.bool_]:
    depth = 30.0 - 0.012 * points[:, 0] ** 2 - points[:, 2]
    return (np.abs(points[:, 0]) < 26) & (np.abs(points[:, 1] + 66) < 22) & (depth > 16)
