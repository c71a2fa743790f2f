"""Darkening of surfels where the surface crumples, as the light in a crease does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from engine.train.data.views import View
from engine.train.methods.sage.model import SageModel
from render.camera import Camera
from render.renderer import RenderOutput
from render.rigs.params import RigParams

Draw = Callable[[RigParams, Camera, Tensor], tuple[RenderOutput, Any]]

_FULL_AT = 3.0  # times the usual distortion of the face at rest, where a crease is as dark as it gets


def surfel_distortion(out: RenderOutput, count: int) -> tuple[Tensor, Tensor]:
    """The distortion map at the first `count` surfels' screen means [N], and which [N] (bool) have one.

    Surfels outside the picture, or much behind what the picture shows, are not.
    """
    assert out.distortion is not None
    assert out.means_px is not None
    height, width = out.alpha.shape
    at = out.means_px[:count].detach()
    x, y = at[:, 0].floor().long(), at[:, 1].floor().long()
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (at != 0).any(1)
    values = out.distortion.detach()[y.clamp(0, height - 1), x.clamp(0, width - 1)].clamp_min(0)
    return values, inside


def darkening(rest: Tensor, posed: Tensor, strength: float, usual: float) -> Tensor:
    """Factors [N] of colours for distortions [N] at rest and in an expression: 1, or down to 1 - strength.

    `usual` is the median root of the distortion at rest, metres.

    The root of a distortion is a length, the spread of depth along the ray; what a pose adds to it, against
    what the face has at rest, is the depth of a crease.
    Source: SAGE's supplement: errors of this map mark creases; the law itself is ours.
    """
    excess = (posed.clamp_min(0).sqrt() - rest.clamp_min(0).sqrt()) / (_FULL_AT * usual)
    t = excess.clamp(0, 1)
    return 1 - strength * t * t * (3 - 2 * t)


def folded(area_ratio: Tensor) -> Tensor:
    """Which surfels [N] (bool) lie on skin that is pressed together: only that can crease."""
    return area_ratio < 0.9


@torch.no_grad()
def measure_creases(model: SageModel, view: View, draw: Draw, strength: float) -> None:
    """Set how dark every unit of the model's basis makes each surfel, from pictures of it alone."""
    rig = model.rig
    background = torch.zeros(3, device=model.device)
    neutral = view.params.replace(expression=torch.zeros(rig.num_expressions, device=model.device))
    count = model.num_surfels
    rest, seen_at_rest = surfel_distortion(draw(neutral, view.camera, background)[0], count)
    rest_vertices = rig(neutral).vertices
    rest_area = _areas(rest_vertices, rig.faces)
    may = model.regions.face[model.face_index] & seen_at_rest
    if not may.any():
        return
    usual = max(float(rest[may].sqrt().median()), 1e-5)
    full = model.drivers.amax(0)
    for row, unit in enumerate(model.drivers.argmax(0).tolist()):
        weights = torch.zeros(rig.num_expressions, device=model.device)
        weights[unit] = 1 / full[row]
        params = neutral.replace(expression=weights)
        posed, seen = surfel_distortion(draw(params, view.camera, background)[0], count)
        area = _areas(rig(params).vertices, rig.faces) / rest_area.clamp_min(1e-12)
        usable = may & seen & folded(area[model.face_index])
        factor = darkening(rest, posed, strength, usual)
        model.darkening[row] = torch.where(usable, 1 - factor, 0)


def _areas(vertices: Tensor, faces: Tensor) -> Tensor:
    a, b, c = vertices[faces].unbind(1)
    return 0.5 * torch.linalg.cross(b - a, c - a).norm(dim=1)
