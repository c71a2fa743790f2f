"""SAGE as a training method: phase one on pictures, phase two on the avatar's own expressions.

Source: J. Yang et al., "SAGE: self-learning expression deformations for data-efficient Gaussian
avatars", 2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.errors import UsageError
from engine.train.fields.pretrain import pretrain
from engine.train.phase import ParameterGroup, Phase, Step
from engine.train.sage.basis import choose_drivers
from engine.train.sage.config import SageConfig
from engine.train.sage.expressions import ExpressionSampler, turned
from engine.train.sage.losses import beyond, normal_error, photometric, spread
from engine.train.sage.model import SageModel, warm_start
from engine.train.sage.mouth import mouth_prior
from engine.train.sage.pictures import PictureCache
from engine.train.sage.placement import place_surfels
from engine.train.sage.priors import deformation_prior
from engine.train.sage.rays import appearance_consistency, faces_seen, field_losses, on_face
from engine.train.sage.rebinding import rebind
from engine.train.sage.regimes import complete
from engine.train.sage.regions import Regions
from engine.train.sage.wrinkles import measure_creases
from engine.train.sampling import Shuffled
from engine.train.views import Dataset, View
from render.avatar import Avatar
from render.camera import Camera
from render.renderer import Renderer, RenderOutput
from render.rigs.params import RigParams

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
    """One person's training. Raises ValueError when the dataset has no views to train on."""

    name = "sage"

    def __init__(self, dataset: Dataset, config: SageConfig | None = None) -> None:
        self.config = config = config or SageConfig()
        self.dataset = dataset
        completed = complete(dataset, config)
        self._train, self._weights = list(completed.views), completed.weights
        if not self._train:
            raise ValueError("the dataset has no views to train on")
        self._pictures = PictureCache()
        self._renderers: dict[tuple[int, int], Renderer] = {}
        generator = torch.Generator().manual_seed(config.seed)
        torch.manual_seed(config.seed)  # the networks' and the grid's first values
        self.regions = Regions.of(dataset.rig)
        step = max(1, len(self._train) // _VIEWS_TO_START)
        some = self._train[::step][:_VIEWS_TO_START]
        placement = place_surfels(
            dataset.rig, self.regions, some, [self._pictures(v) for v in some], config.surfels, generator
        )
        drivers = choose_drivers(dataset.rig, self._train, config.deltas.rows)
        mouth = mouth_prior(dataset.rig, self.regions) if config.mouth else None
        self.model = SageModel(dataset.rig, self.regions, placement, drivers, mouth, config)
        skin = dataset.rig.faces[self.regions.outer]
        self.field_error_m = pretrain(
            self.model.field, dataset.rig.template, skin, config.pretrain, config.seed
        )
        self.start_error = warm_start(self.model, placement, _WARM_STEPS, generator)
        self.model.refresh_curvatures()
        self._prior = deformation_prior(config.deformation_prior, dataset.rig)
        self._sampler = ExpressionSampler(dataset.rig)
        # Changes by expression can be learned where expressions were seen.
        moments = {view.time_index for view in self._train}
        self._learns_deltas = config.deltas.rows > 0 and len(moments) > 1

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
        return self.draw(view.params, view.camera, background)[0]

    def avatar(self) -> Avatar:
        from engine.train.bake import bake

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
            from render.cpu.gradients.renderer import CpuTrainingRenderer

            self._renderers[size] = CpuTrainingRenderer(*size)
        return self._renderers[size]

    # -- phase one ---------------------------------------------------------------------------------------

    def _picture_losses(self, items: Sequence[View], step: Step) -> dict[str, Tensor]:
        parts = [self._losses_of(view, step) for view in items]
        return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}

    def _losses_of(self, view: View, step: Step) -> dict[str, Tensor]:
        weights, model, config = self.config.losses, self.model, self.config
        picture = self._pictures(view)
        background = torch.rand(3, generator=step.own)
        zero = torch.zeros(())
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
        stands_off = model.on_hair
        growth = attributes.log_scales.exp() / (config.surfels.overlap * model.spacing)[:, None]
        terms["scale"] = weights.scale * beyond(growth, weights.scale_threshold)
        offset = attributes.offsets_m[~stands_off]
        terms["offset"] = weights.offset * beyond(offset, weights.offset_threshold_m)
        residual = model.residual_appearance.square().mean() + model.residual_shape.square().mean()
        terms["residual"] = weights.residual * residual if config.networks and config.residuals else zero
        if self._learns_deltas:
            moved = model.d_means.square().mean() if len(model.d_means) else zero
            painted = model.d_colours.square().mean() if len(model.d_colours) else zero
            terms["deltas"] = weights.deltas * (moved + painted)
        return terms

    def _surface(self, step: Step) -> tuple[tuple[Tensor, Any], dict[str, Tensor]]:
        """Some surfels with the field at them, and what the field has to be there."""
        weights, model, config = self.config.losses, self.model, self.config
        rows = torch.randperm(model.num_surfels, generator=step.own)[: config.field_points]
        points = model.means()[rows]
        sample = model.field(points, 1)
        assert sample.gradient is not None
        near = points.detach() + torch.randn(points.shape, generator=step.own) * _SMOOTH_STEP_M
        beside = model.field(near[: len(near) // 2], 1)
        assert beside.gradient is not None
        slopes = torch.cat([sample.gradient, beside.gradient]).norm(dim=1)
        bend = (sample.gradient[: len(near) // 2] - beside.gradient).norm(dim=1)
        pulled = sample.distance.abs() * _CENTIMETRES
        terms = {
            "point": weights.point * pulled[~model.on_hair[rows]].mean(),
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
            rows = torch.arange(model.num_surfels)
            return {"means": torch.where(changed, -1, rows)}
        return None

    # -- phase two ---------------------------------------------------------------------------------------

    def _imagine(self, step: Step, count: int) -> list[Imagined]:
        """Poses of the training views with other expressions and the head turned further."""
        items = []
        for _ in range(count):
            view = self._train[int(torch.randint(len(self._train), (1,), generator=step.shared))]
            params = view.params.replace(expression=self._sampler(step.shared))
            params = turned(params, self.dataset.rig, self.config.consistency.turn_deg, step.shared)
            items.append(Imagined(params, view.camera))
        return items

    def _consistency_losses(self, items: Sequence[Imagined], step: Step) -> dict[str, Tensor]:
        parts = [self._consistency_of(item, step) for item in items]
        return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}

    def _consistency_of(self, item: Imagined, step: Step) -> dict[str, Tensor]:
        weights, zero = self.config.consistency, torch.zeros(())
        background = torch.rand(3, generator=step.own)
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


Config = SageConfig
DEVICE = "cpu"  # what `--device auto` takes: the surfels' and the field's kernels are numba's


def build(dataset: Dataset, config: SageConfig, device: torch.device) -> Sage:
    """The method as `visavis train sage` starts it. Raises UsageError for a device it cannot run on."""
    if device.type != "cpu":
        raise UsageError(f"--device {device}: SAGE trains on the CPU; use --device cpu")
    return Sage(dataset, config)
