"""Normals of the surface that a depth map or a mesh describes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from render.camera import Camera

Array = NDArray[Any]  # float32 or float64


def normals_from_depth(depth: Tensor, camera: Camera) -> Tensor:
    """Unit normals facing the camera of a depth map [H, W] in metres -> [H, W, 3], camera axes.

    From central differences of the points the pixels see; differentiable. Zero at the picture's border and
    where the pixel or one of its four neighbours has no depth (0).
    Source: Huang et al., "2D Gaussian Splatting", 2024, eq. 15.
    """
    height, width = depth.shape
    x = (torch.arange(width).to(depth) + 0.5 - camera.cx) / camera.fx
    y = (torch.arange(height).to(depth) + 0.5 - camera.cy) / camera.fy
    rays = torch.stack([x.expand(height, width), y[:, None].expand(height, width), torch.ones_like(depth)], 2)
    points = rays * depth[..., None]
    right = points[1:-1, 2:] - points[1:-1, :-2]
    down = points[2:, 1:-1] - points[:-2, 1:-1]
    # y points down: this order faces the camera on every surface that the camera sees
    cross = torch.linalg.cross(down, right)
    there = depth > 0
    known = there[1:-1, 1:-1] & there[1:-1, 2:] & there[1:-1, :-2] & there[2:, 1:-1] & there[:-2, 1:-1]
    cross = torch.where(known[..., None], cross, 0)
    # the length is about the square of a pixel's size in metres: far below normalize's usual limit
    length = torch.where(known, (cross * cross).sum(-1), 1).clamp_min(1e-30).sqrt()
    return functional.pad(cross / length[..., None], (0, 0, 1, 1, 1, 1))


@njit(cache=True, nogil=True)
def vertex_normals(vertices: Array, faces: NDArray[Any]) -> Array:
    """Area-weighted unit normals [V, 3] of a mesh, in the precision of its `vertices` [V, 3]."""
    out = np.zeros_like(vertices)
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = (
            vertices[j, 0] - vertices[i, 0],
            vertices[j, 1] - vertices[i, 1],
            vertices[j, 2] - vertices[i, 2],
        )
        bx, by, bz = (
            vertices[k, 0] - vertices[i, 0],
            vertices[k, 1] - vertices[i, 1],
            vertices[k, 2] - vertices[i, 2],
        )
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        for v in (i, j, k):
            out[v, 0] += nx
            out[v, 1] += ny
            out[v, 2] += nz
    for v in range(out.shape[0]):
        length = np.sqrt(out[v, 0] ** 2 + out[v, 1] ** 2 + out[v, 2] ** 2)
        if length > 0:
            for c in range(3):
                out[v, c] /= length
    return out
