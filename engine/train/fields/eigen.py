"""Eigenvectors of symmetric 3x3 matrices, differentiable and calm where eigenvalues meet."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor

from engine.train import kernels
from engine.train.fields.closed_eigen import closed_eigen

_BROADENING = 1e-3  # squared eigenvalue distance below which a pair's rotation is not followed


def symmetric_eigen(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Ascending eigenvalues [N, 3] and unit eigenvectors as columns [N, 3, 3] of symmetric [N, 3, 3]."""
    values, vectors = _Eigen.apply(matrices)
    return values, vectors


class _Eigen(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrices: Tensor) -> tuple[Tensor, Tensor]:
        if kernels.take(matrices):
            values, vectors = np.empty((len(matrices), 3)), np.empty((len(matrices), 3, 3))
            _jacobi(matrices.detach().double().contiguous().numpy(), values, vectors)
            results = torch.from_numpy(values).to(matrices), torch.from_numpy(vectors).to(matrices)
        else:
            results = closed_eigen(matrices.detach())
        ctx.save_for_backward(*results)
        return results

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Source: M. Giles, "Collected matrix derivative results", 2008, 3.1; broadened by a Lorentzian."""
        values, vectors = ctx.saved_tensors
        of_values, of_vectors = gradients
        gap = values[:, None, :] - values[:, :, None]
        factor = gap / (gap * gap + _BROADENING)
        inner = factor * (vectors.mT @ of_vectors) + torch.diag_embed(of_values)
        gradient = vectors @ inner @ vectors.mT
        return 0.5 * (gradient + gradient.mT)


@kernels.parallel
def _jacobi(matrices, values, vectors):
    """Cyclic Jacobi rotations in double precision; three to five sweeps reach the last digits."""
    for n in prange(matrices.shape[0]):
        a, v = matrices[n].copy(), np.eye(3)
        for _ in range(8):
            off = a[0, 1] * a[0, 1] + a[0, 2] * a[0, 2] + a[1, 2] * a[1, 2]
            if not off > 1e-24 * (a[0, 0] * a[0, 0] + a[1, 1] * a[1, 1] + a[2, 2] * a[2, 2]):
                break
            for pair in range(3):
                p, q = (0, 1) if pair == 0 else ((0, 2) if pair == 1 else (1, 2))
                if a[p, q] == 0.0:
                    continue
                theta = (a[q, q] - a[p, p]) / (2.0 * a[p, q])
                t = (1.0 if theta >= 0 else -1.0) / (abs(theta) + math.sqrt(theta * theta + 1.0))
                c = 1.0 / math.sqrt(t * t + 1.0)
                s = t * c
                for k in range(3):
                    x, y = a[k, p], a[k, q]
                    a[k, p], a[k, q] = c * x - s * y, s * x + c * y
                for k in range(3):
                    x, y = a[p, k], a[q, k]
                    a[p, k], a[q, k] = c * x - s * y, s * x + c * y
                for k in range(3):
                    x, y = v[k, p], v[k, q]
                    v[k, p], v[k, q] = c * x - s * y, s * x + c * y
        order = np.argsort(np.array([a[0, 0], a[1, 1], a[2, 2]]))
        for k in range(3):
            values[n, k] = a[order[k], order[k]]
            for i in range(3):
                vectors[n, i, k] = v[i, order[k]]
