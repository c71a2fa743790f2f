"""Darkening of surfels where the surface crumples, as the light in a crease does."""

from __future__ import annotations

import torch
from torch import Tensor

from render.renderer import RenderOutput

_FULL_AT = 3.0  # times the usual distortion of the face at rest, where a crease is as dark as it gets


def surfel_distortion(out: RenderOutput, count: int) -> tuple[Tensor, Tensor]:
    """The distortion map at the first `count` surfels' screen means [N], and where [N] (bool) it was looked up.

    Surfels outside the picture, or much behind what the picture shows, are not.
    """
    assert out.distortion is not None
    assert out.means_px is not None
    height, width = out.alpha.shape
    at = out.means_px[:count].detach()
    x, y = at[:, 0].floor().long(), at[:, 1].floor().long()
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (at != 0).any(1)
    values = out.distortion.detach()[y.clamp(0, height - 1), x.clamp(0, width - 1)].clamp_min(0)
    return values, inside


def darkening(rest: Tensor, posed: Tensor, strength: float) -> Tensor:
    """Factors [N] of colours for distortions [N] at rest and in an expression: 1, or down to 1 - strength.

    The root of a distortion is a length, the spread of depth along the ray; what a pose adds to it, against
    what the face has at rest, is the depth of a crease.
    Source: SAGE's supplement: errors of this map mark creases; the law itself is ours.
    """
    usual = rest.clamp_min(0).sqrt().median().clamp_min(1e-5)
    excess = (posed.clamp_min(0).sqrt() - rest.clamp_min(0).sqrt()) / (_FULL_AT * usual)
    t = excess.clamp(0, 1)
    return 1 - strength * t * t * (3 - 2 * t)


def folded(area_ratio: Tensor) -> Tensor:
    """Which surfels [N] (bool) lie on skin that is pressed together: only that can crease."""
    return area_ratio < 0.9
