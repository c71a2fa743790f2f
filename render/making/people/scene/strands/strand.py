"""Strands, and what is done to many of them alike: cutting, gathering into locks, waving, tapering.

While they grow they are nodes [N, S, 3] in millimetres from the midpoint of the eyes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from render.making.people.fields import smoothstep, unit

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Strands:
    """Hairs as polylines of K nodes, root first."""

    points: NDArray[np.float32]  # [N, K, 3] metres, in the rig's frame
    radius: NDArray[np.float32]  # [N, K] metres
    melanin: NDArray[np.float32]  # [N] 0 white .. 1 black

    def __len__(self) -> int:
        return len(self.points)

    @classmethod
    def of(cls, nodes: Array, origin: Array, radius: Array, melanin: Array) -> Strands:
        """From `nodes` [N, K, 3] in millimetres about `origin` [3] (metres); `radius` in micrometres."""
        return cls(
            (origin + 1e-3 * nodes).astype(np.float32),
            (1e-6 * np.broadcast_to(radius, nodes.shape[:2])).astype(np.float32),
            np.broadcast_to(melanin, len(nodes)).astype(np.float32),
        )


def joined(parts: list[Strands]) -> Strands:
    """Strands of the same number of nodes as one set."""
    return Strands(
        np.concatenate([p.points for p in parts]),
        np.concatenate([p.radius for p in parts]),
        np.concatenate([p.melanin for p in parts]),
    )


def taper(root: Array | float, count: int, tip: float = 0.3) -> Array:
    """Radii [N, count] of strands as thick as `root` [N] nearly to their tips, where `tip` of it is left."""
    along = np.linspace(0, 1, count)
    profile = 1 - (1 - tip) * smoothstep(0.55, 1.0, along)
    return np.asarray(np.atleast_1d(root)[:, None] * profile)


def arc(nodes: Array) -> Array:
    """Length [N, S] from the root to each node."""
    step = np.linalg.norm(np.diff(nodes, axis=1), axis=2)
    return np.concatenate([np.zeros((len(nodes), 1)), np.cumsum(step, 1)], 1)


def cut(nodes: Array, length: Array, count: int) -> Array:
    """`count` nodes evenly along the first `length` [N] of each strand, [N, count, 3]."""
    total = arc(nodes)
    wanted = np.minimum(length, total[:, -1])[:, None] * np.linspace(0, 1, count)
    row = np.arange(len(nodes))[:, None]
    after = (total[:, None, :] < wanted[:, :, None]).sum(2).clip(1, nodes.shape[1] - 1)
    low, high = total[row, after - 1], total[row, after]
    share = ((wanted - low) / np.maximum(high - low, 1e-9))[:, :, None]
    return np.asarray((1 - share) * nodes[row, after - 1] + share * nodes[row, after])


def smooth(nodes: Array, times: int) -> Array:
    """Strands without kinks; roots and tips stay."""
    nodes = nodes.copy()
    for _ in range(times):
        nodes[:, 1:-1] = 0.25 * nodes[:, :-2] + 0.5 * nodes[:, 1:-1] + 0.25 * nodes[:, 2:]
    return nodes


def locks(root: Array, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """For each strand [N] the one in whose lock it is, about `size` in each; `root` [N, D]."""
    middle = rng.permutation(len(root))[: max(1, len(root) // size)]
    return np.asarray(middle[cKDTree(root[middle]).query(root)[1]])


def gathered(nodes: Array, lock: NDArray[np.int64], share: Array, apart_mm: float = 40.0) -> Array:
    """Strands drawn to their lock's by `share` [N, S] or [S]; those far from it hardly."""
    towards = nodes[lock] - nodes
    far = np.linalg.norm(towards, axis=2, keepdims=True)
    share = np.broadcast_to(share, nodes.shape[:2])[:, :, None]
    return np.asarray(nodes + share * towards * smoothstep(apart_mm, 0.4 * apart_mm, far))


def waved(nodes: Array, lock: NDArray[np.int64], size_mm: Array, length_mm: float) -> Array:
    """Strands that wave by `size_mm` [N, S] across their way, those of a lock together."""
    phase = np.stack([np.sin(0.37 * lock + k) * 43758.5453 % (2 * np.pi) for k in range(3)], 1)
    pace = 0.75 + 0.5 * (phase[:, 2:] / (2 * np.pi))
    turn = 2 * np.pi * arc(nodes) / length_mm * pace
    along = unit(np.gradient(nodes, axis=1))
    across = unit(np.cross(along, [0.0, 0.3, 1.0]))
    other = np.cross(along, across)
    return np.asarray(
        nodes
        + (size_mm * np.sin(turn + phase[:, :1]))[:, :, None] * across
        + (0.6 * size_mm * np.sin(0.83 * turn + phase[:, 1:2]))[:, :, None] * other
    )
