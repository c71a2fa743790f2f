"""Gaussians that show nothing move to where the pictures are missed most; their number stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from engine.train.methods.quick.config import DensityConfig
from engine.train.methods.quick.looks import Look, Pictures
from engine.train.methods.quick.model import LinearModel
from engine.train.surface.contributions import contributions
from render.renderer import Renderer

_BACKGROUND = 0.5


@torch.no_grad()
def shown_and_missed(
    model: LinearModel, looks: Sequence[Look], pictures: Pictures, renderer: Callable[[Look], Renderer]
) -> tuple[Tensor, Tensor]:
    """Of every Gaussian the most pixels that one of the looks shows, and the error it stands in: [N] each."""
    num = model.num_gaussians
    shown = torch.zeros(num, device=model.face_index.device)
    missed = torch.zeros_like(shown)
    for look in looks:
        posed, draw = model.pose(look.view.params), renderer(look)
        grey = torch.full((3,), _BACKGROUND, device=shown.device)
        rgb = draw.render(posed, look.camera, grey).rgb
        error = (rgb - pictures.before(look, grey, rgb)).abs().mean(-1)
        pixels, share = contributions(draw, posed, look.camera, error)
        shown, missed = torch.maximum(shown, pixels * look.shrink**2), missed + share
    return shown, missed


def move_idle(
    model: LinearModel, shown: Tensor, missed: Tensor, config: DensityConfig, generator: torch.Generator
) -> int:
    """Move the Gaussians that show least beside those that stand in most error; how many were moved.

    Those with bases stay among each other, as do those without.
    """
    moved = 0
    for first, last in ((0, model.num_moving), (model.num_moving, model.num_gaussians)):
        idle = torch.nonzero(shown[first:last] < config.least_px)[:, 0] + first
        most = int(config.most_share * (last - first))
        idle = idle[shown[idle].argsort()][:most]
        weight = missed[first:last].clone()
        weight[shown[first:last] < 4 * config.least_px] = 0
        count = min(len(idle), int((weight > 0).sum()))
        if not count:
            continue
        chosen = torch.multinomial(weight.cpu().double(), count, generator=generator)
        model.move(idle[:count], chosen.to(idle.device) + first)
        moved += count
    return moved
