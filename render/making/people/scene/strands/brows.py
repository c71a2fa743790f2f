"""Brows: hairs rooted on the skin along a line of each person's own, which follow the face."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.making.people.fields import polyline_distance, smoothstep, value_noise
from render.making.people.person import Brows, Person
from render.making.people.scene.strands.comb import along_skin
from render.making.people.scene.strands.hair import melanin_of
from render.making.people.scene.strands.roots import BoundStrands, Skin
from render.making.people.scene.strands.strand import Strands, taper
from render.making.people.scene.uv import canonical_body

Array = NDArray[np.float64]

# The middle line from nose to temple, seen from the front: canonical millimetres.
_LINE = np.array(
    [(9.5, 12.2), (16, 14.6), (24, 17.6), (32, 20.0), (40, 21.2), (47, 20.2), (52, 17.8), (55, 15.6)]
)
_ARCH = np.array([-1.0, -0.6, 0.0, 0.8, 1.0, 0.6, -0.3, -1.0])  # what an arch of 1 mm more adds to it
_HALF_WIDTH_MM = ((0.0, 0.10, 0.30, 0.60, 0.85, 1.0), (3.0, 3.9, 3.7, 2.8, 1.6, 0.4))  # along it
_PER_MM2, _RADIUS_UM, _NODES = 2.6, 40.0, 6


def middle_line(brows: Brows) -> Array:
    """The line [K, 2] of the left brow from the front, canonical millimetres."""
    line = _LINE.copy()
    line[:, 1] += brows.lift + 2.2 * (brows.arch - 1) * _ARCH
    return line


def grow_brows(person: Person, skin: Skin) -> BoundStrands:
    """Both brows."""
    rng = np.random.default_rng((person.seed, 11))
    line = middle_line(person.brows)
    centre = canonical_body()[skin.faces].mean(1)
    near = (
        (centre[:, 2] > -45)
        & (np.abs(centre[:, 1] - 17) < 26)
        & (skin.normals[skin.faces].mean(1)[:, 2] > 0.05)
    )
    roots = skin.roots(skin.faces[near], _PER_MM2, rng)
    flat = np.c_[np.abs(roots.canonical[:, 0]), roots.canonical[:, 1]]
    away, place = polyline_distance(flat, line)
    ahead = np.interp(place, np.linspace(0, 1, len(line)), np.gradient(line[:, 1]) / np.gradient(line[:, 0]))
    below = np.interp(flat[:, 0], line[:, 0], line[:, 1]) > flat[:, 1]
    half = person.brows.width * np.interp(place, *_HALF_WIDTH_MM)
    across = away / half * np.where(below, -1, 1)
    ragged = (
        np.abs(across) + 0.30 * value_noise(roots.canonical, 0.45, 31) + 0.22 * rng.normal(size=len(roots))
    )
    dense = smoothstep(1.15, 0.55, ragged) * (0.30 + 0.70 * smoothstep(0.0, 0.16, place))
    inner = flat[:, 0] < line[0, 0] + 1.5
    dense *= np.where(inner, smoothstep(3.5, 0, line[0, 0] + 1.5 - flat[:, 0]), 1)
    kept = rng.random(len(roots)) < 0.85 * person.brows.density * dense
    roots, place, across, ahead = roots.where(kept), place[kept], across[kept], ahead[kept]
    count, side = len(roots), np.sign(roots.canonical[:, 0])
    # Up at the nose, then along the brow; the upper edge leans down on it, the lower one up.
    rise = np.interp(place, (0, 0.12, 0.3, 0.6, 1), (66, 46, 28, 12, 2)) - 16 * across * smoothstep(
        0, 0.3, place
    )
    rise = np.radians(rise + 13 * rng.normal(size=count)) + np.arctan(ahead)
    heading = np.c_[side * np.cos(rise), np.sin(rise), np.zeros(count)]
    length = np.interp(place, (0, 0.15, 0.6, 1), (5.5, 8.0, 8.0, 5.0)) * rng.uniform(0.65, 1.1, count)
    flat_way = along_skin(heading, roots.normal, 0.0)
    lift = rng.uniform(0.18, 0.42, count)
    droop = np.radians(rng.uniform(15, 40, count))
    later = along_skin(
        np.c_[side * np.cos(rise - droop), np.sin(rise - droop), np.zeros(count)], roots.normal, 0.0
    )
    along = np.linspace(0, 1, _NODES)[None, :, None]
    way = flat_way[:, None] * along + (later - flat_way)[:, None] * 0.5 * along**2
    up = (lift[:, None, None] * (along - 0.75 * along**2)) * roots.normal[:, None]
    nodes = (roots.position - 0.5 * roots.normal)[:, None] + length[:, None, None] * (way + up)
    nodes[:, 1:] += 0.5 * roots.normal[:, None]
    melanin = person.brows.melanin
    if melanin is None:
        melanin = min(1.0, person.hair.melanin + 0.02)
    strands = Strands.of(
        nodes,
        skin.body.eye_midpoint,
        taper(_RADIUS_UM * rng.uniform(0.7, 1.15, count), _NODES, 0.2),
        melanin_of(roots.position, person.hair, melanin, person.brows.grey, rng),
    )
    return BoundStrands.of(strands, roots.anchors, skin.body.rest)
