"""Normals of the surface that a depth map or a mesh describes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from render.camera import Camera
from render.machine_code import kept_njit

Array = NDArray[Any]  # float32 or float64


def normals_from_depth(depth: Tensor, camera: Camera) -> Tensor:
    """Unit normals [H - 2, W - 2, 3] in camera axes, facing the camera, from a depth map [H, W] in metres.

    From central differences of the points that the pixels see; differentiable. Where one of the four
    neighbours has no depth (0) they mean nothing.
    Source: B. Huang et al., "2D Gaussian splatting", 2024, equation 15.
    """
    rows, columns = (torch.arange(n, dtype=depth.dtype, device=depth.device) + 0.5 for n in depth.shape)
    rows, columns = (rows - camera.cy) / camera.fy, (columns - camera.cx) / camera.fx
    points = torch.stack([depth * columns, depth * rows[:, None], depth], -1)
    across = points[1:-1, 2:] - points[1:-1, :-2]
    down = points[2:, 1:-1] - points[:-2, 1:-1]
    # y points down: this order faces the camera on every surface that the camera sees
    return functional.normalize(torch.linalg.cross(down, across), dim=-1, eps=1e-12)


@kept_njit(nogil=True)
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
