"""Real spherical harmonics up to degree 3, in the coefficient order and signs of 3D Gaussian splatting."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from render.rotations import quaternion_to_matrix

SH_C0 = 0.28209479177387814
MAX_SH_DEGREE = 3


def sh_basis(directions: Tensor, degree: int) -> Tensor:
    """Basis functions at unit directions [..., 3] -> [..., (degree + 1)^2].

    Raises ValueError for a degree outside 0..3.
    Source: Kerbl et al. 2023 (`eval_sh`); the signs are those of its published code.
    """
    if not 0 <= degree <= MAX_SH_DEGREE:
        raise ValueError(f"SH degree must be 0 to {MAX_SH_DEGREE}, got {degree}")
    x, y, z = directions.unbind(-1)
    basis = [torch.full_like(x, SH_C0)]
    if degree >= 1:
        c = 0.4886025119029199
        basis += [-c * y, c * z, -c * x]
    if degree >= 2:
        c = 1.0925484305920792
        basis += [
            c * x * y,
            -c * y * z,
            0.31539156525252005 * (2 * z * z - x * x - y * y),
            -c * x * z,
            0.5462742152960396 * (x * x - y * y),
        ]
    if degree >= 3:
        a, b, c = 0.5900435899266435, 2.890611442640554, 0.4570457994644658
        basis += [
            -a * y * (3 * x * x - y * y),
            b * x * y * z,
            -c * y * (4 * z * z - x * x - y * y),
            0.3731763325901154 * z * (2 * z * z - 3 * x * x - 3 * y * y),
            -c * x * (4 * z * z - x * x - y * y),
            0.5 * b * z * (x * x - y * y),
            -a * x * (x * x - 3 * y * y),
        ]
    return torch.stack(basis, -1)


def evaluate_sh(sh: Tensor, directions: Tensor) -> Tensor:
    """Coefficients [..., (degree + 1)^2, 3] at unit directions [..., 3] -> colour less 0.5, [..., 3]."""
    degree = math.isqrt(sh.shape[-2]) - 1
    return (sh_basis(directions, degree)[..., None] * sh).sum(-2)


def rotate_sh(sh: Tensor, quats: Tensor) -> Tensor:
    """Coefficients of the rotated function g(d) = f(R^-1 d): [..., (degree + 1)^2, 3] by wxyz [..., 4].

    Exact: rotations do not mix bands, so 2l+1 fixed directions determine the rotated coefficients of band l.
    """
    degree = math.isqrt(sh.shape[-2]) - 1
    rotation = quaternion_to_matrix(quats)
    bands = [sh[..., :1, :].expand(*rotation.shape[:-2], 1, 3)]
    for band in range(1, degree + 1):
        first, last = band * band, (band + 1) * (band + 1)
        directions, inverse = (t.to(sh) for t in _band_probe(band))
        probed = sh_basis(directions @ rotation, band)[..., first:last]  # rows of d @ R are R^-1 d
        bands.append(inverse @ (probed @ sh[..., first:last, :]))
    return torch.cat(bands, -2)


@cache
def _band_probe(band: int) -> tuple[Tensor, Tensor]:
    """2l+1 unit directions and the inverse of the band's basis there, float64."""
    index = torch.arange(2 * band + 1, dtype=torch.float64)
    # A golden-angle spiral over the upper half sphere; the basis matrix has a condition number below 10.
    z = (index + 0.5) / (2 * band + 1)
    angle = index * (math.pi * (3 - math.sqrt(5)))
    radius = (1 - z * z).sqrt()
    directions = torch.stack([radius * angle.cos(), radius * angle.sin(), z], -1)
    basis = sh_basis(directions, band)[:, band * band :]
    return directions, torch.linalg.inv(basis)
