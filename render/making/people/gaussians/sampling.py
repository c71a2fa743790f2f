"""Even samples on a triangle mesh, and the arrays a person is collected in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numba import prange
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from render.machine_code import kept_njit
from render.making.people.fields import unit
from render.making.people.head import Head
from render.normals import vertex_normals

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

_CANDIDATES_PER_SAMPLE = 8
_PHONG_SHARE = 0.7  # how far Phong tessellation rounds the coarse mesh


@dataclass(frozen=True)
class Samples:
    """Points on the mesh with everything painting needs."""

    face: Indices  # [N]
    barycentric: Array  # [N, 3]
    position: Array  # [N, 3] metres, at rest
    normal: Array  # [N, 3]
    uv: Array  # [N, 2]
    canonical: Array  # [N, 3] millimetres
    spacing: Array  # [N] metres to the neighbours

    def __len__(self) -> int:
        return len(self.face)

    def where(self, keep: NDArray[np.bool_] | Indices) -> Samples:
        return Samples(**{f.name: getattr(self, f.name)[keep] for f in fields(self)})


def surface(head: Head, vertices: Array, normals: Array, face: Indices, bary: Array) -> tuple[Array, Array]:
    """Phong-tessellated points [N, 3] and unit normals [N, 3] of the mesh."""
    corners = head.faces[face]
    points = _phong_points(corners, bary, vertices, normals, _PHONG_SHARE)
    return points, unit((bary[:, :, None] * normals[corners]).sum(1))


@kept_njit(parallel=True, nogil=True)
def _phong_points(corners: Indices, weights: Array, vertices: Array, normals: Array, share: float) -> Array:
    """Points [N, 3] of a mesh rounded by `share`: `weights` [N, 3] of the vertices `corners` [N, 3].

    Source: T. Boubekeur, M. Alexa, "Phong Tessellation", 2008, equation 4.
    """
    out = np.empty((corners.shape[0], 3), vertices.dtype)
    for i in prange(corners.shape[0]):
        for c in range(3):
            out[i, c] = (
                weights[i, 0] * vertices[corners[i, 0], c]
                + weights[i, 1] * vertices[corners[i, 1], c]
                + weights[i, 2] * vertices[corners[i, 2], c]
            )
        x, y, z = out[i, 0], out[i, 1], out[i, 2]
        for k in range(3):
            v = corners[i, k]
            off = (
                (x - vertices[v, 0]) * normals[v, 0]
                + (y - vertices[v, 1]) * normals[v, 1]
                + (z - vertices[v, 2]) * normals[v, 2]
            )
            for c in range(3):
                out[i, c] -= share * weights[i, k] * off * normals[v, c]
    return out


def samples_at(head: Head, face: Indices, bary: Array, spacing: Array | float) -> Samples:
    """Samples at given triangles and barycentric coordinates of the rest pose."""
    normals = vertex_normals(head.vertices, head.faces)
    position, normal = surface(head, head.vertices, normals, face, bary)
    uv = (bary[:, :, None] * head.uv[face]).sum(1)
    canonical = (bary[:, :, None] * head.canonical[head.faces[face]]).sum(1)
    return Samples(
        face, bary, position, normal, uv, canonical, np.broadcast_to(spacing, (len(face),)).astype(float)
    )


def poisson_samples(
    head: Head,
    faces: Indices,
    spacing: float | Callable[[Array, Array], Array],
    rng: np.random.Generator,
    pose: dict[str, float] | None = None,
) -> Samples:
    """Poisson-disk samples on `faces`; `spacing`, metres, may follow (canonical, uv).

    With `pose` two samples may be near each other at rest as long as the posed mesh parts them, and the other
    way round, so that skin which unfolds or stretches in either stays covered.
    """

    def wanted(canonical: Array, uv: Array) -> Array:
        return spacing(canonical, uv) if callable(spacing) else np.full(len(uv), spacing)

    corners = head.faces[faces]
    shapes = [head.vertices, head.posed(pose)] if pose else [head.vertices]
    area = np.zeros(len(faces))
    for vertices in shapes:
        p = vertices[corners]
        doubled = np.linalg.norm(np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]), axis=1)
        area = np.maximum(area, 0.5 * doubled)
    middle = wanted(head.canonical[corners].mean(1), head.uv[faces].mean(1))
    face = np.repeat(faces, rng.poisson(_CANDIDATES_PER_SAMPLE * area / middle**2))
    bary = rng.random((len(face), 2))
    bary = np.where(bary.sum(1, keepdims=True) > 1, 1 - bary, bary)
    bary = np.c_[1 - bary.sum(1), bary]
    placed = [surface(head, v, vertex_normals(v, head.faces), face, bary)[0] for v in shapes]
    uv = (bary[:, :, None] * head.uv[face]).sum(1)
    canonical = (bary[:, :, None] * head.canonical[head.faces[face]]).sum(1)
    radius = wanted(canonical, uv)
    kept = _eliminate(placed[0], placed[-1], 0.98 * radius, float(radius.max()))
    # Sigmas follow the spacing actually reached, not the one asked for: else pinholes show.
    reached = 0.9 * radius[kept]
    for points in placed:
        near, index = cKDTree(points[kept]).query(points[kept], k=min(7, len(kept)))
        mean = near[:, 1:].mean(1)
        reached = np.maximum(reached, np.maximum(mean, 0.97 * mean[index[:, 1:]].mean(1)))
    return samples_at(head, face[kept], bary[kept], np.minimum(reached, 1.6 * radius[kept]))


@kept_njit()
def _eliminate(points: Array, other: Array, radius: Array, cell: float) -> Indices:
    """Greedy dart throwing: keeps a point unless a kept one is nearer than its radius in both places."""
    low = np.array([points[:, 0].min(), points[:, 1].min(), points[:, 2].min()])
    size = np.zeros(3, np.int64)
    for k in range(3):
        size[k] = int((points[:, k].max() - low[k]) / cell) + 3
    first = np.full(size[0] * size[1] * size[2], -1, np.int64)
    following = np.full(len(points), -1, np.int64)
    kept = np.zeros(len(points), np.int64)
    count = 0
    for i in range(len(points)):
        a = int((points[i, 0] - low[0]) / cell) + 1
        b = int((points[i, 1] - low[1]) / cell) + 1
        c = int((points[i, 2] - low[2]) / cell) + 1
        free = True
        for x in range(a - 1, a + 2):
            for y in range(b - 1, b + 2):
                for z in range(c - 1, c + 2):
                    j = first[(x * size[1] + y) * size[2] + z] if free else -1
                    while j >= 0:
                        d = points[i] - points[j]
                        e = other[i] - other[j]
                        near = d[0] * d[0] + d[1] * d[1] + d[2] * d[2] < radius[i] * radius[j]
                        if near and e[0] * e[0] + e[1] * e[1] + e[2] * e[2] < radius[i] * radius[j]:
                            free = False
                            break
                        j = following[j]
        if free:
            bin_ = (a * size[1] + b) * size[2] + c
            following[i] = first[bin_]
            first[bin_] = i
            kept[count] = i
            count += 1
    return kept[:count]


def frame_from(normal: Array, along: ArrayLike | None = None) -> Array:
    """Rotations [N, 3, 3] with columns (tangent, bitangent, normal); the tangent leans to `along`."""
    helper = np.array([0.3, 1.0, 0.2]) if along is None else np.asarray(along, float)
    tangent = (
        np.cross(normal, helper)
        if along is None
        else helper - (helper * normal).sum(-1, keepdims=True) * normal
    )
    tangent = unit(tangent)
    return np.stack([tangent, np.cross(normal, tangent), normal], -1)


@dataclass(frozen=True)
class Cloud:
    """Gaussians of a person at rest, before they are lit and bound."""

    part: NDArray[np.uint8]  # [N] one of the PART numbers
    face: Indices  # [N] triangle each is bound to
    position: Array  # [N, 3] metres
    rotation: Array  # [N, 3, 3] local to world
    scale: Array  # [N, 3] metres, standard deviations
    albedo: Array  # [N, 3] linear reflectance (or emitted light for glints)
    opacity: Array  # [N]
    normal: Array  # [N, 3] shading normal
    specular: Array  # [N] strength of the highlight
    gloss: Array  # [N] sharpness of the highlight
    canonical: Array  # [N, 3] millimetres
    lip: Array  # [N] 0..1
    lid: Array  # [N] 0..1
    inner: Array  # [N] 0..1 mouth lining

    def __len__(self) -> int:
        return len(self.face)

    def where(self, keep: NDArray[np.bool_] | Indices) -> Cloud:
        return Cloud(**{f.name: getattr(self, f.name)[keep] for f in fields(self)})

    @staticmethod
    def concat(parts: list[Cloud]) -> Cloud:
        return Cloud(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Cloud)})


SKIN, UNDERLAY, EYE, GLINT, LASH, BROW, MOUTH, CLOTH, HAIR = range(9)


def cloud(
    part: int,
    face: ArrayLike,
    position: Array,
    rotation: Array,
    scale: ArrayLike,
    albedo: ArrayLike,
    opacity: ArrayLike,
    normal: ArrayLike,
    *,
    specular: ArrayLike = 0.0,
    gloss: ArrayLike = 20.0,
    canonical: ArrayLike = 0.0,
    lip: ArrayLike = 0.0,
    lid: ArrayLike = 0.0,
    inner: ArrayLike = 0.0,
) -> Cloud:
    """A Cloud of one part; scalars and rows are repeated for all its Gaussians."""
    n = len(position)

    def rows(value: ArrayLike, *shape: int) -> Array:
        return np.array(np.broadcast_to(np.asarray(value, float), (n, *shape)))

    return Cloud(
        np.full(n, part, np.uint8),
        np.array(np.broadcast_to(np.asarray(face, np.int64), (n,))),
        rows(position, 3),
        rows(rotation, 3, 3),
        rows(scale, 3),
        rows(albedo, 3),
        rows(opacity),
        rows(normal, 3),
        rows(specular),
        rows(gloss),
        rows(canonical, 3),
        rows(lip),
        rows(lid),
        rows(inner),
    )


def nearest_face(head: Head, points: Array, faces: Indices) -> Indices:
    """The triangle of `faces` whose centre is nearest to each point [N, 3]."""
    return np.asarray(faces[cKDTree(head.vertices[head.faces[faces]].mean(1)).query(points)[1]])
