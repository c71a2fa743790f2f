"""Volume rendering of a signed distance field along short rays near its surface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.train.fields.sdf import SdfSample, SignedDistanceField

Colour = Callable[[Tensor, Tensor, SdfSample], Tensor]
"""(points [N, 3], unit directions [N, 3], field there) -> colours [N, 3]."""


@dataclass(frozen=True)
class RayColours:
    """What rays saw."""

    rgb: Tensor  # [R, 3], of the surface alone: weights are not completed by a background
    alpha: Tensor  # [R] how much of the ray was stopped
    depth: Tensor  # [R] metres along the ray, weighted; 0 where nothing was met


def render_rays(
    field: SignedDistanceField,
    colour: Colour,
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    *,
    num_samples: int = 16,
    sharpness: float = 800.0,
    jitter: torch.Generator | None = None,
) -> RayColours:
    """March `origins` [R, 3] along unit `directions` [R, 3] from `near` to `far` [R] metres.

    Opacity of an interval is the drop of a logistic of the distance, `sharpness` in 1/metre.
    Source: P. Wang et al., "NeuS", 2021, equation 13.
    """
    edges = torch.linspace(0, 1, num_samples + 1, dtype=origins.dtype, device=origins.device)
    edges = edges.expand(len(origins), -1)
    if jitter is not None:
        shift = torch.rand(len(origins), 1, generator=jitter).to(origins, non_blocking=True) - 0.5
        edges = edges + shift / num_samples
    at = near[:, None] + edges * (far - near)[:, None]
    ends = origins[:, None] + at[..., None] * directions[:, None]  # [R, S + 1, 3]
    middles = 0.5 * (ends[:, 1:] + ends[:, :-1])
    points = middles.reshape(-1, 3)
    sample = field(points, 1)
    assert sample.gradient is not None
    # Distances at an interval's ends from the middle's value and slope: one look at the field per interval.
    slope = (sample.gradient.view(*middles.shape) * directions[:, None]).sum(-1)
    half = 0.5 * (at[:, 1:] - at[:, :-1])
    middle = sample.distance.view(half.shape)
    before = torch.sigmoid(sharpness * (middle - slope * half))
    after = torch.sigmoid(sharpness * (middle + slope * half))
    alpha = ((before - after) / before.clamp_min(1e-6)).clamp(0, 1)
    through = torch.cat([torch.ones_like(alpha[:, :1]), (1 - alpha + 1e-7).cumprod(1)[:, :-1]], 1)
    weights = alpha * through
    views = directions[:, None].expand_as(middles).reshape(-1, 3)
    colours = colour(points, views, sample).view(*middles.shape)
    total = weights.sum(1)
    depth = (weights * 0.5 * (at[:, 1:] + at[:, :-1])).sum(1) / total.clamp_min(1e-6)
    return RayColours((weights[..., None] * colours).sum(1), total, depth)
