"""Normals of the surface that a depth map describes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from render.camera import Camera


def normals_from_depth(depth: Tensor, camera: Camera) -> Tensor:
    """Unit normals facing the camera of a depth map [H, W] in metres -> [H, W, 3], camera axes.

    From central differences of the points the pixels see; differentiable. Zero at the picture's border and
    where the pixel or one of its four neighbours has no depth (0).
    Source: Huang et al., "2D Gaussian Splatting", 2024, eq. 15.
    """
    height, width = depth.shape
    x = (torch.arange(width).to(depth) + 0.5 - camera.cx) / camera.fx
    y = (torch.arange(height).to(depth) + 0.5 - camera.cy) / camera.fy
    rays = torch.stack([x.expand(height, width), y[:, None].expand(height, width), torch.ones_like(depth)], 2)
    points = rays * depth[..., None]
    right = points[1:-1, 2:] - points[1:-1, :-2]
    down = points[2:, 1:-1] - points[:-2, 1:-1]
    # y points down: this order faces the camera on every surface that the camera sees
    cross = torch.linalg.cross(down, right)
    there = depth > 0
    known = there[1:-1, 1:-1] & there[1:-1, 2:] & there[1:-1, :-2] & there[2:, 1:-1] & there[:-2, 1:-1]
    cross = torch.where(known[..., None], cross, 0)
    # the length is about the square of a pixel's size in metres: far below normalize's usual limit
    length = torch.where(known, (cross * cross).sum(-1), 1).clamp_min(1e-30).sqrt()
    return functional.pad(cross / length[..., None], (0, 0, 1, 1, 1, 1))
