"""Where the points of MakeHuman's skin pictures lie on the body: the base mesh laid flat.

Canonical millimetres are the average adult's, from the midpoint of the eyes (x to the person's left, y up,
z out of the face): what is painted at them sits on the same feature of every person, see `features`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from render.making import make_head, makehuman

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FlatBody:
    """The body's place at each pixel of a square picture of S x S; row 0 is the top."""

    points: NDArray[np.float32]  # [S, S, 3] canonical millimetres; off the mesh those of the nearest part
    covered: NDArray[np.bool_]  # [S, S]
    nearest: NDArray[np.int64]  # [2, S, S] rows and columns of the covered pixel that lies nearest

    @property
    def size(self) -> int:
        return len(self.points)

    @property
    def head(self) -> NDArray[np.bool_]:
        """[S, S] what lies above the neck's foot; the hands hang lower."""
        return np.asarray(self.points[..., 1] > -165)


@cache
def canonical_body() -> Array:
    """The base mesh's vertices [N, 3] in canonical millimetres."""
    average = makehuman.combine_targets(make_head.AVERAGE_ADULT)
    eyes = make_head.place(average).joints[4:6].mean(0)
    return np.asarray(1e3 * (make_head.placed_body(average) - eyes))


@cache
def flat_body(size: int) -> FlatBody:
    """The base mesh in a picture of `size` pixels a side."""
    mesh = makehuman.base_mesh()
    body = mesh.face_groups == "body"
    corners = canonical_body()[mesh.faces[body]]
    pixels = np.stack([mesh.uv[body, :, 0] * size - 0.5, (1 - mesh.uv[body, :, 1]) * size - 0.5], -1)
    points = np.zeros((size, size, 3), np.float32)
    covered = np.zeros((size, size), bool)
    low = np.maximum(np.ceil(pixels.min(1)).astype(int), 0)
    high = np.minimum(np.floor(pixels.max(1)).astype(int), size - 1)
    for triangle, corner, (left, top), (right, bottom) in zip(pixels, corners, low, high, strict=True):
        shares = _shares(triangle, np.arange(left, right + 1), np.arange(top, bottom + 1))
        # A hair's breadth over the edge, so that no pixel falls between two triangles.
        rows, columns = np.nonzero(shares.min(-1) > -1e-4)
        points[top + rows, left + columns] = shares[rows, columns] @ corner
        covered[top + rows, left + columns] = True
    nearest = distance_transform_edt(~covered, return_distances=False, return_indices=True)
    return FlatBody(points[tuple(nearest)], covered, nearest)


@cache
def mirrored(size: int) -> NDArray[np.int64]:
    """Rows and columns [2, S, S] of each pixel's counterpart on the other side; off the mesh its own."""
    flat = flat_body(size)
    rows, columns = np.nonzero(flat.covered)
    known = flat.points[rows, columns]
    _, found = cKDTree(known).query(known * np.array([-1, 1, 1], np.float32))
    counterpart = np.indices((size, size))
    counterpart[:, rows, columns] = rows[found], columns[found]
    return counterpart


@cache
def places(size: int) -> Array:
    """Middles [size * size, 2] of a picture's pixels in UV (origin bottom left), row after row."""
    middle = (np.arange(size) + 0.5) / size
    u, v = np.meshgrid(middle, 1 - middle)
    return np.stack([u.ravel(), v.ravel()], 1)


def _shares(triangle: Array, x: NDArray[np.int64], y: NDArray[np.int64]) -> Array:
    """Barycentric shares [Y, X, 3] of the pixels at x [X] and y [Y] in a triangle [3, 2]."""
    a, b, c = triangle
    whole = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
    if abs(whole) < 1e-12:
        return np.full((len(y), len(x), 3), -1.0)
    px, py = x[None, :] - a[0], y[:, None] - a[1]
    second = (px * (c[1] - a[1]) - (c[0] - a[0]) * py) / whole
    third = ((b[0] - a[0]) * py - px * (b[1] - a[1])) / whole
    return np.stack([1 - second - third, second, third], -1)
