"""Eigenvectors of symmetric 3x3 matrices in closed form: the same few operations for all, none read back."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def closed_eigen(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Ascending eigenvalues [N, 3] and unit eigenvectors as columns [N, 3, 3] of symmetric [N, 3, 3].

    Computed in float64. The vector of the eigenvalue that stands alone comes from cross products; the others
    diagonalise the 2x2 matrix that is left, which stays exact where they meet.
    Source: D. Eberly, "A robust eigensolver for 3x3 symmetric matrices", 2014.
    """
    a = matrices.double()
    middle = a.diagonal(dim1=1, dim2=2).mean(1)
    eye = torch.eye(3, dtype=a.dtype, device=a.device)
    b = a - middle[:, None, None] * eye
    size = (b.square().sum((1, 2)) / 6).sqrt()
    c = b / size.clamp_min(1e-300)[:, None, None]
    r0, r1, r2 = c.unbind(1)
    half = (0.5 * (r0 * torch.linalg.cross(r1, r2)).sum(1)).clamp(-1, 1)
    largest_alone = half >= 0
    alone = torch.where(
        largest_alone, 2 * (half.acos() / 3).cos(), 2 * (half.acos() / 3 + 2 * math.pi / 3).cos()
    )
    w = _kernel_vector(c - alone[:, None, None] * eye, eye[0])
    u, v = _complement(w)
    cu, cv = (c * u[:, None]).sum(-1), (c * v[:, None]).sum(-1)
    uu, uv, vv = (u * cu).sum(1), (u * cv).sum(1), (v * cv).sum(1)
    alone = (w * (c * w[:, None]).sum(-1)).sum(1)
    turn = 0.5 * torch.atan2(2 * uv, uu - vv)
    cos, sin = turn.cos()[:, None], turn.sin()[:, None]
    mean, root = 0.5 * (uu + vv), (0.25 * (uu - vv).square() + uv * uv).sqrt()
    low, high = mean - root, mean + root
    of_low, of_high = cos * v - sin * u, cos * u + sin * v
    pick = largest_alone[:, None]
    values = torch.where(
        pick,
        torch.stack([low, high, torch.maximum(alone, high)], 1),
        torch.stack([torch.minimum(alone, low), low, high], 1),
    )
    vectors = torch.where(
        pick[..., None], torch.stack([of_low, of_high, w], -1), torch.stack([w, of_low, of_high], -1)
    )
    return (middle[:, None] + size[:, None] * values).to(matrices), vectors.to(matrices)


def _kernel_vector(singular: Tensor, otherwise: Tensor) -> Tensor:
    """Unit vectors [N, 3] that matrices [N, 3, 3] of rank two take to zero; `otherwise` [3] of rank zero."""
    r0, r1, r2 = singular.unbind(1)
    crosses = torch.stack([torch.linalg.cross(p, q) for p, q in ((r0, r1), (r0, r2), (r1, r2))], 1)
    square = crosses.square().sum(2)
    best = square.argmax(1)[:, None]
    length = square.gather(1, best).sqrt()
    vector = crosses.gather(1, best[..., None].expand(-1, 1, 3))[:, 0] / length.clamp_min(1e-300)
    return torch.where(length > 1e-12, vector, otherwise)


def _complement(w: Tensor) -> tuple[Tensor, Tensor]:
    """Two unit vectors [N, 3] that make a right-handed basis with unit `w` [N, 3]."""
    x, y, z = w.unbind(1)
    nothing = torch.zeros_like(x)
    beside = torch.where(
        (x.abs() > y.abs())[:, None], torch.stack([-z, nothing, x], 1), torch.stack([nothing, z, -y], 1)
    )
    u = beside / beside.norm(dim=1, keepdim=True)
    return u, torch.linalg.cross(w, u)
