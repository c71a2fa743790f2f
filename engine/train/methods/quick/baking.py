"""From the trained model to the avatar that plays: sorted, with bases only where they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from engine.train.data.views import View
from engine.train.methods.quick.model import LinearModel
from render.avatars.avatar import Avatar, AvatarInfo
from render.avatars.bindings import TriangleBinding
from render.rigs.rig import Rig
from render.sh import SH_C0


def effects(model: LinearModel, views: Sequence[View]) -> Tensor:
    """How far expressions take each moving Gaussian at most, [M]: about 1 is a change of all it shows."""
    most = torch.zeros(model.num_moving, device=model.face_index.device)
    seen: set[int] = set()
    num = model.num_moving
    sizes = model.tensors["log_scales"][:num].exp().amax(1)
    opacity = model.tensors["logit_opacities"][:num].sigmoid()
    for view in views:
        if view.time_index in seen or not bool((view.params.expression != 0).any()):
            continue
        seen.add(view.time_index)
        change = model.changes(view.params.expression)
        effect = (
            SH_C0 * change["d_sh0"].abs().amax(1)
            + (change["d_means"].norm(dim=1) / sizes).clamp_max(1)
            + change["d_logit_opacities"].abs() * opacity * (1 - opacity)
            + change["d_log_scales"].abs().amax(1)
        )
        if "d_quats" in change:
            effect = effect + change["d_quats"].norm(dim=1)
        most = torch.maximum(most, effect)
    return most


def bake(
    model: LinearModel, shown: Tensor, effect: Tensor, rig: Rig, *, moving: int, most: int, least_px: float
) -> Avatar:
    """The avatar, the more important half of its Gaussians first.

    `shown` [N] pixels of each at its best: the `most` that show most stay, of those that show `least_px`. In
    each half they lie as their triangles do, which a processor's caches like: a fourteenth of the time of a
    pose and its picture. The `moving` whose `effect` [M] shows most keep their bases.
    """
    order = shown.argsort(descending=True, stable=True)
    order = order[shown[order] >= least_px][:most]
    order = torch.cat([half[model.face_index[half].argsort(stable=True)] for half in order.tensor_split(2)])
    counts = effect * shown[: model.num_moving].sqrt()
    keeps = torch.zeros(model.num_gaussians, dtype=torch.bool, device=shown.device)
    keeps[counts.argsort(descending=True)[:moving]] = True
    with_bases = torch.nonzero(keeps[order])[:, 0]
    deformation = model.deformation()
    deltas: dict[str, Any] = {
        name: delta[:, order[with_bases]].contiguous().cpu() for name, delta in deformation.deltas().items()
    }
    avatar = Avatar(
        info=AvatarInfo("quick"),
        rig=rig,
        bindings=(TriangleBinding(model.face_index[order].cpu()),),
        gaussians=model.gaussians().chosen(order).to("cpu"),
    )
    if not len(with_bases) or not deformation.coefficients.num_outputs:
        return avatar
    moved = replace(deformation.to("cpu"), indices=with_bases.cpu(), **deltas)
    return avatar.replace(deformation=moved)
