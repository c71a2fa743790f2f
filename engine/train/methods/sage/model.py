"""The avatar while it trains: surfels on triangles, the field they lie on, the networks that dress them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from engine.progress import Over, unshown
from engine.train.data.devices import sent
from engine.train.fields.sdf import SdfSample, SignedDistanceField
from engine.train.methods.sage.config import SageConfig
from engine.train.methods.sage.correction import Stretch, correct
from engine.train.methods.sage.networks import NUM_APPEARANCE, NUM_SHAPE, AppearanceNetwork, ShapeNetwork
from engine.train.methods.sage.surfel_axes import lower_triangle, surfel_axes
from engine.train.surface.regions import Regions
from engine.train.surface.surfel_placement import Placement
from render.avatars.bindings import TriangleBinding
from render.gaussians import Gaussians
from render.rigs.frames import triangle_frames
from render.rigs.params import RigParams
from render.rigs.rig import PosedRig, Rig
from render.rotations import matrix_to_quaternion, quaternion_multiply
from render.sh import SH_C0

_INITIAL_OPACITY = 0.8
_WARM_ROWS = 2048  # surfels of a step before training
_MARGIN_M = 0.04  # of the field's cube around the rig


@dataclass(frozen=True)
class Attributes:
    """Surfels at rest, uncorrected, in world axes."""

    means: Tensor  # [N, 3] metres
    rotations: Tensor  # [N, 3, 3] columns: tangents, normal
    log_scales: Tensor  # [N, 2] log metres
    colours: Tensor  # [N, 3] toward one viewer
    logit_opacities: Tensor  # [N]
    offsets_m: Tensor  # [N] from the triangle's centre, less the triangle's size


class SageModel(nn.Module):
    """Everything that training moves, and how it makes Gaussians of a pose.

    It lives where `rig`, `regions`, `placement`, `drivers` and `mouth` do; first values are drawn on the CPU,
    so that they are the same everywhere.
    """

    face_index: Tensor
    spacing: Tensor
    field_gradient: Tensor
    field_features: Tensor
    grid_features: Tensor
    curvatures: Tensor
    curvature_directions: Tensor
    drivers: Tensor
    darkening: Tensor

    def __init__(
        self,
        rig: Rig,
        regions: Regions,
        placement: Placement,
        drivers: Tensor,
        mouth: tuple[Tensor, Gaussians] | None,
        config: SageConfig,
    ) -> None:
        super().__init__()
        self.rig, self.regions, self.config = rig, regions, config
        count = len(placement.face_index)
        low, high = rig.template.amin(0), rig.template.amax(0)
        half = 0.5 * float((high - low).amax()) + _MARGIN_M
        self.field = SignedDistanceField(config.sdf, (low + high) / 2, half)
        self.appearance = AppearanceNetwork(config.sdf.num_features, config.hidden)
        self.shape = ShapeNetwork(config.sdf.grid.width, config.hidden)
        self.register_buffer("face_index", placement.face_index.clone())
        self.register_buffer("spacing", placement.spacing.clone())
        self.register_buffer("drivers", drivers)
        self.rest = triangle_frames(rig.template, rig.faces)
        rotation, scale, centre = self.frames_at_rest()
        local = (rotation.mT @ (placement.means - centre)[..., None])[..., 0] / scale[:, None]
        self.local_means = nn.Parameter(local)
        self.residual_appearance = nn.Parameter(torch.zeros(count, NUM_APPEARANCE))
        self.residual_shape = nn.Parameter(torch.zeros(count, NUM_SHAPE))
        rows = drivers.shape[1]
        self.d_means = nn.Parameter(torch.zeros(rows if config.deltas.means else 0, count, 3))
        self.d_colours = nn.Parameter(torch.zeros(rows if config.deltas.colours else 0, count, 3))
        self.mouth_gain = nn.Parameter(torch.zeros(3))  # logarithm, of the prior's colours
        self.mouth = mouth
        self.register_buffer("darkening", torch.zeros(rows, count))
        self.register_buffer("field_gradient", placement.normals.clone())
        self.register_buffer("field_features", torch.zeros(count, config.sdf.num_features))
        self.register_buffer("grid_features", torch.zeros(count, config.sdf.grid.width))
        self.register_buffer("curvatures", torch.zeros(count, 2))
        self.register_buffer("curvature_directions", torch.zeros(count, 2, 3))
        self.to(self.device)
        self.bind()

    @property
    def device(self) -> torch.device:
        return self.rig.template.device

    # -- binding -----------------------------------------------------------------------------------------

    def bind(self) -> None:
        """Prepare everything that depends on which triangle a surfel hangs on."""
        faces = self.face_index if self.mouth is None else torch.cat([self.face_index, self.mouth[0]])
        self.binding = TriangleBinding(faces)
        self._pose = self.binding.bound_to(self.rig)
        # Hair and shoulders move with the rig alone: what they do while an expression is shown is chance.
        self.follows = self.regions.face[self.face_index].to(self.rig.template)
        used, self._slot = torch.unique(self.face_index, return_inverse=True)
        allowed = self.regions.visible & ~self.regions.hair
        self.stretch = Stretch.around(self.rig, used, allowed, self.config.correct)

    def frames_at_rest(self) -> tuple[Tensor, Tensor, Tensor]:
        """Rotation [N, 3, 3], scale [N] and centre [N, 3] of every surfel's triangle in the rest pose."""
        rotation, scale, centre = self.rest
        return rotation[self.face_index], scale[self.face_index], centre[self.face_index]

    @property
    def num_surfels(self) -> int:
        return int(self.face_index.shape[0])

    @property
    def on_hair(self) -> Tensor:
        """Surfels [N] (bool) that may stand off the surface: hair, and cloth."""
        return (self.regions.hair | self.regions.body)[self.face_index]

    def means(self) -> Tensor:
        """Centres at rest [N, 3] metres."""
        rotation, scale, centre = self.frames_at_rest()
        return centre + scale[:, None] * (rotation * self.local_means[:, None]).sum(-1)

    # -- field -------------------------------------------------------------------------------------------

    @torch.no_grad()
    def refresh_field(self) -> None:
        """Look at the field at every surfel; in between, what was seen there is used."""
        sample = self.field(self.means(), 1)
        self._remember(slice(None), sample)

    def _remember(self, rows: slice | Tensor, sample: SdfSample) -> None:
        assert sample.gradient is not None
        self.field_gradient[rows] = sample.gradient
        self.field_features[rows] = sample.features
        self.grid_features[rows] = sample.grid_features

    @torch.no_grad()
    def refresh_curvatures(self) -> None:
        """Principal curvatures of the field at every surfel."""
        self.curvatures, self.curvature_directions = self.field.principal_curvatures(self.means())

    # -- attributes --------------------------------------------------------------------------------------

    def appearance_at(self, points: Tensor, directions: Tensor, sample: SdfSample) -> Tensor:
        """Colours [N, 3] that f_app gives anywhere near the surface, towards `directions` [N, 3]."""
        assert sample.gradient is not None
        normals = nn.functional.normalize(sample.gradient, dim=1)
        out = self.appearance(self.field.normalised(points), directions, normals, sample.features)
        return torch.sigmoid(out[:, :3])

    def attributes(self, directions: Tensor, live: tuple[Tensor, SdfSample] | None = None) -> Attributes:
        """Surfels at rest, seen along unit `directions` [N, 3] in rest axes.

        `live` holds rows of surfels with the field at them, through which gradients reach the field; the
        other rows use what was last seen.
        """
        config = self.config
        features, grid, gradient = self.field_features, self.grid_features, self.field_gradient
        if live is not None:
            rows, sample = live
            assert sample.gradient is not None
            features = features.index_copy(0, rows, sample.features)
            grid = grid.index_copy(0, rows, sample.grid_features)
            gradient = gradient.index_copy(0, rows, sample.gradient)
        means = self.means()
        look: Tensor = self.residual_appearance
        shape: Tensor = self.residual_shape
        if not config.residuals:
            look, shape = look.detach(), shape.detach()
        if config.networks:
            at = self.field.normalised(means.detach())
            normals = nn.functional.normalize(gradient, dim=1)
            look = look + self.appearance(at, directions, normals, features)
            shape = shape + self.shape(at, grid)
        rotations, log_ratio = surfel_axes(shape[:, :6])
        log_scales = log_ratio + shape[:, 6:] + (self.config.surfels.overlap * self.spacing).log()[:, None]
        offset = self.local_means.norm(dim=1) * self.frames_at_rest()[1]
        return Attributes(means, rotations, log_scales, torch.sigmoid(look[:, :3]), look[:, 3], offset)

    # -- posing ------------------------------------------------------------------------------------------

    def local(self, attributes: Attributes, posed: PosedRig | None, expression: Tensor) -> Gaussians:
        """Gaussians in the units of their binding, mouth included; corrected when a pose is given."""
        rotations, log_scales = attributes.rotations, attributes.log_scales
        if posed is not None and self.config.correction:
            relative = self.stretch.relative(posed.vertices)[self._slot]
            eye = torch.eye(3, dtype=relative.dtype, device=relative.device)
            relative = torch.where(self.on_hair[:, None, None], eye, relative)
            bend = torch.where(self.on_hair[:, None], 0, self.curvatures)
            rotations, log_scales = correct(
                rotations, log_scales, relative, bend, self.curvature_directions, self.config.correct
            )
        rotation, scale, _ = self.frames_at_rest()
        means: Tensor = self.local_means
        colours = attributes.colours
        weights = self.coefficients(expression)
        if len(self.d_means):
            means = means + (weights @ self.d_means.flatten(1)).view_as(means) * self.follows[:, None]
        if len(self.d_colours):
            colours = colours + (weights @ self.d_colours.flatten(1)).view_as(colours) * self.follows[:, None]
        if self.config.wrinkles:
            colours = colours * (1 - weights @ self.darkening)[:, None]
        surfels = Gaussians(
            means=means,
            quats=quaternion_multiply(matrix_to_quaternion(rotation.mT), matrix_to_quaternion(rotations)),
            log_scales=log_scales - scale.log()[:, None],
            logit_opacities=attributes.logit_opacities,
            sh=((colours - 0.5) / SH_C0)[:, None],
        )
        return surfels if self.mouth is None else Gaussians.concat([surfels, self.mouth_local()])

    def mouth_local(self) -> Gaussians:
        """The mouth's prior with this person's light on it."""
        assert self.mouth is not None
        prior = self.mouth[1]
        colours = (prior.sh[:, 0] * SH_C0 + 0.5) * self.mouth_gain.exp()
        return replace(prior, sh=((colours - 0.5) / SH_C0)[:, None])

    def coefficients(self, expression: Tensor) -> Tensor:
        """Weights [B] of the changes by expression, each in 0..1."""
        return (expression @ self.drivers).clamp(0, 1)

    def pose(
        self, params: RigParams, viewer: Tensor, live: tuple[Tensor, SdfSample] | None = None
    ) -> tuple[Gaussians, Attributes]:
        """Gaussians in world axes as `viewer` [3] sees them, and the surfels at rest."""
        with torch.no_grad():
            posed = self.rig(params)
            directions = self.directions_at_rest(posed, viewer)
        attributes = self.attributes(directions, live)
        return self._pose(
            self.local(attributes, posed, params.expression), posed, params.expression
        ), attributes

    @torch.no_grad()
    def directions_at_rest(self, posed: PosedRig, viewer: Tensor) -> Tensor:
        """Unit directions [N, 3] from the viewer to the surfels' triangles, turned to the rest pose."""
        rotation, _, centre = triangle_frames(posed.vertices, self.rig.faces[self.stretch.faces])
        away = nn.functional.normalize(centre - viewer, dim=1)
        rest = (self.stretch.rest_rotation @ rotation.mT @ away[..., None])[..., 0]
        return rest[self._slot]


@torch.no_grad()
def warm_start(
    model: SageModel,
    placement: Placement,
    steps: int,
    generator: torch.Generator,
    over: Over = unshown,
) -> float:
    """Teach the networks where the surfels stand and what the pictures show there; what is left goes into
    the residuals. Returns the networks' mean colour error.

    The target of f_shape is I - n n^T, whose surfel lies on the surface; no eigenvectors are needed.
    """
    normals = placement.normals
    hessian = torch.eye(3, device=model.device) - normals[:, :, None] * normals[:, None]
    shape = torch.cat([lower_triangle(hessian), normals.new_zeros(len(normals), 1)], 1)
    opacity = torch.logit(normals.new_full((len(normals), 1), _INITIAL_OPACITY))
    look = torch.cat([placement.colours.clamp(0.02, 0.98).logit(), opacity], 1)
    model.refresh_field()
    error = 0.0
    if model.config.networks:
        with torch.enable_grad():
            error = _fit_networks(model, look, shape, steps, generator, over)
        views = -normals  # seen from the front
        at = model.field.normalised(model.means())
        n = nn.functional.normalize(model.field_gradient, dim=1)
        look = look - model.appearance(at, views, n, model.field_features)
        shape = shape - model.shape(at, model.grid_features)
    if model.config.residuals:
        model.residual_appearance.copy_(look)
        model.residual_shape.copy_(shape)
    return error


def _fit_networks(
    model: SageModel, look: Tensor, shape: Tensor, steps: int, generator: torch.Generator, over: Over
) -> float:
    parameters = [*model.appearance.parameters(), *model.shape.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=5e-3, fused=True)
    at = model.field.normalised(model.means()).detach()
    normals = nn.functional.normalize(model.field_gradient, dim=1)
    colour_error = look.new_zeros(())
    for step in over(range(steps), "dress the surfels", steps):
        optimiser.param_groups[0]["lr"] = 5e-3 * 0.1 ** (step / steps)
        rows = sent(torch.randint(len(at), (min(len(at), _WARM_ROWS),), generator=generator), at.device)
        noise = sent(torch.randn(len(rows), 3, generator=generator), at.device)
        views = nn.functional.normalize(noise - 2 * normals[rows], dim=1)
        seen = model.appearance(at[rows], views, normals[rows], model.field_features[rows])
        shaped = model.shape(at[rows], model.grid_features[rows])
        colour_error = (torch.sigmoid(seen[:, :3]) - torch.sigmoid(look[rows, :3])).abs().mean()
        loss = colour_error + 0.1 * (seen[:, 3] - look[rows, 3]).square().mean()
        loss = loss + (shaped - shape[rows]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return float(colour_error.detach())
