"""Lashes: curved hairs rooted on the lids' rims, which follow the lids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from render.making.people.fields import unit
from render.making.people.person import Person
from render.making.people.scene.strands.roots import Anchors, BoundStrands, Skin
from render.making.people.scene.strands.strand import Strands, joined, taper

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Lid:
    """What grows on a rim."""

    hairs: int
    share: float  # of the upper lashes' length
    curl: float  # how far they bend up (or down) on their way
    reach: tuple[float, float]  # part of the rim, from nose to temple


UPPER = Lid(hairs=130, share=1.0, curl=0.46, reach=(0.13, 0.95))
LOWER = Lid(hairs=46, share=0.5, curl=-0.12, reach=(0.22, 0.88))
_RADIUS_UM, _NODES, _MELANIN = 46.0, 8, 0.97


def grow_lashes(person: Person, skin: Skin) -> BoundStrands:
    """The lashes of all four lids."""
    rng = np.random.default_rng((person.seed, 12))
    grown = []
    for lid in (UPPER, LOWER):
        for side, lids in skin.body.lids.items():
            rows = lids.upper_rows if lid is UPPER else lids.lower_rows
            rim = rows if side == "left" else rows[::-1]  # from nose to temple
            grown.append(_on_rim(lid, rim, lids.rim.middle, person, skin, rng))
    strands = joined([s for s, _ in grown])
    anchors = Anchors(
        np.concatenate([a.triangles for _, a in grown]), np.concatenate([a.shares for _, a in grown])
    )
    return BoundStrands.of(strands, anchors, skin.body.rest)


def _on_rim(
    lid: Lid,
    rim: NDArray[np.int64],
    middle: NDArray[np.int64],
    person: Person,
    skin: Skin,
    rng: np.random.Generator,
) -> tuple[Strands, Anchors]:
    """Lashes along `rim`, the skin's edge; each follows the two vertices it stands between and the next of
    the row behind them, `middle`."""
    behind = middle[cKDTree(skin.vertices[middle]).query(skin.vertices[rim])[1]]
    side = np.sign(skin.vertices[rim, 0].mean())
    place = np.sort(rng.uniform(*lid.reach, lid.hairs))
    # Evenly by length: the rim's vertices crowd in the corners.
    steps = np.linalg.norm(np.diff(skin.vertices[rim], axis=0), axis=1)
    run = np.r_[0, np.cumsum(steps)] / steps.sum()
    cell = np.interp(place, run, np.arange(len(rim)))
    first = np.minimum(cell.astype(int), len(rim) - 2)
    share = cell - first
    anchors = Anchors(
        np.stack([rim[first], rim[first + 1], behind[first]], 1),
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
