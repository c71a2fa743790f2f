"""Terms of the losses that surfels make among themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from render.camera import Camera
from render.normals import normals_from_depth
from render.renderer import RenderOutput

_SPREAD_M = 0.005


def normal_error(out: RenderOutput, camera: Camera) -> Tensor:
    """alpha (1 - n . N) of every inner pixel [H - 2, W - 2]: surfels against the surface they make together.

    Source: B. Huang et al., "2D Gaussian splatting", 2024, equation 14.
    """
    assert out.depth is not None
    assert out.normal is not None
    surface = normals_from_depth(out.depth, camera)
    alpha = out.alpha[1:-1, 1:-1]
    agree = (out.normal[1:-1, 1:-1] * surface).sum(-1)
    return torch.where(alpha > 0.5, (alpha - agree).clamp_min(0), 0)


def spread(out: RenderOutput) -> Tensor:
    """How far apart in depth the surfels of each pixel lie [H, W], in 0..1: 0.5 at half a centimetre.

    The renderer's distortion counts squares, in which one silhouette before a shoulder would outweigh a face
    full of loose surfels; so large spreads saturate. Source: S. Geman & D. McClure, 1987.
    """
    assert out.distortion is not None
    square = out.distortion.clamp_min(0)
    return square / (square + _SPREAD_M**2)


def light_through(alpha: Tensor, solid: Tensor) -> Tensor:
    """How much of the background shows through pixels [H, W] that have to be solid, a mean over all."""
    return torch.where(solid, 1 - alpha, 0).mean()


def beyond(values: Tensor, threshold: float) -> Tensor:
    """What exceeds a threshold, in units of the threshold, squared. Source: GaussianAvatars, 2024."""
    return (values / threshold - 1).clamp_min(0).square()
