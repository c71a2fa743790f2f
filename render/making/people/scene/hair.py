"""Strands of hair: many around each guide that a hairstyle grows. Rigid with the head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from render.making.people.gaussians.hairstyles import Guides, bob_guides, short_guides
from render.making.people.head import Head
from render.making.people.person import Person

Array = NDArray[np.float64]

NUM_STRANDS, NUM_NODES = 15_000, 16
ROOT_RADIUS_M, TIP = 6e-5, 0.35  # of one strand, and what its tip has of it
_SAME_LOCK_MM = 30.0  # guides whose ends are further apart lie across a parting
_NEAR, _SPREAD_MM, _WAVE_MM = 4, 1.2, 1.4


@dataclass(frozen=True)
class Strands:
    """Hairs as polylines of K nodes, root first."""

    points: NDArray[np.float32]  # [N, K, 3] metres, in the rig's frame
    radius: NDArray[np.float32]  # [N, K] metres


def grow_hair(person: Person, head: Head) -> Strands:
    """The person's hair at rest; curls that hang on no guide are not grown yet."""
    rng = np.random.default_rng((person.seed, 6))
    style = {"bob": bob_guides, "short": short_guides, "afro": short_guides}[person.hair.style]
    points = _around(style(head, person, rng), rng)
    radius = np.broadcast_to(ROOT_RADIUS_M * np.linspace(1, TIP, NUM_NODES), points.shape[:2])
    return Strands((head.eye_midpoint + 1e-3 * points).astype(np.float32), radius.astype(np.float32))


def _around(guides: Guides, rng: np.random.Generator) -> Array:
    """Strands [N, K, 3], millimetres: each between a guide and one beside it, of its own length and wave."""
    last = guides.drawn.sum(1)
    grown = np.flatnonzero(last >= 2)
    own = np.repeat(grown, max(4, NUM_STRANDS // max(len(grown), 1)))
    root = guides.points[:, 1]
    beside = cKDTree(root).query(root, _NEAR + 1)[1][own, rng.integers(1, _NEAR + 1, len(own))]
    apart = np.linalg.norm(guides.points[beside, -1] - guides.points[own, -1], axis=1)
    share = rng.random(len(own)) * np.where(apart < _SAME_LOCK_MM, 0.7, 0.1)
    blended = (1 - share)[:, None, None] * guides.points[own] + share[:, None, None] * guides.points[beside]
    end = (1 - share) * last[own] + share * last[beside] + 0.5 * rng.normal(size=len(own))
    end = np.clip(end, 2, guides.points.shape[1] - 1.01)
    along = np.linspace(0, 1, NUM_NODES)
    place = end[:, None] * along
    before = place.astype(int)
    between = (place - before)[:, :, None]
    row = np.arange(len(own))[:, None]
    after = np.minimum(before + 1, guides.points.shape[1] - 1)
    strand = (1 - between) * blended[row, before] + between * blended[row, after]
    wave = np.sin(2 * np.pi * (along[None, :, None] + rng.random((len(own), 1, 3))))
    spread = _SPREAD_MM * rng.normal(size=(len(own), 1, 3))
    return np.asarray(strand + spread + _WAVE_MM * along[None, :, None] * wave)
