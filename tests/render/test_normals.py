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
    assert torch.allclose(found[1:-1, 1:-1], normal.expand(28, 38, 3), atol=1e-9)
    assert (found[0] == 0).all()
    assert (found[:, -1] == 0).all()


def test_there_is_no_normal_beside_a_hole() -> None:
    depth = torch.ones(30, 40)
    depth[10, 10] = 0
    found = normals_from_depth(depth, CAMERA)
    for y, x in ((10, 10), (9, 10), (11, 10), (10, 9), (10, 11)):
        assert (found[y, x] == 0).all()
    assert torch.allclose(found[9, 9], torch.tensor([0.0, 0.0, -1.0]), atol=1e-6)


def test_gradients_are_the_finite_differences_and_finite_at_holes() -> None:
    random = torch.Generator().manual_seed(0)
    depth = 1 + 0.01 * torch.rand(30, 40, generator=random, dtype=torch.float64)
    depth[12:15, 20:24] = 0
    weights = torch.randn(30, 40, 3, generator=random, dtype=torch.float64)
    leaf = depth.clone().requires_grad_()
    (normals_from_depth(leaf, CAMERA) * weights).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()
    step = 1e-7 * torch.randn(30, 40, generator=random, dtype=torch.float64) * (depth > 0)
    higher, lower = (float((normals_from_depth(depth + s * step, CAMERA) * weights).sum()) for s in (1, -1))
    numeric, analytic = (higher - lower) / 2, float((leaf.grad * step).sum())
    assert analytic != 0
    assert math.isclose(numeric, analytic, rel_tol=1e-4)  # a central difference over 1e-7
