"""The nearest triangle of every pixel in plain torch: `engine.train.surface.raster.see` for any device."""

from __future__ import annotations

import torch
from torch import Tensor

_NEAREST_M = 1e-3  # as in raster.py: triangles that reach nearer are left out


def nearest_triangles_seen(points_px: Tensor, faces: Tensor, width: int, height: int) -> Tensor:
    """Row of `faces` [F, 3] nearest at each pixel's centre, int64 [H, W]; -1 where there is none.

    `points_px` [V, 3]: x right and y down in pixels (centres at half integers), depth in metres. Every pixel
    of a triangle's box is asked at once, and the nearest kept by an integer maximum over (1 / depth, row).
    """
    corners = points_px[faces].double()  # as the numba kernel has its edge functions
    x, y, z = corners.unbind(-1)
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    left, right = _inside(x, width)
    top, bottom = _inside(y, height)
    columns, rows = (right - left + 1).clamp_min(0), (bottom - top + 1).clamp_min(0)
    drawn = (z > _NEAREST_M).all(1) & (area != 0)
    count = torch.where(drawn, columns * rows, 0)
    face = torch.repeat_interleave(count)
    place = torch.arange(len(face), device=face.device) - (count.cumsum(0) - count)[face]
    column, row = left[face] + place % columns[face], top[face] + place // columns[face]
    dx, dy = column + 0.5 - x[face, 0], row + 0.5 - y[face, 0]
    x, y, area, inverse = x[face], y[face], area[face], 1 / z[face]
    b1 = (dx * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * dy) / area
    b2 = ((x[:, 1] - x[:, 0]) * dy - dx * (y[:, 1] - y[:, 0])) / area
    weights = torch.stack([1 - b1 - b2, b1, b2], 1)
    nearness = (weights * inverse).sum(1).float()  # linear in the picture, unlike depth
    # Bits of positive floats sort as the floats do; of equally near triangles the first wins.
    last = len(faces) - 1
    key = (nearness.view(torch.int32).long() << 32) | (last - face)
    key = torch.where((weights >= 0).all(1), key, -1)
    best = torch.full((height * width,), -1, dtype=torch.int64, device=faces.device)
    best.scatter_reduce_(0, row * width + column, key, "amax")
    seen = torch.where(best < 0, -1, last - (best & 0xFFFFFFFF))
    return seen.view(height, width)


def _inside(at: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """First and last pixel [F] whose centre lies between the corners `at` [F, 3], within the picture."""
    low, high = (at.amin(1) - 0.5).ceil(), (at.amax(1) - 0.5).floor()
    # A corner beside the camera's plane projects to anywhere, beyond what an integer holds.
    return low.clamp(0, size).long(), high.clamp(-1, size - 1).long()
