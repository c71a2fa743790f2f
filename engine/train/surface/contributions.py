"""How much of a picture each Gaussian makes, and how much of its error: what placing and pruning go by."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from render.camera import Camera
from render.gaussians import Gaussians
from render.renderer import Renderer
from render.sh import SH_C0


@torch.enable_grad()
def contributions(
    renderer: Renderer, posed: Gaussians, camera: Camera, error: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Shares of a picture by Gaussian, both [N]: of its pixels, and of `error` [H, W] (none: zeros).

    A pixel is shared out as it is blended, transmittance times opacity, so that what is hidden gets nothing;
    pixels sum to those that are covered. `posed` in world axes.
    """
    sh = torch.zeros_like(posed.sh[:, :1]).requires_grad_()
    plain = replace(
        posed,
        means=posed.means.detach(),
        quats=posed.quats.detach(),
        log_scales=posed.log_scales.detach(),
        logit_opacities=posed.logit_opacities.detach(),
        sh=sh,
        sh_quats=None,
    )
    rgb = renderer.render(plain, camera).rgb
    weight = torch.zeros_like(rgb)
    weight[..., 0] = 1
    if error is not None:
        weight[..., 1] = error
    # A colour's harmonic of degree 0 enters every pixel times its blending weight: the gradient sums them.
    (shares,) = torch.autograd.grad(rgb, sh, weight)
    return shares[:, 0, 0] / SH_C0, shares[:, 0, 1] / SH_C0
