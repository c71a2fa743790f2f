"""Terms of the losses that pictures and surfels make; all are means."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from engine.train import kernels
from engine.train.losses.box_mean import box_mean
from render.camera import Camera
from render.renderer import RenderOutput

_C1, _C2 = 0.01**2, 0.03**2
_WINDOW = 7
_SPREAD_M = 0.005


def photometric(rgb: Tensor, target: Tensor, ssim_weight: float) -> Tensor:
    """(1 - w) L1 + w D-SSIM of pictures [H, W, 3]. Source: B. Kerbl et al., "3D Gaussian splatting", 2023."""
    return (1 - ssim_weight) * (rgb - target).abs().mean() + ssim_weight * (1 - ssim(rgb, target)) / 2


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of pictures [H, W, 3] with uniform 7x7 windows: a loss, not the reported metric.

    Source: Z. Wang et al., 2004.
    """
    maps = torch.cat([a, b, a * a, b * b, a * b], -1)
    if kernels.take(maps) and maps.dtype == torch.float32:
        mean = box_mean(maps, _WINDOW)
    else:
        mean = functional.avg_pool2d(maps.permute(2, 0, 1), _WINDOW, 1).permute(1, 2, 0)
    mu_a, mu_b, aa, bb, ab = mean.split(3, -1)
    var_a, var_b, cov = aa - mu_a * mu_a, bb - mu_b * mu_b, ab - mu_a * mu_b
    top = (2 * mu_a * mu_b + _C1) * (2 * cov + _C2)
    return (top / ((mu_a * mu_a + mu_b * mu_b + _C1) * (var_a + var_b + _C2))).mean()


def depth_normals(depth: Tensor, camera: Camera) -> Tensor:
    """Unit normals [H - 2, W - 2, 3] in camera axes, facing the camera, from a depth map [H, W] in metres."""
    rows, columns = (torch.arange(n, dtype=depth.dtype, device=depth.device) + 0.5 for n in depth.shape)
    rows, columns = (rows - camera.cy) / camera.fy, (columns - camera.cx) / camera.fx
    points = torch.stack([depth * columns, depth * rows[:, None], depth], -1)
    across = points[1:-1, 2:] - points[1:-1, :-2]
    down = points[2:, 1:-1] - points[:-2, 1:-1]
    return functional.normalize(torch.linalg.cross(down, across), dim=-1, eps=1e-12)


def normal_error(out: RenderOutput, camera: Camera) -> Tensor:
    """alpha (1 - n . N) of every inner pixel [H - 2, W - 2]: surfels against the surface they make together.

    Source: B. Huang et al., "2D Gaussian splatting", 2024, equation 14.
    """
    assert out.depth is not None
    assert out.normal is not None
    surface = depth_normals(out.depth, camera)
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
