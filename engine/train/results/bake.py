"""A trained avatar as one that plays: networks become stored attributes, corrections a linear deformation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.train.data.devices import view_on
from engine.train.data.views import Dataset, View, evenly
from engine.train.loop.phase import Method
from engine.train.methods.sage.model import SageModel
from engine.train.results.metrics import psnr
from engine.train.results.unseen import recoloured
from render.avatars.avatar import Avatar, AvatarInfo
from render.cpu.renderer import CpuRenderer
from render.deformations.coefficients import Coefficients
from render.deformations.deformation import Deformation
from render.gaussians import Gaussians
from render.sh import SH_C0, sh_basis

_SH_C1 = 0.4886025119029199  # of the first-degree basis functions
_VIEWS = 16  # directions from which a surfel's colour is asked, to fit spherical harmonics
_VIEWS_THAT_SHOW = 24  # asked which surfels they show
_RIDGE = 0.05  # of the first-degree coefficients: directions nobody looked from get no colour of their own
_MOST_SWING = 0.12  # of a colour, from the middle to the brightest direction
_LEAST_CHANGE = 1e-3  # a row of the deformation below this changes nothing one could see


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
    sh = _fitted_sh(directions, colours)
    rest = model.local(attributes, model.rig(neutral), neutral.expression)
    surfels = _rows(rest, slice(0, model.num_surfels))
    surfels = replace(surfels, sh=sh)
    parts = [surfels]
    if model.mouth is not None:
        mouth = model.mouth_local()
        parts.append(replace(mouth, sh=torch.cat([mouth.sh, mouth.sh.new_zeros(len(mouth.sh), 3, 3)], 1)))
    gaussians = Gaussians.concat(parts)
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


def _fitted_sh(directions: Tensor, colours: Tensor) -> Tensor:
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
    changed = (
        (scales.abs().amax((0, 2)) > _LEAST_CHANGE)
        | (means.abs().amax((0, 2)) > _LEAST_CHANGE)
        | (painted.abs().amax((0, 2)) > _LEAST_CHANGE)
    )
    index = changed.nonzero()[:, 0]
    if not len(index):
        return None

    def kept(deltas: Tensor) -> Tensor | None:
        chosen = deltas[:, index]
        return chosen.contiguous().cpu() if float(chosen.abs().max()) > _LEAST_CHANGE else None

    return Deformation(
        Coefficients.linear(model.drivers.cpu().clone(), torch.zeros(rows)),
        indices=index.cpu(),
        d_means=kept(means),
        d_log_scales=kept(scales),
        d_sh0=kept(painted / SH_C0),
    )


def _rows(gaussians: Gaussians, rows: slice) -> Gaussians:
    g = gaussians
    return Gaussians(
        g.means[rows],
        g.quats[rows],
        g.log_scales[rows],
        g.logit_opacities[rows],
        g.sh[rows],
        None,
        g.antialiased,
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
