"""How far a picture is from another, as losses; all are means."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from engine.train import kernels
from engine.train.losses.box_mean import box_mean
from engine.train.losses.fused_photometric import FusedPhotometric

_C1, _C2 = 0.01**2, 0.03**2
_WINDOW = 7


def photometric(rgb: Tensor, target: Tensor, ssim_weight: float) -> Tensor:
    """(1 - w) L1 + w D-SSIM of pictures [H, W, 3]. Source: B. Kerbl et al., "3D Gaussian splatting", 2023."""
    if kernels.take(rgb) and rgb.dtype == target.dtype == torch.float32 and not target.requires_grad:
        value: Tensor = FusedPhotometric.apply(rgb, target, ssim_weight, _WINDOW, _C1, _C2)
        return value
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
