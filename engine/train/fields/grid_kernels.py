"""The hash grid on a CPU: interpolation and its derivatives, forward and backward, as numba kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from engine.train.kernels import parallel

F = np.float32
_ZERO, _HALF, _ONE, _TWO = F(0), F(0.5), F(1), F(2)
_PY, _PZ = np.int64(2654435761), np.int64(805459861)

Layout = tuple[Any, Any, Any]
"""Cells along a side, entries and first entry of every level, int64 [L] each."""


def encode(
    points: Tensor, table: Tensor, layout: Layout, order: int
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Features [N, C], Jacobians [N, C, 3] from order 1, Hessians [N, C, 3, 3] from order 2."""
    n, width = len(points), len(layout[1]) * table.shape[1]
    features = np.empty((n, width), F)
    jacobian = np.empty((n if order > 0 else 0, width, 3), F)
    hessian = np.empty((n if order > 1 else 0, width, 3, 3), F)
    _encode(points.detach().numpy(), _of(table), *layout, features, jacobian, hessian)
    return (
        torch.from_numpy(features),
        torch.from_numpy(jacobian) if order > 0 else None,
        torch.from_numpy(hessian) if order > 1 else None,
    )


def to_table(
    points: Tensor,
    table: Tensor,
    layout: Layout,
    features: Tensor,
    jacobian: Tensor | None,
) -> Tensor:
    """Gradient of the table from those of the features [N, C] and of the Jacobians [N, C, 3]."""
    out = np.zeros(tuple(table.shape), F)
    _to_table(_of(points), *layout, _of(features), _optional(jacobian, features), out)
    return torch.from_numpy(out)


def to_points(
    points: Tensor,
    table: Tensor,
    layout: Layout,
    features: Tensor,
    jacobian: Tensor | None,
) -> Tensor:
    """Gradient of the points, likewise."""
    out = np.empty((len(points), 3), F)
    given = _optional(jacobian, features)
    _to_points(_of(points), _of(table), *layout, _of(features), given, out)
    return torch.from_numpy(out)


def _of(tensor: Tensor) -> Any:
    return tensor.detach().numpy()


def _optional(jacobian: Tensor | None, features: Tensor) -> Any:
    return np.empty((0, features.shape[1], 3), F) if jacobian is None else _of(jacobian)


@njit(inline="always")
def _taps(coordinate, size, w, d, h):
    """First entry along an axis; weights and their derivatives go to w, d, h."""
    scaled = coordinate * F(size)
    cell = min(np.int64(scaled), size - 1)
    t = scaled - F(cell)
    s = F(size)
    w[0], w[1], w[2] = _HALF * (_ONE - t) * (_ONE - t), _HALF + t - t * t, _HALF * t * t
    d[0], d[1], d[2] = (t - _ONE) * s, (_ONE - _TWO * t) * s, t * s
    h[0], h[1], h[2] = s * s, -_TWO * s * s, s * s
    return cell


@njit(inline="always")
def _row(x, y, z, side, size, start):
    if side * side * side <= size:
        return start + x + side * (y + side * z)
    return start + ((x ^ (y * _PY) ^ (z * _PZ)) % size)


@parallel
def _encode(points, table, resolutions, sizes, starts, features, jacobian, hessian):
    num_features = table.shape[1]
    first, second = jacobian.shape[0] > 0, hessian.shape[0] > 0
    for n in prange(points.shape[0]):
        w, d, h = np.empty((3, 3), F), np.empty((3, 3), F), np.empty((3, 3), F)
        total = np.empty((num_features, 10), F)
        for level in range(sizes.shape[0]):
            res, size, start = resolutions[level], sizes[level], starts[level]
            cx = _taps(points[n, 0], res, w[0], d[0], h[0])
            cy = _taps(points[n, 1], res, w[1], d[1], h[1])
            cz = _taps(points[n, 2], res, w[2], d[2], h[2])
            total[:] = _ZERO
            for k in range(3):
                for j in range(3):
                    wyz, dyz, wdz = w[1, j] * w[2, k], d[1, j] * w[2, k], w[1, j] * d[2, k]
                    hyz, whz, ddz = h[1, j] * w[2, k], w[1, j] * h[2, k], d[1, j] * d[2, k]
                    for i in range(3):
                        row = _row(cx + i, cy + j, cz + k, res + 2, size, start)
                        for f in range(num_features):
                            value = table[row, f]
                            total[f, 0] += value * w[0, i] * wyz
                            if first:
                                total[f, 1] += value * d[0, i] * wyz
                                total[f, 2] += value * w[0, i] * dyz
                                total[f, 3] += value * w[0, i] * wdz
                            if second:
                                total[f, 4] += value * h[0, i] * wyz
                                total[f, 5] += value * d[0, i] * dyz
                                total[f, 6] += value * d[0, i] * wdz
                                total[f, 7] += value * w[0, i] * hyz
                                total[f, 8] += value * w[0, i] * ddz
                                total[f, 9] += value * w[0, i] * whz
            for f in range(num_features):
                c = level * num_features + f
                features[n, c] = total[f, 0]
                if first:
                    for a in range(3):
                        jacobian[n, c, a] = total[f, 1 + a]
                if second:
                    m = hessian[n, c]
                    m[0, 0], m[1, 1], m[2, 2] = total[f, 4], total[f, 7], total[f, 9]
                    m[0, 1] = m[1, 0] = total[f, 5]
                    m[0, 2] = m[2, 0] = total[f, 6]
                    m[1, 2] = m[2, 1] = total[f, 8]


@parallel
def _to_table(points, resolutions, sizes, starts, features, jacobian, out):
    """A thread owns whole levels, whose entries no other level shares: no atomics."""
    num_features, first = out.shape[1], jacobian.shape[0] > 0
    for level in prange(sizes.shape[0]):
        w, d, h = np.empty((3, 3), F), np.empty((3, 3), F), np.empty((3, 3), F)
        res, size, start = resolutions[level], sizes[level], starts[level]
        for n in range(points.shape[0]):
            cx = _taps(points[n, 0], res, w[0], d[0], h[0])
            cy = _taps(points[n, 1], res, w[1], d[1], h[1])
            cz = _taps(points[n, 2], res, w[2], d[2], h[2])
            for k in range(3):
                for j in range(3):
                    wyz, dyz, wdz = w[1, j] * w[2, k], d[1, j] * w[2, k], w[1, j] * d[2, k]
                    for i in range(3):
                        row = _row(cx + i, cy + j, cz + k, res + 2, size, start)
                        for f in range(num_features):
                            c = level * num_features + f
                            g = features[n, c] * w[0, i] * wyz
                            if first:
                                g += jacobian[n, c, 0] * d[0, i] * wyz
                                g += jacobian[n, c, 1] * w[0, i] * dyz
                                g += jacobian[n, c, 2] * w[0, i] * wdz
                            out[row, f] += g


@parallel
def _to_points(points, table, resolutions, sizes, starts, features, jacobian, out):
    num_features, first = table.shape[1], jacobian.shape[0] > 0
    for n in prange(points.shape[0]):
        w, d, h = np.empty((3, 3), F), np.empty((3, 3), F), np.empty((3, 3), F)
        gx, gy, gz = _ZERO, _ZERO, _ZERO
        for level in range(sizes.shape[0]):
            res, size, start = resolutions[level], sizes[level], starts[level]
            cx = _taps(points[n, 0], res, w[0], d[0], h[0])
            cy = _taps(points[n, 1], res, w[1], d[1], h[1])
            cz = _taps(points[n, 2], res, w[2], d[2], h[2])
            for k in range(3):
                for j in range(3):
                    wyz, dyz, wdz = w[1, j] * w[2, k], d[1, j] * w[2, k], w[1, j] * d[2, k]
                    hyz, whz, ddz = h[1, j] * w[2, k], w[1, j] * h[2, k], d[1, j] * d[2, k]
                    for i in range(3):
                        row = _row(cx + i, cy + j, cz + k, res + 2, size, start)
                        for f in range(num_features):
                            value = table[row, f]
                            c = level * num_features + f
                            g = value * features[n, c]
                            gx += g * d[0, i] * wyz
                            gy += g * w[0, i] * dyz
                            gz += g * w[0, i] * wdz
                            if first:
                                a, b, e = (
                                    value * jacobian[n, c, 0],
                                    value * jacobian[n, c, 1],
                                    value * jacobian[n, c, 2],
                                )
                                gx += a * h[0, i] * wyz + b * d[0, i] * dyz + e * d[0, i] * wdz
                                gy += a * d[0, i] * dyz + b * w[0, i] * hyz + e * w[0, i] * ddz
                                gz += a * d[0, i] * wdz + b * w[0, i] * ddz + e * w[0, i] * whz
        out[n, 0], out[n, 1], out[n, 2] = gx, gy, gz
