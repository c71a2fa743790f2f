"""SAGE's model as an avatar that plays: networks become attributes, corrections a linear deformation."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from engine.train.data.devices import view_on
from engine.train.data.views import Dataset, evenly
from engine.train.methods.sage.model import SageModel
from engine.train.results.bake import fitted_sh, linear_deformation
from engine.train.results.unseen import recoloured
from render.avatars.avatar import Avatar, AvatarInfo
from render.deformations.deformation import Deformation
from render.gaussians import Gaussians
from render.sh import SH_C0

_VIEWS = 16  # directions from which a surfel's colour is asked, to fit spherical harmonics
_VIEWS_THAT_SHOW = 24  # asked which surfels they show


@torch.no_grad()
def bake(model: SageModel, dataset: Dataset) -> Avatar:
    """The avatar, on the CPU, of a trained model: Gaussians bound to triangles, deformed by expression.

    Colours become spherical harmonics of degree 1, fitted over the training views' directions. The surfel
    correction's scales are taken at each unit of the basis and added linearly; its turns are left out.
    """
    model.refresh_field()
    neutral = model.rig.neutral_params()
    views = [view_on(view, model.device) for view in evenly(dataset.of("train"), _VIEWS)]
    directions = torch.stack(
        [model.directions_at_rest(model.rig(v.params), v.camera.position()) for v in views], 1
    )
    colours = torch.stack([model.attributes(d).colours for d in directions.unbind(1)], 1)
    attributes = model.attributes(directions[:, 0])
    sh = fitted_sh(directions, colours)
    rest = model.local(attributes, model.rig(neutral), neutral.expression)
    flat = rest.sh[model.num_surfels :]  # of the mouth, whose colour is one from all sides
    flat = torch.cat([flat, flat.new_zeros(len(flat), 3, 3)], 1)
    gaussians = replace(rest, sh=torch.cat([sh, flat]))
    avatar = Avatar(
        info=AvatarInfo(name=dataset.name or "avatar", provenance="visavis train sage"),
        rig=dataset.rig,
        bindings=(model.binding.to("cpu"),),
        gaussians=gaussians.to("cpu"),
        deformation=_deformation(model, rest, sh),
        rig_reference=dataset.rig_reference,
    )
    regions = model.regions.to(torch.device("cpu"))
    kinds = [part[model.face_index.cpu()] for part in (regions.face, regions.hair, regions.body)]
    return recoloured(avatar, evenly(dataset.of("train"), _VIEWS_THAT_SHOW), kinds)


def _deformation(model: SageModel, rest: Gaussians, sh: Tensor) -> Deformation | None:
    rows, count = model.drivers.shape[1], model.num_surfels
    neutral = model.rig.neutral_params()
    full = model.drivers.amax(0)
    scales = sh.new_zeros(rows, count, 2)
    for row, unit in enumerate(model.drivers.argmax(0).tolist()):
        weights = torch.zeros_like(neutral.expression)
        weights[unit] = 1 / full[row]
        posed = model.rig(neutral.replace(expression=weights))
        attributes = model.attributes(-model.field_gradient)
        scales[row] = model.local(attributes, posed, neutral.expression).log_scales[:count]
    scales = scales - rest.log_scales[:count]
    means = model.d_means * model.follows[:, None] if len(model.d_means) else sh.new_zeros(rows, count, 3)
    painted = (
        model.d_colours * model.follows[:, None] if len(model.d_colours) else sh.new_zeros(rows, count, 3)
    )
    if model.config.wrinkles:
        painted = painted - model.darkening[..., None] * (sh[:, 0] * SH_C0 + 0.5)
    return linear_deformation(model.drivers, means, scales, painted)
