"""Where hairs are rooted on the skin, and strands that follow the skin from there.

`canonical` is what features.py means by it: millimetres on the average adult.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from render.making import makehuman
from render.making.people.features import mask
from render.making.people.fields import unit
from render.making.people.scene.body import Body
from render.making.people.scene.strands.strand import Strands
from render.making.people.scene.uv import canonical_body
from render.normals import vertex_normals

Array = NDArray[np.float64]
_LOWEST_MM = -280.0  # of the skin that hair may touch: the upper chest


@dataclass(frozen=True)
class Anchors:
    """Points of the base mesh."""

    triangles: NDArray[np.int64]  # [N, 3] vertices
    shares: Array  # [N, 3] of each, sum to 1

    def __len__(self) -> int:
        return len(self.triangles)

    def where(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Anchors:
        return Anchors(self.triangles[rows], self.shares[rows])

    def of(self, values: Array) -> Array:
        """A quantity [V, D] of the vertices, there: [N, D]."""
        return np.asarray((values[self.triangles] * self.shares[:, :, None]).sum(1))

    def frames(self, body: Array) -> Array:
        """Axes [N, 3, 3] of the triangles, the normal last."""
        a, b, c = (body[self.triangles[:, k]] for k in range(3))
        along = unit(b - a)
        normal = unit(np.cross(b - a, c - a))
        return np.stack([along, np.cross(normal, along), normal], 1)


@dataclass(frozen=True)
class BoundStrands:
    """Strands that follow the triangles they are rooted in."""

    rest: Strands
    anchors: Anchors
    local: Array  # [N, K, 3] metres from the anchor, in its triangle's axes

    @classmethod
    def of(cls, strands: Strands, anchors: Anchors, body: Array) -> BoundStrands:
        """`strands` as they are on `body` [V, 3], metres."""
        away = strands.points - anchors.of(body)[:, None]
        return cls(strands, anchors, np.einsum("nij,nkj->nki", anchors.frames(body), away))

    def on(self, body: Array) -> NDArray[np.float32]:
        """Their points [N, K, 3] on a body [V, 3] that moved, metres."""
        turned = np.einsum("nij,nki->nkj", self.anchors.frames(body), self.local)
        return np.asarray(self.anchors.of(body)[:, None] + turned, np.float32)


@dataclass(frozen=True)
class Roots:
    """Points of one person's skin."""

    anchors: Anchors
    position: Array  # [N, 3] millimetres from the eyes' midpoint
    normal: Array  # [N, 3]
    canonical: Array  # [N, 3]

    def __len__(self) -> int:
        return len(self.position)

    def where(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Roots:
        return Roots(self.anchors.where(rows), self.position[rows], self.normal[rows], self.canonical[rows])


class Skin:
    """A person's skin at rest, for hair to grow on."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.vertices = 1e3 * (body.rest - body.eye_midpoint)
        self.faces = skin_faces()
        self.normals = vertex_normals(self.vertices, self.faces)

    def roots(self, faces: NDArray[np.int64], per_mm2: float, rng: np.random.Generator) -> Roots:
        """Evenly scattered points of the triangles `faces` [F, 3]."""
        corner = self.vertices[faces]
        area = 0.5 * np.linalg.norm(
            np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1
        )
        total = np.cumsum(area)
        count = int(per_mm2 * total[-1])
        # One point a cell of area, placed by a sequence that leaves neither holes nor heaps.
        face = np.searchsorted(total, (np.arange(count) + rng.random(count)) * (total[-1] / count))
        face = np.minimum(face, len(faces) - 1)
        u, v = (np.arange(count)[:, None] * (0.7548776662, 0.5698402910) + rng.random(2)).T % 1
        flipped = u + v > 1
        u, v = np.where(flipped, 1 - u, u), np.where(flipped, 1 - v, v)
        return self.at(Anchors(faces[face], np.stack([1 - u - v, u, v], 1)))

    def at(self, anchors: Anchors) -> Roots:
        """The points of those anchors."""
        return Roots(
            anchors, anchors.of(self.vertices), unit(anchors.of(self.normals)), anchors.of(canonical_body())
        )


@cache
def skin_faces() -> NDArray[np.int64]:
    """Triangles [F, 3] of the skin of head, neck and shoulders."""
    mesh = makehuman.base_mesh()
    faces = mesh.faces[mesh.face_groups == "body"]
    centre = canonical_body()[faces].mean(1)
    return faces[(centre[:, 1] > _LOWEST_MM) & (np.abs(centre[:, 0]) < 260)]


@cache
def is_ear() -> NDArray[np.bool_]:
    """Which vertices of the base mesh [V] are ears."""
    return _masked("ears")


@cache
def is_lip() -> NDArray[np.bool_]:
    """Which vertices of the base mesh [V] are lips."""
    return _masked("lips")


def _masked(name: str) -> NDArray[np.bool_]:
    mesh = makehuman.base_mesh()
    uv = np.zeros((len(mesh.vertices), 2))
    body = mesh.face_groups == "body"
    uv[mesh.faces[body].ravel()] = mesh.uv[body].reshape(-1, 2)
    return mask(name, uv) > 0.5
