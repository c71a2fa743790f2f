"""What baking is made of, whatever the method: colours as harmonics, changes as a linear deformation.

A method's own module asks its model and puts the avatar together of these and of results/unseen.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.train.data.views import View
from engine.train.loop.phase import Method
from engine.train.results.metrics import psnr
from render.avatars.avatar import Avatar
from render.cpu.renderer import CpuRenderer
from render.deformations.coefficients import Coefficients
from render.deformations.deformation import Deformation
from render.sh import SH_C0, sh_basis

_SH_C1 = 0.4886025119029199  # of the first-degree basis functions
_RIDGE = 0.05  # of the first-degree coefficients: directions nobody looked from get no colour of their own
_MOST_SWING = 0.12  # of a colour, from the middle to the brightest direction
_LEAST_CHANGE = 1e-3  # a row of the deformation below this changes nothing one could see


def fitted_sh(directions: Tensor, colours: Tensor) -> Tensor:
    """Coefficients [N, 4, 3] that give `colours` [N, K, 3] at unit `directions` [N, K, 3], by ridge."""
    basis = sh_basis(directions, 1)
    normal = basis.mT @ basis / basis.shape[1]
    normal = normal + torch.diag(torch.tensor([1e-6, _RIDGE, _RIDGE, _RIDGE]) * 0.05).to(normal)
    sh = torch.linalg.solve(normal, basis.mT @ (colours - 0.5) / basis.shape[1])
    # A slope learned from views a few degrees apart must not glare from the side.
    swing = _SH_C1 * sh[:, 1:].norm(dim=1, keepdim=True)
    shrink = (_MOST_SWING / swing.clamp_min(1e-9)).clamp_max(1)
    middle = basis.mean(1)
    kept = sh[:, 1:] * shrink
    constant = sh[:, :1] + ((sh[:, 1:] - kept) * middle[:, 1:, None]).sum(1, keepdim=True) / SH_C0
    return torch.cat([constant, kept], 1)


def linear_deformation(
    drivers: Tensor, d_means: Tensor, d_log_scales: Tensor, d_colours: Tensor
) -> Deformation | None:
    """The changes that can be seen, of N Gaussians that come first in an avatar; None where there are none.

    `drivers` [E, B] of weights that are full at 1. At full weight, in the Gaussians' own units: `d_means`
    [B, N, 3], `d_log_scales` [B, N, 2 or 3], `d_colours` [B, N, 3].
    """
    changed = (
        (d_log_scales.abs().amax((0, 2)) > _LEAST_CHANGE)
        | (d_means.abs().amax((0, 2)) > _LEAST_CHANGE)
        | (d_colours.abs().amax((0, 2)) > _LEAST_CHANGE)
    )
    index = changed.nonzero()[:, 0]
    if not len(index):
        return None

    def kept(deltas: Tensor) -> Tensor | None:
        chosen = deltas[:, index]
        return chosen.contiguous().cpu() if float(chosen.abs().max()) > _LEAST_CHANGE else None

    return Deformation(
        Coefficients.linear(drivers.cpu().clone(), torch.zeros(drivers.shape[1])),
        indices=index.cpu(),
        d_means=kept(d_means),
        d_log_scales=kept(d_log_scales),
        d_sh0=kept(d_colours / SH_C0),
    )


@dataclass(frozen=True)
class BakeLoss:
    """What baking changed, mean PSNR over some views, dB."""

    trained: float  # the method's render against the truth
    baked: float  # the avatar's, by the code that plays it, against the truth
    between: float  # one against the other


@torch.no_grad()
def bake_loss(method: Method, avatar: Avatar, views: Sequence[View]) -> BakeLoss:
    """Compare the trained method with its avatar on `views`, over white."""
    white = torch.ones(3)
    figures = []
    for view in views:
        truth = view.read().over(white)
        trained = method.render(view, white).rgb.cpu().clamp(0, 1)
        renderer = CpuRenderer(view.camera.width, view.camera.height)
        played = renderer.render(avatar.pose(view.params), view.camera, white).rgb.clamp(0, 1)
        renderer.close()
        figures.append([psnr(trained, truth), psnr(played, truth), psnr(played, trained)])
    return BakeLoss(*torch.tensor(figures).mean(0).tolist())
