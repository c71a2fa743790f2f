"""Signed distances from points to a triangle mesh: every triangle that could be the nearest is asked."""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from engine.train.kernels import parallel

F = np.float32
_INSIDE = 0.5  # winding number above which a point is inside; an open neck only blurs it at the opening


def signed_distance(points: Tensor, vertices: Tensor, faces: Tensor) -> Tensor:
    """On a CPU: metres [N] from `points` [N, 3] to the mesh, negative inside, by distance and winding number.

    Source: J. A. Bærentzen & H. Aanæs, 2005 (distance); A. Jacobson et al., 2013 (generalised winding
    numbers, which give an open or self-touching mesh an inside).
    """
    corners = vertices.detach().float()[faces].contiguous()
    out = np.empty(len(points), F)
    _distances(points.detach().float().contiguous().numpy(), corners.numpy(), _spheres(corners), out)
    return torch.from_numpy(out)


def nearest_triangles(points: Tensor, vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [N] of `faces` nearest to `points` [N, 3], and the distances [N] in metres.

    Computed on the CPU wherever the tensors are.
    """
    corners = vertices.detach().float()[faces].contiguous().cpu()
    index, distance = np.empty(len(points), np.int64), np.empty(len(points), F)
    _nearest(
        points.detach().float().contiguous().cpu().numpy(),
        corners.numpy(),
        _spheres(corners),
        index,
        distance,
    )
    return torch.from_numpy(index).to(points.device), torch.from_numpy(distance).to(points.device)


def _spheres(corners: Tensor) -> np.ndarray:
    centre = corners.mean(1)
    radius = (corners - centre[:, None]).norm(dim=2).amax(1)
    return torch.cat([centre, radius[:, None]], 1).numpy()


@njit(inline="always")
def _squared_distance(p, t):
    """From a point to a triangle. Source: C. Ericson, "Real-time collision detection", 2005, 5.1.5."""
    abx, aby, abz = t[1, 0] - t[0, 0], t[1, 1] - t[0, 1], t[1, 2] - t[0, 2]
    acx, acy, acz = t[2, 0] - t[0, 0], t[2, 1] - t[0, 1], t[2, 2] - t[0, 2]
    apx, apy, apz = p[0] - t[0, 0], p[1] - t[0, 1], p[2] - t[0, 2]
    d1, d2 = abx * apx + aby * apy + abz * apz, acx * apx + acy * apy + acz * apz
    bpx, bpy, bpz = p[0] - t[1, 0], p[1] - t[1, 1], p[2] - t[1, 2]
    d3, d4 = abx * bpx + aby * bpy + abz * bpz, acx * bpx + acy * bpy + acz * bpz
    cpx, cpy, cpz = p[0] - t[2, 0], p[1] - t[2, 1], p[2] - t[2, 2]
    d5, d6 = abx * cpx + aby * cpy + abz * cpz, acx * cpx + acy * cpy + acz * cpz
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    if d1 <= 0 and d2 <= 0:
        v, w = F(0), F(0)
    elif d3 >= 0 and d4 <= d3:
        v, w = F(1), F(0)
    elif d6 >= 0 and d5 <= d6:
        v, w = F(0), F(1)
    elif vc <= 0 and d1 >= 0 and d3 <= 0:
        v, w = d1 / (d1 - d3), F(0)
    elif vb <= 0 and d2 >= 0 and d6 <= 0:
        v, w = F(0), d2 / (d2 - d6)
    elif va <= 0 and d4 - d3 >= 0 and d5 - d6 >= 0:
        w = (d4 - d3) / ((d4 - d3) + (d5 - d6))
        v = F(1) - w
    else:
        s = va + vb + vc
        v, w = (vb / s, vc / s) if s != 0 else (F(0), F(0))
    x, y, z = apx - v * abx - w * acx, apy - v * aby - w * acy, apz - v * abz - w * acz
    return x * x + y * y + z * z


@njit(inline="always")
def _best(p, corners, spheres):
    best, at = F(1e30), 0
    for f in range(corners.shape[0]):
        s = spheres[f]
        x, y, z = p[0] - s[0], p[1] - s[1], p[2] - s[2]
        reach = math.sqrt(best) + s[3]
        if x * x + y * y + z * z < reach * reach:
            d = _squared_distance(p, corners[f])
            if d < best:
                best, at = d, f
    return best, at


@njit(inline="always")
def _winding(p, corners):
    total = 0.0
    for f in range(corners.shape[0]):
        t = corners[f]
        ax, ay, az = t[0, 0] - p[0], t[0, 1] - p[1], t[0, 2] - p[2]
        bx, by, bz = t[1, 0] - p[0], t[1, 1] - p[1], t[1, 2] - p[2]
        cx, cy, cz = t[2, 0] - p[0], t[2, 1] - p[1], t[2, 2] - p[2]
        a = math.sqrt(ax * ax + ay * ay + az * az)
        b = math.sqrt(bx * bx + by * by + bz * bz)
        c = math.sqrt(cx * cx + cy * cy + cz * cz)
        triple = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
        ab, bc, ca = ax * bx + ay * by + az * bz, bx * cx + by * cy + bz * cz, cx * ax + cy * ay + cz * az
        total += math.atan2(triple, a * b * c + ab * c + bc * a + ca * b)
    return total / (2 * math.pi)


@parallel
def _distances(points, corners, spheres, out):
    for n in prange(points.shape[0]):
        best, _ = _best(points[n], corners, spheres)
        d = math.sqrt(best)
        out[n] = -d if _winding(points[n], corners) > _INSIDE else d


@parallel
def _nearest(points, corners, spheres, index, distance):
    for n in prange(points.shape[0]):
        best, at = _best(points[n], corners, spheres)
        index[n], distance[n] = at, math.sqrt(best)
