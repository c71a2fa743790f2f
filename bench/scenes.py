"""Synthetic heads: enough like an avatar to measure and to test a renderer with, from a seed alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from render.camera import Camera
from render.gaussians import Gaussians
from render.rotations import matrix_to_quaternion


def ellipsoid_head(
    num: int, *, seed: int = 0, surfel: bool = False, sh_degree: int = 0, antialiased: bool = True
) -> Gaussians:
    """`num` flat Gaussians on an ellipsoid the size of a head, around the origin, facing +z.

    They overlap about as much as those of a trained avatar, lie in the surface, and vary in size, opacity and
    colour. Highlights (`sh_degree` > 0) are given in each Gaussian's own frame (`sh_quats`).
    """
    random = torch.Generator().manual_seed(seed)
    normal = torch.nn.functional.normalize(torch.randn(num, 3, generator=random), dim=1)
    radii = torch.tensor([0.09, 0.13, 0.1])
    means = normal * radii * (1 + 0.01 * torch.randn(num, 1, generator=random))
    spacing = math.sqrt(4 * math.pi * 0.107**2 / max(num, 1))
    scales = 0.9 * spacing * torch.exp(0.4 * torch.randn(num, 3, generator=random))
    scales[:, 2] *= 0.15
    terms = (sh_degree + 1) ** 2
    sh = torch.zeros(num, terms, 3)
    sh[:, 0] = _skin(means, torch.randn(num, 3, generator=random))
    sh[:, 1:] = 0.1 * torch.randn(num, terms - 1, 3, generator=random)
    quats = _facing(normal, torch.rand(num, generator=random) * 2 * math.pi)
    logit_opacities = 0.5 + 2 * torch.randn(num, generator=random)
    log_scales = scales[:, :2] if surfel else scales
    return Gaussians(
        means=means,
        quats=quats,
        log_scales=log_scales.log().contiguous(),
        logit_opacities=logit_opacities,
        sh=sh,
        sh_quats=quats if sh_degree > 0 else None,
        antialiased=antialiased,
    )


def head_camera(width: int, height: int, *, yaw_deg: float = 0.0) -> Camera:
    """A camera that sees a head at the origin fill about two thirds of the picture's height."""
    return Camera.orbit(
        (0.0, 0.0, 0.0), distance_m=1.0, yaw_deg=yaw_deg, width=width, height=height, vertical_fov_deg=22.0
    )


def _skin(means: Tensor, noise: Tensor) -> Tensor:
    """Degree-0 coefficients of a skin tone with dark eyes, a mouth and freckles, [N, 3]."""
    colour = torch.tensor([0.85, 0.62, 0.5]) + 0.06 * noise
    x, y, front = means[:, 0].abs(), means[:, 1], means[:, 2] > 0
    eyes = front & ((x - 0.032) ** 2 + (y - 0.02) ** 2 < 0.012**2)
    mouth = front & ((x / 0.03) ** 2 + ((y + 0.06) / 0.008) ** 2 < 1)
    colour[eyes] = torch.tensor([0.15, 0.1, 0.08])
    colour[mouth] = torch.tensor([0.6, 0.2, 0.2])
    return (colour - 0.5) / 0.28209479177387814


def _facing(normal: Tensor, angle: Tensor) -> Tensor:
    """Quaternions [N, 4] that turn z to `normal`, after a turn by `angle` around z."""
    helper = torch.eye(3)[normal.abs().argmin(1)]
    a = torch.nn.functional.normalize(torch.linalg.cross(helper, normal), dim=1)
    b = torch.linalg.cross(normal, a)
    c, s = angle.cos()[:, None], angle.sin()[:, None]
    return matrix_to_quaternion(torch.stack([c * a + s * b, c * b - s * a, normal], 2))
