"""Lashes: curved hairs rooted on the lids' rims, which follow the lids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render.making.people.fields import unit
from render.making.people.person import Person
from render.making.people.scene.strands.roots import Anchors, BoundStrands, Skin, mirrored
from render.making.people.scene.strands.strand import Strands, joined, taper

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Lid:
    """A rim of the left eye on the base mesh, from nose to temple, and what grows on it."""

    rim: tuple[int, ...]  # vertices along the rim's outer edge
    outside: tuple[int, ...]  # of each the next on the card of lashes, towards the lashes' tips
    hairs: int
    share: float  # of the upper lashes' length
    curl: float  # how far they bend up (or down) on their way


# base.obj's own lashes stand on the rims and move with the lids; only these two rows of them are used.
UPPER = Lid(
    rim=(14785, 14771, 14774, 14775, 14794, 14795, 14791, 14790, 14789, 14788, 14787, 14786),
    outside=(14808, 14807, 14806, 14796, 14803, 14804, 14802, 14801, 14800, 14799, 14798, 14797),
    hairs=150,
    share=1.0,
    curl=0.58,
)
LOWER = Lid(
    rim=(14776, 14767, 14777, 14778, 14779, 14780, 14781, 14782, 14783, 14784),
    outside=(14821, 14818, 14822, 14823, 14824, 14825, 14826, 14827, 14828, 14829),
    hairs=60,
    share=0.55,
    curl=-0.15,
)
_RADIUS_UM, _NODES, _MELANIN = 62.0, 8, 0.97


def grow_lashes(person: Person, skin: Skin) -> BoundStrands:
    """The lashes of all four lids."""
    rng = np.random.default_rng((person.seed, 12))
    grown = [_on_rim(lid, turned, person, skin, rng) for lid in (UPPER, LOWER) for turned in (False, True)]
    strands = joined([s for s, _ in grown])
    anchors = Anchors(
        np.concatenate([a.triangles for _, a in grown]), np.concatenate([a.shares for _, a in grown])
    )
    return BoundStrands.of(strands, anchors, skin.body.rest)


def _on_rim(
    lid: Lid, turned: bool, person: Person, skin: Skin, rng: np.random.Generator
) -> tuple[Strands, Anchors]:
    rim, outside = np.array(lid.rim), np.array(lid.outside)
    if turned:
        rim, outside = mirrored(rim), mirrored(outside)
    side = -1.0 if turned else 1.0
    place = np.sort(rng.random(lid.hairs)) * 0.97 + 0.02
    cell = place * (len(rim) - 1)
    first = np.minimum(cell.astype(int), len(rim) - 2)
    share = cell - first
    anchors = Anchors(
        np.stack([rim[first], rim[first + 1], outside[first]], 1),
        np.stack([1 - share, share, np.zeros(lid.hairs)], 1),
    )
    root = anchors.of(skin.vertices)
    ahead = np.array([0.0, 0.22 if lid is UPPER else -0.85, 1.0])
    fan = (place - 0.42) * 1.2 + 0.10 * rng.normal(size=lid.hairs)
    way = unit(ahead + np.c_[side * fan, 0.08 * rng.normal(size=(lid.hairs, 2))])
    longest = person.eyes.lash_mm * lid.share
    length = longest * (0.55 + 0.45 * np.interp(place, (0, 0.35, 0.8, 1), (0, 0.75, 1, 0.75)))
    length *= rng.uniform(0.7, 1.05, lid.hairs)
    along = np.linspace(0, 1, _NODES)[None, :, None]
    bend = lid.curl * rng.uniform(0.8, 1.2, lid.hairs)[:, None, None]
    nodes = root[:, None] + length[:, None, None] * (
        way[:, None] * (along - 0.18 * along**3) + bend * np.array([0.0, 1.0, 0.0]) * along**2
    )
    # Neighbours stick together at their tips.
    group = np.minimum(np.arange(lid.hairs) // 4 * 4 + 1, lid.hairs - 1)
    nodes += 0.35 * along**2 * np.clip(nodes[group] - nodes, -1.2, 1.2)
    strands = Strands.of(
        nodes,
        skin.body.eye_midpoint,
        taper(_RADIUS_UM * rng.uniform(0.8, 1.1, lid.hairs), _NODES, 0.15),
        np.full(lid.hairs, min(_MELANIN, person.hair.melanin + 0.25)),
    )
    return strands, anchors
