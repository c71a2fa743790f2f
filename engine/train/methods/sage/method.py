"""SAGE as a training method: phase one on pictures, phase two on the avatar's own expressions.

Source: J. Yang et al., "SAGE: self-learning expression deformations for data-efficient Gaussian
avatars", 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.errors import UsageError
from engine.progress import Over, unshown
from engine.train.data.completion import Completed, enhanced, seen_around
from engine.train.data.devices import camera_on, params_on, sent, view_on
from engine.train.data.expressions import ExpressionSampler, looked_at_from_aside, turned
from engine.train.data.picture_cache import PictureCache
from engine.train.data.views import Dataset, View, evenly
from engine.train.fields.pretrain import pretrain
from engine.train.loop.phase import ParameterGroup, Phase, Step
from engine.train.loop.sampling import Shuffled
from engine.train.losses.masked import mean_where
from engine.train.losses.photometric import photometric
from engine.train.losses.surfels import beyond, light_through, normal_error, spread
from engine.train.methods.sage.basis import choose_drivers
from engine.train.methods.sage.config import SageConfig
from engine.train.methods.sage.model import SageModel, warm_start
from engine.train.methods.sage.priors import deformation_prior
from engine.train.methods.sage.rays import (
    appearance_consistency,
    faces_seen,
    field_losses,
    on_face,
    solid,
)
from engine.train.methods.sage.rebinding import rebind
from engine.train.methods.sage.wrinkles import measure_creases
from engine.train.surface.mouth import mouth_prior
from engine.train.surface.regions import Regions
from engine.train.surface.surfel_placement import Placement, place_surfels
from render.avatars.avatar import Avatar
from render.camera import Camera
from render.gsplat.kernels import GsplatError
from render.renderer import Renderer, RenderOutput
from render.rigs.params import RigParams
from render.training_renderer import training_renderer

_VIEWS_TO_START = 24  # looked at for placing and colouring the surfels
_WARM_STEPS = 300
_FIELD_REFRESH = 32  # steps between two looks at the field by the surfels that do not train it
_CREASES_EVERY = 250
_SMOOTH_STEP_M = 0.002
_CENTIMETRES = 100.0
_SURFACE_TERMS = ("point", "align", "eikonal", "smooth", "ray_rgb", "ray_depth", "ray_normal")


@dataclass(frozen=True)
class Imagined:
    """A pose without a picture."""

    params: RigParams
    camera: Camera


class Sage:
    """One person's training on one device.

    `resumes`: a stored state follows, so nothing is fitted before. `over` shows how far the start is;
    `renderer` makes what draws on a device at a size. Raises ValueError when the dataset has no views to
    train on, GsplatError where its renderer cannot run.
    """

    name = "sage"

    def __init__(
        self,
        dataset: Dataset,
        config: SageConfig | None = None,
        device: torch.device | str = "cpu",
        *,
        resumes: bool = False,
        over: Over = unshown,
        renderer: Callable[[torch.device, int, int], Renderer] = training_renderer,
    ) -> None:
        self.config = config = config or SageConfig()
        self.dataset, self.device = dataset, torch.device(device)
        completed = training_views(dataset, config)
        self._filmed = list(completed.views)
        if not self._filmed:
            raise ValueError("the dataset has no views to train on")
        self._make_renderer, self._renderers = renderer, dict[tuple[int, int], Renderer]()
        self._renderer(self._filmed[0].camera)  # what cannot be drawn fails now
        self._train = [view_on(view, self.device) for view in self._filmed]
        self._weights = {name: weight.to(self.device) for name, weight in completed.weights.items()}
        self._pictures = PictureCache(self.device)
        # Looking at the rig and placing the surfels are numba's, once; what a step needs is on the device.
        regions = Regions.of(dataset.rig)
        generator = torch.Generator().manual_seed(config.seed)
        torch.manual_seed(config.seed)  # the networks' and the grid's first values
        placement = Placement.unset(config.surfels.count) if resumes else self._placed(regions, generator)
        drivers = choose_drivers(dataset.rig, self._filmed, config.deltas.rows).to(self.device)
        mouth = mouth_prior(dataset.rig, regions) if config.mouth else None
        if mouth is not None:
            mouth = mouth[0].to(self.device), mouth[1].to(self.device)
        rig, placement = dataset.rig.to(self.device), placement.to(self.device)
        self.model = SageModel(rig, regions.to(self.device), placement, drivers, mouth, config)
        if not resumes:
            skin = dataset.rig.faces[regions.outer]
            pretrain(self.model.field, dataset.rig.template, skin, config.pretrain, config.seed, over)
            warm_start(self.model, placement, _WARM_STEPS, generator, over)
            self.model.refresh_curvatures()
        self._prior = deformation_prior(config.deformation_prior, rig)
        self._sampler = ExpressionSampler(dataset.rig)
        # Changes by expression can be learned where expressions were seen.
        moments = {view.time_index for view in self._filmed}
        self._learns_deltas = config.deltas.rows > 0 and len(moments) > 1

    def _placed(self, regions: Regions, generator: torch.Generator) -> Placement:
        some = evenly(self._filmed, _VIEWS_TO_START)
        pictures = [view.read() for view in some]
        return place_surfels(self.dataset.rig, regions, some, pictures, self.config.surfels, generator)

    # -- what the trainer asks for -----------------------------------------------------------------------

    def parameters(self) -> Mapping[str, ParameterGroup]:
        model, rates = self.model, self.config.rates
        groups = {
            "means": ParameterGroup([model.local_means], rates.means),
            "field": ParameterGroup(list(model.field.parameters()), rates.field),
            "networks": ParameterGroup(
                [*model.appearance.parameters(), *model.shape.parameters()], rates.networks
            ),
            "residual_appearance": ParameterGroup([model.residual_appearance], rates.residual_appearance),
            "residual_shape": ParameterGroup([model.residual_shape], rates.residual_shape),
            "deltas": ParameterGroup([model.d_means, model.d_colours], rates.deltas),
            "mouth": ParameterGroup([model.mouth_gain], rates.mouth),
        }
        return groups

    def phases(self) -> Sequence[Phase[Any]]:
        config = self.config
        off = set()
        if not config.networks:
            off |= {"networks"}
        if not config.residuals:
            off |= {"residual_appearance", "residual_shape"}
        if not self._learns_deltas:
            off |= {"deltas"}
        phases: list[Phase[Any]] = [
            Phase(
                name="surfels and field",
                steps=config.steps,
                sample=Shuffled(self._train, config.seed),
                loss=self._picture_losses,
                frozen=frozenset(off if config.joint_field else off | {"field"}),
                schedule=lambda progress: 0.1**progress,
                after_step=self._after_picture,
            )
        ]
        if config.phase_two:
            phases.append(
                Phase(
                    name="self-supervision",
                    steps=config.phase_two_steps,
                    sample=self._imagine,
                    loss=self._consistency_losses,
                    frozen=frozenset(off | {"field", "deltas", "mouth"}),
                    schedule=lambda progress: config.phase_two_rate * 0.1**progress,
                    after_step=self._after_imagined,
                )
            )
        return phases

    @torch.no_grad()
    def render(self, view: View, background: Tensor) -> RenderOutput:
        view = view_on(view, self.device)
        return self.draw(view.params, view.camera, sent(background, self.device))[0]

    def avatar(self) -> Avatar:
        from engine.train.methods.sage.baking import bake

        return bake(self.model, self.dataset)

    def state_dict(self) -> Mapping[str, Any]:
        return {"model": self.model.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.model.bind()

    # -- drawing -----------------------------------------------------------------------------------------

    def draw(
        self, params: RigParams, camera: Camera, background: Tensor, live: Any = None
    ) -> tuple[RenderOutput, Any]:
        """The person in a pose as a camera sees it, and the surfels at rest it was made of."""
        gaussians, attributes = self.model.pose(params, camera.position(), live)
        return self._renderer(camera).render(gaussians, camera, background), attributes

    def _renderer(self, camera: Camera) -> Renderer:
        size = camera.width, camera.height
        if size not in self._renderers:
            self._renderers[size] = self._make_renderer(self.device, *size)
        return self._renderers[size]

    # -- phase one ---------------------------------------------------------------------------------------

    def _picture_losses(self, items: Sequence[View], step: Step) -> dict[str, Tensor]:
        parts = [self._losses_of(view, step) for view in items]
        return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}

    def _losses_of(self, view: View, step: Step) -> dict[str, Tensor]:
        weights, model, config = self.config.losses, self.model, self.config
        picture = self._pictures(view)
        background = sent(torch.rand(3, generator=step.own), self.device)
        zero = torch.zeros((), device=self.device)
        terms = dict.fromkeys(_SURFACE_TERMS, zero)
        target = picture.over(background)
        live = None
        trains_field = config.joint_field and step.index % config.field_every == 0
        if trains_field:
            live, surface = self._surface(step)
        out, attributes = self.draw(view.params, view.camera, background, live)
        if live is not None:
            terms |= surface
            rows = live[0]
            gradient = torch.nn.functional.normalize(live[1].gradient, dim=1)
            along = (attributes.rotations[rows, :, 2] * gradient).sum(1).abs()
            terms["align"] = weights.align * (1 - along).mean()
            if config.networks and view.name not in self._weights:
                terms |= field_losses(model, view, self._prior, out, target, step.own)
        counted = self._weights.get(view.name)
        rgb, alpha = out.rgb, out.alpha
        if counted is not None:  # elsewhere the picture agrees with anything
            rgb = torch.where(counted[..., None] > 0, rgb, target)
            alpha = torch.where(counted > 0, alpha, picture.mask)
        terms["rgb"] = photometric(rgb, target, weights.ssim)
        terms["alpha"] = weights.alpha * (alpha - picture.mask).abs().mean()
        terms["normal"] = weights.normal * normal_error(out, view.camera).mean()
        terms["distortion"] = weights.distortion * spread(out).mean()
        growth = attributes.log_scales.exp() / (config.surfels.overlap * model.spacing)[:, None]
        terms["scale"] = weights.scale * beyond(growth, weights.scale_threshold).mean()
        offset = beyond(attributes.offsets_m, weights.offset_threshold_m)
        terms["offset"] = weights.offset * mean_where(offset, ~model.on_hair)
        terms["coverage"] = zero
        if weights.coverage and step.index % weights.coverage_every == 0:
            terms["coverage"] = weights.coverage * weights.coverage_every * self._light_from_aside(step)
        residual = model.residual_appearance.square().mean() + model.residual_shape.square().mean()
        terms["residual"] = weights.residual * residual if config.networks and config.residuals else zero
        if self._learns_deltas:
            moved = model.d_means.square().mean() if len(model.d_means) else zero
            painted = model.d_colours.square().mean() if len(model.d_colours) else zero
            terms["deltas"] = weights.deltas * (moved + painted)
        return terms

    def _light_from_aside(self, step: Step) -> Tensor:
        """What shines through the person, seen from where nobody filmed.

        Without it, surfels that pictures only graze fade to make an outline sharp, and leave holes.
        """
        weights, model = self.config.losses, self.model
        yaw, pitch = weights.coverage_yaw_deg, weights.coverage_pitch_deg
        view = self._filmed[int(torch.randint(len(self._filmed), (1,), generator=step.own))]
        aside = looked_at_from_aside(view.params, self.dataset.rig, yaw, pitch, step.own)
        params, camera = params_on(aside, self.device), camera_on(view.camera, self.device)
        out, _ = self.draw(params, camera, torch.zeros(3, device=self.device))
        return light_through(out.alpha, solid(model, faces_seen(model, params, camera)))

    def _surface(self, step: Step) -> tuple[tuple[Tensor, Any], dict[str, Tensor]]:
        """Some surfels with the field at them, and what the field has to be there."""
        weights, model, config = self.config.losses, self.model, self.config
        rows = torch.randperm(model.num_surfels, generator=step.own)[: config.field_points]
        rows = sent(rows, self.device)
        points = model.means()[rows]
        sample = model.field(points, 1)
        assert sample.gradient is not None
        noise = sent(torch.randn(points.shape, generator=step.own), self.device)
        near = points.detach() + noise * _SMOOTH_STEP_M
        beside = model.field(near[: len(near) // 2], 1)
        assert beside.gradient is not None
        slopes = torch.cat([sample.gradient, beside.gradient]).norm(dim=1)
        bend = (sample.gradient[: len(near) // 2] - beside.gradient).norm(dim=1)
        pulled = sample.distance.abs() * _CENTIMETRES
        terms = {
            "point": weights.point * mean_where(pulled, ~model.on_hair[rows]),
            "eikonal": weights.eikonal * (slopes - 1).square().mean(),
            "smooth": weights.smooth * bend.mean(),
        }
        return (rows, sample), terms

    @torch.no_grad()
    def _after_picture(self, step: Step) -> Mapping[str, Tensor] | None:
        number, model = step.index + 1, self.model
        if number % _FIELD_REFRESH == 0:
            model.refresh_field()
        if number % self.config.correct.refresh_every == 0 and self.config.joint_field:
            model.refresh_curvatures()
        if not self.config.phase_two:
            self._measure_creases(number)
        every = self.config.surfels.rebind_every
        if every and number % every == 0 and (changed := rebind(model)).any():
            rows = torch.arange(model.num_surfels, device=self.device)
            return {"means": torch.where(changed, -1, rows)}
        return None

    # -- phase two ---------------------------------------------------------------------------------------

    def _imagine(self, step: Step, count: int) -> list[Imagined]:
        """Poses of the training views with other expressions and the head turned further."""
        items = []
        for _ in range(count):
            view = self._filmed[int(torch.randint(len(self._filmed), (1,), generator=step.shared))]
            params = view.params.replace(expression=self._sampler(step.shared))
            params = turned(params, self.dataset.rig, self.config.consistency.turn_deg, step.shared)
            items.append(Imagined(params_on(params, self.device), camera_on(view.camera, self.device)))
        return items

    def _consistency_losses(self, items: Sequence[Imagined], step: Step) -> dict[str, Tensor]:
        parts = [self._consistency_of(item, step) for item in items]
        return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}

    def _consistency_of(self, item: Imagined, step: Step) -> dict[str, Tensor]:
        weights, zero = self.config.consistency, torch.zeros((), device=self.device)
        background = sent(torch.rand(3, generator=step.own), self.device)
        out, _ = self.draw(item.params, item.camera, background)
        seen = faces_seen(self.model, item.params, item.camera)
        face = on_face(self.model, seen)
        terms = {
            "normal": weights.normal * (normal_error(out, item.camera) * face[1:-1, 1:-1]).mean(),
            "distortion": weights.distortion * (spread(out) * face).mean(),
            "appearance": zero,
            "anchor": zero,
        }
        if self.config.networks and weights.appearance:
            same = appearance_consistency(
                self.model, item.params, item.camera, self._prior, out, seen, step.own
            )
            terms["appearance"] = weights.appearance * same
        if weights.anchor:
            view = self._train[int(torch.randint(len(self._train), (1,), generator=step.own))]
            drawn, _ = self.draw(view.params, view.camera, background)
            target = self._pictures(view).over(background)
            terms["anchor"] = weights.anchor * photometric(drawn.rgb, target, self.config.losses.ssim)
        return terms

    def _after_imagined(self, step: Step) -> None:
        self._measure_creases(step.index + 1)

    def _measure_creases(self, number: int) -> None:
        if self.config.wrinkles and not self._learns_deltas and number % _CREASES_EVERY == 0:
            measure_creases(self.model, self._train[0], self.draw, self.config.wrinkle_strength)


def training_views(dataset: Dataset, config: SageConfig) -> Completed:
    """What the regime learns from: films and multi-view data as they are, one picture completed.

    Raises UsageError for unusable files.
    """
    views: Sequence[View] = dataset.of("train")
    if config.enhancer:
        views = enhanced(views, Path(config.enhancer))
    if config.regime != "oneshot" or not views:
        return Completed(tuple(views), {})
    generator = Path(config.view_generator) if config.view_generator else None
    return seen_around(views, dataset.rig, generator)


Config = SageConfig


def build(
    dataset: Dataset, config: SageConfig, device: torch.device, *, resumes: bool = False, over: Over = unshown
) -> Sage:
    """The method as `visavis train sage` starts it. Raises UsageError for a device that cannot draw."""
    try:
        return Sage(dataset, config, device, resumes=resumes, over=over)
    except GsplatError as error:
        raise UsageError(f"--device {device.type}: {error}; or use --device cpu") from error
