"""Field against surfels: MonoSDF-style supervision in phase one, appearance consistency in phase two."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from engine.train.data.views import View
from engine.train.fields.sdf import SdfSample
from engine.train.fields.volume import RayColours, render_rays
from engine.train.losses.masked import mean_where
from engine.train.losses.surfels import normal_error
from engine.train.methods.sage.model import SageModel
from engine.train.methods.sage.priors import DeformationPrior
from engine.train.methods.sage.warp import Rays, surface_rays
from engine.train.surface.regions import triangles_seen
from render.camera import Camera
from render.renderer import RenderOutput
from render.rigs.params import RigParams

_EDGE = 1 / 128  # of the picture's side: the rig's outline is not quite the person's
_OPAQUE = 0.95
_METRES_TO_DECIMETRES = 10.0  # keeps depths and normals of one size


def field_losses(
    model: SageModel,
    view: View,
    prior: DeformationPrior,
    out: RenderOutput,
    target: Tensor,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Colour, depth and normals of the field along rays of a training picture [H, W, 3], weighted.

    Depth and normals are those that the surfels drew, which do not learn from this.
    Source: Z. Yu et al., "MonoSDF", 2022, equations 8-12.
    """
    assert out.depth is not None
    assert out.normal is not None
    weights = model.config.losses
    rows, columns, kept = _drawn(out.alpha.detach() > _OPAQUE, None, model.config.rays, generator)
    camera, depth = view.camera, out.depth.detach()[rows, columns]
    seen_faces = faces_seen(model, view.params, camera)

    def carry(face: Tensor, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        return prior.to_rest(model.rig, view.params, face, points, directions)

    rays = surface_rays(camera, rows, columns, depth, seen_faces, carry)
    kept = kept & (rays.face >= 0) & model.regions.visible[rays.face.clamp_min(0)]
    seen = _march(model, rays, generator)
    covered = seen.alpha.detach() > 0.5
    on_surface = rays.origins + rays.directions * (seen.depth - model.config.ray_reach_m)[:, None].detach()
    sample = model.field(on_surface, 1)
    assert sample.gradient is not None
    drawn = functional.normalize(out.normal.detach()[rows, columns], dim=1) @ camera.world_to_camera[
        :3, :3
    ].to(target)
    _, normals = carry(rays.face.clamp_min(0), rays.origins, drawn)  # a normal goes to rest like a direction
    unit = functional.normalize(sample.gradient, dim=1)
    disagree = (unit - normals).abs().sum(1) + (1 - (unit * normals).sum(1))
    depth_error = (seen.depth - model.config.ray_reach_m).abs() * _METRES_TO_DECIMETRES
    colour_error = (seen.rgb - target[rows, columns] * seen.alpha[:, None]).abs().mean(1)
    return {
        "ray_rgb": weights.ray_rgb * mean_where(colour_error, kept),
        "ray_depth": weights.ray_depth * mean_where(covered * depth_error, kept),
        "ray_normal": weights.ray_normal * mean_where(covered * disagree, kept),
    }


def appearance_consistency(
    model: SageModel,
    params: RigParams,
    camera: Camera,
    prior: DeformationPrior,
    out: RenderOutput,
    seen: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """|C(gamma(r)) - I|^2 over rays drawn where the avatar disagrees with itself.

    C, the frozen field's colour at rest, is what the posed picture I is pulled to. `seen` [H, W] is from
    `faces_seen`.
    Source: SAGE, section 3.4.
    """
    assert out.depth is not None
    config = model.config.consistency
    usable = (out.alpha.detach() > _OPAQUE) & on_face(model, seen)
    rows, columns, kept = _drawn(usable, error_map(out, camera), config.rays, generator, config.uniform_share)
    with torch.no_grad():
        depth = out.depth.detach()[rows, columns]
        rays = surface_rays(
            camera, rows, columns, depth, seen, lambda *ray: prior.to_rest(model.rig, params, *ray)
        )
        canonical = _march(model, rays, None)
    sure = (kept & (canonical.alpha > 0.8)).float()[:, None]
    wanted = canonical.rgb / canonical.alpha.clamp_min(0.5)[:, None]
    return (sure * (out.rgb[rows, columns] - wanted) ** 2).sum() / sure.sum().clamp_min(1) / 3


@torch.no_grad()
def faces_seen(model: SageModel, params: RigParams, camera: Camera) -> Tensor:
    """The rig's triangle at every pixel [H, W], -1 beside it."""
    return triangles_seen(model.rig(params).vertices, model.rig.faces, camera)


def on_face(model: SageModel, seen: Tensor) -> Tensor:
    """Pixels [H, W] (bool) of the face: hair and cloth, which follow no expression, are left out."""
    return model.regions.face[seen.clamp_min(0)] & (seen >= 0)


def solid(model: SageModel, seen: Tensor) -> Tensor:
    """Pixels [H, W] (bool) well within the skin of head and neck: nothing shines through them, on nobody.

    Shoulders are left out: cloth is not the rig's skin.
    """
    skin = (seen >= 0) & (model.regions.visible & ~model.regions.torso)[seen.clamp_min(0)]
    open_ = (~skin).float()[None, None]
    edge = max(1, round(_EDGE * seen.shape[1]))
    return functional.max_pool2d(open_, 2 * edge + 1, 1, edge)[0, 0] == 0


@torch.no_grad()
def error_map(out: RenderOutput, camera: Camera) -> Tensor:
    """Where to look [H, W]: normal inconsistency and the depth of the distortion, each over its mean."""
    assert out.distortion is not None
    normal = functional.pad(normal_error(out, camera), (1, 1, 1, 1))
    spread = out.distortion.clamp_min(0).sqrt()
    return normal / normal.mean().clamp_min(1e-9) + spread / spread.mean().clamp_min(1e-9)


def _march(model: SageModel, rays: Rays, jitter: torch.Generator | None) -> RayColours:
    """The field's colours along rays from `ray_reach_m` before the surface to as far behind it."""
    reach = model.config.ray_reach_m
    near = rays.origins.new_zeros(len(rays.face))
    start = rays.origins - reach * rays.directions

    def colour(points: Tensor, directions: Tensor, sample: SdfSample) -> Tensor:
        return model.appearance_at(points, directions, sample)

    return render_rays(model.field, colour, start, rays.directions, near, near + 2 * reach, jitter=jitter)


def _drawn(
    usable: Tensor,
    error: Tensor | None,
    count: int,
    generator: torch.Generator,
    uniform_share: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Pixel rows and columns [R] of `usable` [H, W], by chance or by `error` [H, W], and which are usable.

    None are where no pixel is. How many there are is nowhere read: an inverse cumulative sum draws them.
    """
    chance = usable.flatten().double()
    if error is not None:
        own = error.flatten().clamp_min(0) * chance
        mean = own.sum() / chance.sum().clamp_min(1)
        chance = chance * (uniform_share + (1 - uniform_share) * own / mean.clamp_min(1e-9))
    total = chance.cumsum(0)
    at = torch.rand(count, generator=generator, dtype=total.dtype).to(total.device, non_blocking=True)
    picked = torch.searchsorted(total, at * total[-1], right=True).clamp_max(len(total) - 1)
    return picked // usable.shape[1], picked % usable.shape[1], usable.flatten()[picked]
