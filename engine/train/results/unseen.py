"""What no picture shows: training leaves it any colour, so it takes that of what is shown nearby."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial

import torch
from torch import Tensor

from engine.train.data.views import View
from render.avatars.avatar import Avatar
from render.cpu.gradients.renderer import CpuTrainingRenderer
from render.rotations import quaternion_to_matrix
from render.sh import SH_C0

_UNSHOWN = 0.003  # of the pictures: what the least shown Gaussians fill together counts as not shown
_NEIGHBOURS = 64
_REACH_M = 0.006  # how far apart neighbours count alike
_MOST_PX = 5.0  # of a neighbour's showing: more makes it no surer


def shown_px(avatar: Avatar, views: Sequence[View]) -> Tensor:
    """How many pixels [N] each Gaussian fills in the view that shows it best, less where it lies aslant."""
    count = avatar.gaussians.num_gaussians
    most = torch.zeros(count)
    renderer_of = cache(partial(CpuTrainingRenderer, geometry=False))
    for view in views:
        with torch.no_grad():
            posed = avatar.pose(view.params)
            normal = quaternion_to_matrix(posed.quats)[..., :, 2]
            away = torch.nn.functional.normalize(posed.means - view.camera.position(), dim=1)
            facing = (normal * away).sum(1).abs()
        with torch.enable_grad():
            colours = torch.zeros(count, 1, 3, requires_grad=True)
            renderer = renderer_of(view.camera.width, view.camera.height)
            out = renderer.render(replace(posed, sh=colours, sh_quats=None), view.camera)
            # A picture is linear in the colours: the slope of its sum is how much of it each one fills.
            (slope,) = torch.autograd.grad(out.rgb[..., 0].sum(), colours)
        most = torch.maximum(most, facing * slope[:, 0, 0] / SH_C0)
    return most


@torch.no_grad()
def recoloured(avatar: Avatar, views: Sequence[View], kinds: Sequence[Tensor]) -> Avatar:
    """The avatar with its unshown Gaussians in the colours of shown ones nearby, of the same kind.

    `kinds` are masks [M] (bool) over its first M Gaussians, such as face and hair; others stay as they are.
    """
    shown = shown_px(avatar, views)
    rising = shown.sort().values
    rank = int((rising.double().cumsum(0) < _UNSHOWN * float(shown.double().sum())).sum())
    least = float(rising[min(rank, len(rising) - 1)])
    means = avatar.pose(avatar.rig.neutral_params()).means
    sh = avatar.gaussians.sh.clone()
    for kind in kinds:
        some = kind.nonzero()[:, 0]
        unsure, sure = some[shown[some] < least], some[shown[some] >= least]
        if not len(sure):
            continue
        for rows in unsure.split(1024):
            distance, nearest = torch.cdist(means[rows], means[sure]).topk(
                min(_NEIGHBOURS, len(sure)), largest=False
            )
            chosen = sure[nearest]
            weight = shown[chosen].clamp_max(_MOST_PX) ** 1.5 / (distance.square() + _REACH_M**2)
            weight = weight / weight.sum(1, keepdim=True)
            sh[rows] = 0  # from where they are looked at, no slope is known
            sh[rows, 0] = (weight[..., None] * avatar.gaussians.sh[chosen][:, :, 0]).sum(1)
    return avatar.replace(gaussians=replace(avatar.gaussians, sh=sh))
