"""Surfels from symmetric matrices: the Hessian parametrisation of orientation and scale."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from engine.train.fields.eigen import symmetric_eigen

_FLATTEST = 0.02  # keeps a tangent's scale from vanishing when its eigenvalue meets the normal's


def symmetric(parameters: Tensor) -> Tensor:
    """Lower triangles [N, 6] (xx, yx, yy, zx, zy, zz) -> symmetric matrices [N, 3, 3]."""
    xx, yx, yy, zx, zy, zz = parameters.unbind(-1)
    return torch.stack([xx, yx, zx, yx, yy, zy, zx, zy, zz], -1).unflatten(-1, (3, 3))


def lower_triangle(matrices: Tensor) -> Tensor:
    """The inverse of `symmetric`: [N, 3, 3] -> [N, 6]."""
    m = matrices
    return torch.stack([m[:, 0, 0], m[:, 1, 0], m[:, 1, 1], m[:, 2, 0], m[:, 2, 1], m[:, 2, 2]], -1)


def surfel_axes(parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations [N, 3, 3] (columns: two tangents, normal) and log scales [N, 2] from lower triangles [N, 6].

    The eigenvector of the smallest eigenvalue is the normal; the others are the tangents and what their
    eigenvalues exceed the smallest by is their scale. I - n n^T gives normal n and scales 1. Adding a
    multiple of the identity changes nothing.
    Source: SAGE, section 3.2 and its supplement.
    """
    values, vectors = symmetric_eigen(symmetric(parameters))
    normal, first = vectors[:, :, 0], vectors[:, :, 2]
    rotation = torch.stack([first, torch.linalg.cross(normal, first), normal], -1)
    spread = values[:, [2, 1]] - values[:, :1]
    return rotation, (spread + _FLATTEST).log() - math.log(1 + _FLATTEST)
