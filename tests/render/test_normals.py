"""Normals of depth maps against closed forms."""

from __future__ import annotations

import math

import torch

from bench.scenes import head_camera
from render.normals import normals_from_depth

CAMERA = head_camera(40, 30)


def plane_depth(normal: torch.Tensor, distance_m: float) -> torch.Tensor:
    """Depth [H, W] at which each pixel's ray meets the plane through (0, 0, distance)."""
    x = (torch.arange(40, dtype=torch.float64) + 0.5 - CAMERA.cx) / CAMERA.fx
    y = (torch.arange(30, dtype=torch.float64) + 0.5 - CAMERA.cy) / CAMERA.fy
    along = normal[0] * x + normal[1] * y[:, None] + normal[2]
    return normal[2] * distance_m / along


def test_a_tilted_plane_has_its_normal_everywhere() -> None:
    normal = torch.tensor([0.5, -0.3, -math.sqrt(1 - 0.34)], dtype=torch.float64)
    found = normals_from_depth(plane_depth(normal, 1.2), CAMERA)
    assert torch.allclose(found, normal.expand(28, 38, 3), atol=1e-9)


def test_a_hole_spoils_its_neighbours_only() -> None:
    whole = plane_depth(torch.tensor([0.5, -0.3, -math.sqrt(1 - 0.34)]), 1.2)
    depth = whole.clone()
    depth[10, 10] = 0
    found, wanted = normals_from_depth(depth, CAMERA), normals_from_depth(whole, CAMERA)
    spoilt = (found != wanted).any(-1).nonzero() + 1  # of the inner pixels
    assert {tuple(place) for place in spoilt.tolist()} == {(9, 10), (11, 10), (10, 9), (10, 11)}


def test_gradients_are_the_finite_differences_and_finite_at_holes() -> None:
    random = torch.Generator().manual_seed(0)
    depth = 1 + 0.01 * torch.rand(30, 40, generator=random, dtype=torch.float64)
    weights = torch.randn(28, 38, 3, generator=random, dtype=torch.float64)
    leaf = depth.clone().requires_grad_()
    (normals_from_depth(leaf, CAMERA) * weights).sum().backward()
    assert leaf.grad is not None
    step = 1e-7 * torch.randn(30, 40, generator=random, dtype=torch.float64)
    higher, lower = (float((normals_from_depth(depth + s * step, CAMERA) * weights).sum()) for s in (1, -1))
    numeric, analytic = (higher - lower) / 2, float((leaf.grad * step).sum())
    assert analytic != 0
    assert math.isclose(numeric, analytic, rel_tol=1e-4)  # a central difference over 1e-7
    depth[12:15, 20:24] = 0
    leaf = depth.requires_grad_()
    (normals_from_depth(leaf, CAMERA) * weights).sum().backward()
    assert leaf.grad.isfinite().all()
