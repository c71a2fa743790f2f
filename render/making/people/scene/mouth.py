"""Teeth, gums and tongue of a path-traced person, and lips that lie on the teeth instead of in them.

MakeHuman's teeth stand too far back and too high behind the lips to be seen: they are moved, by as much as
each face needs, until the upper teeth end just below a resting mouth's upper lip. The upper row stays with
the skull. The lower one and the tongue turn with the jaw, rigidly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from render.making import makehuman
from render.making.items import Assets, Item
from render.making.people.fields import linear
from render.making.people.person import Teeth
from render.making.people.scene.surface import Material, Surface

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

# Of the base mesh, in the middle: where the upper lip's lower edge and the lips' inner faces are.
_UPPER_LIP_EDGE = 520
_INNER_LIPS = (554, 571)
_EDGE_BELOW_LIP_M = 1.3e-3
_CROWN_MORE_M = 1.2e-3
_BEHIND_LIPS_M = 1.2e-3
_LOWER_HELPER = slice(14992, 15060)  # base.obj's own lower teeth, and upper
_FIRST_UPPER_HELPER = 15060
_JAW_GAIN = 1.12  # the lower lip runs ahead of MakeHuman's jaw
_LIP_GAP_M = 0.5e-3
_LIP_SPREAD_M = 5e-3  # how far what lifts a lip's inside moves its outside
_ARCH_PIVOT = 0.45  # of the row's depth, from behind: the angle along the row is taken about it


@dataclass(frozen=True)
class Arch:
    """The outer face of a row of teeth: how far it is from a pivot, by angle from the middle."""

    pivot_z: float
    coefficients: Array  # of the distance in metres, in squares of the angle
    low: float  # y of the row's ends, metres
    high: float

    @classmethod
    def of(cls, points: Array) -> Arch:
        pivot = points[:, 2].min() + _ARCH_PIVOT * np.ptp(points[:, 2])
        angle = np.arctan2(points[:, 0], points[:, 2] - pivot)
        distance = np.hypot(points[:, 0], points[:, 2] - pivot)
        angles = np.linspace(-1.5, 1.5, 41)
        outer = [distance[np.abs(angle - a) < 0.15].max() for a in angles]
        coefficients = np.polynomial.polynomial.polyfit(angles**2, outer, 3)
        return cls(float(pivot), coefficients, float(points[:, 1].min()), float(points[:, 1].max()))

    def depth(self, points: Array) -> Array:
        """Metres [N] by which points lie too near the row's outer face, `_LIP_GAP_M` before it, or behind."""
        angle = np.arctan2(points[:, 0], points[:, 2] - self.pivot_z)
        distance = np.hypot(points[:, 0], points[:, 2] - self.pivot_z)
        outer = np.polynomial.polynomial.polyval(np.minimum(angle**2, 2.0), self.coefficients)
        beside = np.clip((1.35 - np.abs(angle)) / 0.3, 0, 1)
        above = np.maximum(self.low - points[:, 1], points[:, 1] - self.high)
        level = np.clip(1 - above / 4e-3, 0, 1)
        return np.asarray(np.maximum(outer + _LIP_GAP_M - distance, 0) * beside * level)

    def outwards(self, points: Array) -> Array:
        """Unit directions [N, 3] away from the row."""
        away = (points - [0.0, 0.0, self.pivot_z]) * [1.0, 0, 1]
        return np.asarray(away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-9))


class Mouth:
    """The inside of one body's mouth."""

    def __init__(self, rest: Array, assets: Assets) -> None:
        """`rest` [N, 3] is the body at rest, metres."""
        self._rest = rest
        self._teeth = assets.item("teeth/teeth_base/teeth_base")
        self._tongue = assets.item("tongue/tongue01/tongue01")
        self.upper: NDArray[np.bool_] = self._teeth.vertices.min(1) >= _FIRST_UPPER_HELPER
        self.gum = _largest_part(self._teeth)
        points = _fitted(self._teeth, rest, rest)
        crowns = points[self.upper & ~self.gum]
        self.moved = np.array(
            [
                0.0,
                rest[_UPPER_LIP_EDGE, 1] - _EDGE_BELOW_LIP_M - crowns[:, 1].min(),
                rest[list(_INNER_LIPS), 2].min() - _BEHIND_LIPS_M - crowns[:, 2].max(),
            ]
        )
        self._points = points + self.moved
        # The gums leave little of the crowns, whose necks go on beneath them.
        self._points[self.gum, 1] += np.where(self.upper[self.gum], _CROWN_MORE_M, -_CROWN_MORE_M)
        self._arches = {
            upper: Arch.of(self._points[~self.gum & (self.upper if upper else ~self.upper)])
            for upper in (True, False)
        }
        self._lips()

    def surfaces(self, teeth: Teeth, assets: Assets) -> dict[str, Surface]:
        """What `vertices` moves, by name."""
        obj = self._teeth.obj
        red, green, blue = linear(*teeth.colour)
        enamel = Material("enamel", {"red": red, "green": green, "blue": blue})
        gums = Material(
            "flesh", {"red": 0.56, "green": 0.2, "blue": 0.18, "roughness": 0.22, "depth_mm": 1.5}
        )
        tongue = Material("tongue", {}, assets.file("tongue/tongue01/tongue01_diffuse.png"))

        def part(wanted: bool, material: Material) -> Surface:
            # At the back a few polygons join the upper gum to the lower: they would span an open mouth.
            kept = [
                k
                for k, polygon in enumerate(obj.polygons)
                if self.gum[polygon[0]] == wanted and len(set(self.upper[polygon])) == 1
            ]
            uv = obj.uv[[corner for k in kept for corner in obj.uv_polygons[k]]]
            return Surface.of([obj.polygons[k] for k in kept], uv, material)

        return {
            "teeth": part(False, enamel),
            "gums": part(True, gums),
            "tongue": Surface.of(self._tongue.obj.polygons, self._tongue.corner_uv, tongue),
        }

    def vertices(self, acting: Array, tongue_out: float) -> dict[str, Array]:
        """Vertices of each surface [V, 3] with a body [N, 3] whose face acts, before the head turns.

        `tongue_out` is the weight of that unit: a tongue put out rises over the lower teeth and lip.
        """
        turn, shift = self._jaw(acting)
        teeth = np.where(self.upper[:, None], self._points, self._points @ turn.T + shift)
        # The tongue bends by itself; it is moved as the teeth are, in the jaw's frame.
        moved = self.moved * [1.0, 1 - tongue_out, 1.0]
        tongue = _fitted(self._tongue, acting, self._rest) + moved @ turn.T
        return {"teeth": teeth, "gums": teeth, "tongue": tongue}

    def lifted(self, acting: Array) -> Array:
        """A body [N, 3] whose face acts, its lips lifted off the teeth."""
        result = acting.copy()
        for _ in range(4):  # a vertex shares its neighbours' lift, and may need some more
            result[self._near] += self._spread @ self._needed_lift(result)
        return result

    def depth(self, acting: Array) -> Array:
        """Metres by which the lips' inner vertices of a body [N, 3] lie in the teeth, or too near."""
        return np.linalg.norm(self._needed_lift(acting), axis=1)

    def _needed_lift(self, acting: Array) -> Array:
        turn, shift = self._jaw(acting)
        lift = np.zeros((len(self._inside), 3))
        for upper, arch in self._arches.items():
            mine = self._inside_upper if upper else ~self._inside_upper
            points = acting[self._inside[mine]]
            seen = points if upper else (points - shift) @ turn
            by = arch.depth(seen)[:, None] * arch.outwards(seen)
            lift[mine] = by if upper else by @ turn.T
        return lift

    def _jaw(self, acting: Array) -> tuple[Array, Array]:
        """The jaw's turn [3, 3] and shift [3]."""
        was, now = self._rest[_LOWER_HELPER], acting[_LOWER_HELPER]
        turn, _ = Rotation.align_vectors(now - now.mean(0), was - was.mean(0))
        angle = turn.as_rotvec()
        matrix = turn.as_matrix()
        # Farther about the jaw's own pivot: the condyles, which a turn of the teeth alone does not tell.
        pivot = self._rest[_LOWER_HELPER].mean(0) + np.array([0.0, 0.035, -0.06])
        more = Rotation.from_rotvec((_JAW_GAIN - 1) * angle).as_matrix()
        shift = now.mean(0) - was.mean(0) @ matrix.T
        return more @ matrix, pivot + (shift - pivot) @ more.T

    def _lips(self) -> None:
        """Which vertices of the body lie on the teeth, and how what lifts them moves those around."""
        body = makehuman.group_vertices("body")
        arch = self._arches[True]
        about = self._rest[body]
        angle = np.arctan2(about[:, 0], about[:, 2] - arch.pivot_z)
        distance = np.hypot(about[:, 0], about[:, 2] - arch.pivot_z)
        outer = np.polynomial.polynomial.polyval(np.minimum(angle**2, 2.0), arch.coefficients)
        level = (about[:, 1] > self._arches[False].low - 4e-3) & (about[:, 1] < arch.high + 4e-3)
        ahead = (np.abs(angle) < 1.3) & level & (distance > outer - 5e-3)
        self._inside = body[ahead & (distance < outer + 4e-3)]
        self._near = body[ahead & (distance < outer + 16e-3)]
        seam = self._rest[_UPPER_LIP_EDGE, 1]
        self._inside_upper = self._rest[self._inside, 1] > seam - 1e-4
        tree = cKDTree(self._rest[self._inside])
        apart, near = tree.query(self._rest[self._near], k=6)
        weight = np.exp(-0.5 * (apart / _LIP_SPREAD_M) ** 2)
        # Each vertex goes with its own lip.
        same = self._inside_upper[near] == (self._rest[self._near, 1] > seam - 1e-4)[:, None]
        weight = weight * same
        fade = weight.max(1, keepdims=True) / np.maximum(weight.sum(1, keepdims=True), 1e-9)
        rows = np.repeat(np.arange(len(self._near)), near.shape[1])
        shape = (len(self._near), len(self._inside))
        self._spread = coo_array(((weight * fade).ravel(), (rows, near.ravel())), shape=shape).tocsr()


def _fitted(item: Item, points: Array, size: Array) -> Array:
    return 0.1 * item.fitted(10 * points, 10 * size)


def _largest_part(item: Item) -> NDArray[np.bool_]:
    """Mask [V] of the largest connected part."""
    edges = np.array([edge for p in item.obj.polygons for edge in zip(p, [*p[1:], p[0]], strict=True)])
    count = len(item.obj.vertices)
    graph = coo_array((np.ones(len(edges)), edges.T), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    return np.asarray(label == np.bincount(label).argmax())
