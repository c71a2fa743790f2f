"""The rig's mesh made fine: small triangles that follow the rig and bend smoothly, to carry real detail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from render.machine_code import kept_njit
from render.rigs.head import HeadSurface
from render.rigs.rig import Rig

Array = NDArray[Any]  # float32; `phong_points` float64 too

# Halvings of every edge. Skin triangles of about 4 mm become 1 mm; eyeballs need the iris' sharpness.
_LEVELS = {"body": 2, "tongue": 1, "upper_teeth": 2, "lower_teeth": 2, "left_eye": 4, "right_eye": 4}
_PHONG_SHARE = 0.75  # how far Phong tessellation rounds the coarse mesh


@dataclass(frozen=True)
class FineMesh:
    """Vertices given as points on the rig's triangles. Lashes are left out: strips without a picture."""

    corners: NDArray[np.int32]  # [N, 3] vertices of the rig
    barycentric: Array  # [N, 3]
    faces: NDArray[np.int32]  # [F, 3]
    group: NDArray[np.int32]  # [N] into `group_names`
    group_names: tuple[str, ...]

    def of(self, *groups: str) -> NDArray[np.bool_]:
        """Which vertices [N] belong to the named parts."""
        return np.isin(self.group, [self.group_names.index(name) for name in groups])

    def at(self, values: Array) -> Array:
        """Values [V, C] of the rig's vertices, linearly at the fine ones [N, C]."""
        return np.einsum("nkc,nk->nc", values[self.corners], self.barycentric)

    def curved(self, vertices: Array, normals: Array) -> Array:
        """Fine vertices [N, 3] on a smooth surface through the rig's `vertices` [V, 3]."""
        return phong_points(self.corners, self.barycentric, vertices, normals, np.float32(_PHONG_SHARE))


def fine_mesh(rig: Rig, surface: HeadSurface) -> FineMesh:
    """Split every triangle of the built-in head's parts; parts that share no vertex need no common level."""
    faces = rig.faces.numpy()
    corners, weights, triangles, groups, offset = [], [], [], [], 0
    for name, level in _LEVELS.items():
        own = faces[surface.faces_of(rig.faces, name).numpy()]
        c, w, f = _split(own, level)
        corners.append(c)
        weights.append(w)
        triangles.append(f + offset)
        groups.append(np.full(len(c), surface.group_names.index(name)))
        offset += len(c)
    return FineMesh(
        np.concatenate(corners).astype(np.int32),
        np.concatenate(weights).astype(np.float32),
        np.concatenate(triangles).astype(np.int32),
        np.concatenate(groups).astype(np.int32),
        surface.group_names,
    )


def _split(faces: NDArray[np.int64], level: int) -> tuple[NDArray[np.int64], Array, NDArray[np.int64]]:
    """Corners [N, 3], weights [N, 3] and triangles of a regular split into 4 ** level parts each."""
    n = 2**level
    steps = np.array([(i, j, n - i - j) for i in range(n + 1) for j in range(n + 1 - i)])
    place = {(i, j): row for row, (i, j, _) in enumerate(steps)}
    small = []
    for i in range(n):
        for j in range(n - i):
            small.append((place[i, j], place[i + 1, j], place[i, j + 1]))
            if i + j < n - 1:
                small.append((place[i + 1, j], place[i + 1, j + 1], place[i, j + 1]))
    corners = np.repeat(faces, len(steps), 0)
    weights = np.tile(steps, (len(faces), 1))
    triangles = (np.arange(len(faces))[:, None, None] * len(steps) + np.array(small)).reshape(-1, 3)
    # A vertex on an edge or corner belongs to several triangles: name it by its sorted corners and weights.
    key = np.where(weights > 0, corners, -1)
    order = np.argsort(key, 1)
    name = np.concatenate([np.take_along_axis(key, order, 1), np.take_along_axis(weights, order, 1)], 1)
    _, first, inverse = np.unique(name, axis=0, return_index=True, return_inverse=True)
    return corners[first], weights[first].astype(np.float32) / n, inverse.ravel()[triangles]


@kept_njit(parallel=True, nogil=True)
def phong_points(
    corners: NDArray[Any], weights: Array, vertices: Array, normals: Array, share: float | np.float32
) -> Array:
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
