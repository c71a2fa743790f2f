"""The quick method: a linear avatar learned from its pictures, coarse to fine, without a field.

Gaussians on the rig's triangles and a few bases of what the units change of them, after reduced Gaussian
blendshapes. Source: L. Li et al., "RGBAvatar: reduced Gaussian blendshapes for online modeling of head
avatars", 2025; what is here differs in that the bases are mixed from the units linearly, without a network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from engine.errors import UsageError
from engine.progress import Over, unshown
from engine.train.data.devices import sent, view_on
from engine.train.data.views import Dataset, View, evenly
from engine.train.loop.phase import ParameterGroup, Phase, Step
from engine.train.losses.photometric import photometric
from engine.train.losses.surfels import beyond
from engine.train.methods.quick.baking import bake, effects
from engine.train.methods.quick.config import QuickConfig
from engine.train.methods.quick.density import move_idle, shown_and_missed
from engine.train.methods.quick.drivers import first_drivers
from engine.train.methods.quick.looks import Look, Looker, Pictures, whole
from engine.train.methods.quick.model import LinearModel, is_moved
from engine.train.methods.quick.rig_seeds import seeds_of_rig
from render.avatars.avatar import Avatar
from render.gsplat.kernels import GsplatError
from render.renderer import Renderer, RenderOutput
from render.rigs.rig import PosedRig
from render.sh import SH_C0
from render.training_renderer import training_renderer

_TOUCHED = 0.25  # of the gradient that so many pixels have when all err to one side
_RENDERERS = 64  # sizes that are kept ready; windows are of one, cut pictures of many
_MOMENTS = 512  # posed rigs that are kept: a capture's, not a film's
_COARSE_FALL = 0.5  # of the rates over the coarse phase
_DENSITY_SHARE = 2 / 3  # of a phase, behind which Gaussians keep their places


def _colour_renderer(device: torch.device, width: int, height: int) -> Renderer:
    return training_renderer(device, width, height, geometry=False)


class Quick:
    """One person's training on one device.

    Starts from the dataset's seeds, or without them from the rig and what its views show. `resumes`: a stored
    state follows. `renderer` makes what draws on a device at a size. Raises ValueError when the dataset has
    no views to train on, GsplatError where its renderer cannot run.
    """

    name = "quick"

    def __init__(
        self,
        dataset: Dataset,
        config: QuickConfig | None = None,
        device: torch.device | str = "cpu",
        *,
        resumes: bool = False,
        over: Over = unshown,
        renderer: Callable[[torch.device, int, int], Renderer] = _colour_renderer,
    ) -> None:
        self.config = config = config or QuickConfig()
        self.dataset, self.device = dataset, torch.device(device)
        views = dataset.of("train")
        if not views:
            raise ValueError("the dataset has no views to train on")
        self._renderer = lru_cache(maxsize=_RENDERERS)(
            lambda width, height: renderer(self.device, width, height)
        )
        self._renderer(views[0].camera.width, views[0].camera.height)  # what cannot be drawn fails now
        self._pictures = Pictures(self.device)
        generator = torch.Generator().manual_seed(config.seed)
        seeds = dataset.seeds or seeds_of_rig(dataset, config.surfels, generator)
        drivers = first_drivers(dataset.rig, views, config.rows)
        self.model = LinearModel(dataset.rig.to(self.device), seeds, drivers, turns=config.turns)
        self.looker = Looker([view_on(view, self.device) for view in views], self.model.rig, config.looks)
        self._learns_bases = bool(self.looker.moved) and self.model.num_moving > 0
        self._pixels = 1  # of the step's picture
        self._touched = torch.zeros(self.model.num_gaussians, dtype=torch.bool, device=self.device)
        self._moments: dict[int, PosedRig] = {}

    # -- what the trainer asks for -----------------------------------------------------------------------

    def parameters(self) -> Mapping[str, ParameterGroup]:
        return self.model.groups(self.config.rates)

    def phases(self) -> Sequence[Phase[Look]]:
        config, bases = self.config, frozenset({"drivers", *self.model.deltas})
        frozen = frozenset() if self._learns_bases else bases

        def phase(
            name: str, steps: int, sample: Callable[[Step, int], list[Look]], fall: float
        ) -> Phase[Look]:
            return Phase(
                name=name,
                steps=steps,
                sample=sample,
                loss=self._losses,
                frozen=frozen,
                schedule=lambda progress: fall**progress,
                after_step=self._after_step,
            )

        return [
            phase("coarse", config.coarse_steps, self.looker.coarse, _COARSE_FALL),
            phase("fine", config.fine_steps, self.looker.fine, config.rates.fall),
        ]

    @torch.no_grad()
    def render(self, view: View, background: Tensor) -> RenderOutput:
        view = view_on(view, self.device)
        posed = self.model.pose(view.params)
        renderer = self._renderer(view.camera.width, view.camera.height)
        return renderer.render(posed, view.camera, sent(background, self.device))

    @torch.no_grad()
    def avatar(self) -> Avatar:
        config, views = self.config, [*self.looker.rest, *self.looker.moved]
        acting = evenly(self.looker.moved, config.density.bake_looks)
        looks = [whole(view, 2) for view in (*self.looker.rest, *acting)]
        shown, _ = shown_and_missed(self.model, looks, self._pictures, self._renderer_of)
        effect = effects(self.model, views)
        return bake(
            self.model,
            shown,
            effect,
            self.dataset.rig,
            moving=config.moving,
            most=config.density.bake_most,
            least_px=config.density.bake_least_px,
        )

    def state_dict(self) -> Mapping[str, Any]:
        return {"model": self.model.state_dict(), "touched": self._touched}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self._touched = state["touched"].to(self.device)

    # -- steps -------------------------------------------------------------------------------------------

    def _losses(self, looks: Sequence[Look], step: Step) -> dict[str, Tensor]:
        parts = [self._losses_of(look, step) for look in looks]
        return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}

    def _losses_of(self, look: Look, step: Step) -> dict[str, Tensor]:
        weights, params = self.config.losses, look.view.params
        # A background that changes from step to step shows every pixel that lets some of it through.
        background = sent(torch.rand(3, generator=step.own), self.device)
        changes = None
        if self._learns_bases and is_moved(params):
            changes = self.model.changes(params.expression)
        gaussians = self.model.pose(params, self._posed_rig(look.view), changes)
        rgb = self._renderer_of(look).render(gaussians, look.camera, background).rgb
        self._pixels = rgb.shape[0] * rgb.shape[1]
        target = self._pictures.before(look, background, rgb)
        terms = {"rgb": photometric(rgb, target, weights.ssim)}
        scales = self.model.tensors["log_scales"]
        longest, shortest = scales.amax(1), scales.amin(1)
        stretch = 2 * longest + shortest - scales.sum(1)  # logarithm of the longest over the middle axis
        terms["needle"] = weights.needle * beyond(stretch, math.log(weights.most_stretch)).mean()
        squares = [change.square().mean() for change in (changes or {}).values()]
        terms["change"] = weights.change * torch.stack(squares).sum() if squares else rgb.new_zeros(())
        return terms

    def _posed_rig(self, view: View) -> PosedRig:
        """Rigs of known moments are posed once."""
        posed = self._moments.get(view.time_index)
        if posed is None:
            posed = self.model.rig(view.params)
            if len(self._moments) < _MOMENTS:
                self._moments[view.time_index] = posed
        return posed

    def _renderer_of(self, look: Look) -> Renderer:
        camera = look.camera
        return self._renderer(camera.width, camera.height)

    def _after_step(self, step: Step) -> None:
        """Let idle Gaussians move a few times while a phase is young."""
        density = self.config.density
        self._note_touched(density.least_px)
        before = step.progress * (step.index - 1) / max(1, step.index)
        if not density.rounds or step.index == 0 or step.progress > _DENSITY_SHARE:
            return
        every = _DENSITY_SHARE / density.rounds
        if int(step.progress / every) > int(before / every):
            looks = self.looker.spread(density.looks, step.shared)
            shown, missed = shown_and_missed(self.model, looks, self._pictures, self._renderer_of)
            # A round's looks are few: what only one picture shows was touched by a step that saw it.
            shown = torch.where(self._touched, shown.clamp_min(density.least_px), shown)
            move_idle(self.model, shown, missed, density, step.shared)
            self._touched.zero_()

    def _note_touched(self, least_px: float) -> None:
        """Note the Gaussians that the step's picture showed: their colours have a gradient."""
        gradient = self.model.tensors["sh0"].grad
        if gradient is not None:
            # L1 gives every pixel its share of one over the picture's values; errors of a part cancel some.
            least = _TOUCHED * SH_C0 * least_px / (3 * self._pixels)
            self._touched |= gradient.abs().amax((1, 2)) > least


Config = QuickConfig


def build(
    dataset: Dataset,
    config: QuickConfig,
    device: torch.device,
    *,
    resumes: bool = False,
    over: Over = unshown,
) -> Quick:
    """The method as `visavis train quick` starts it. Raises UsageError for a device that cannot draw."""
    try:
        return Quick(dataset, config, device, resumes=resumes, over=over)
    except GsplatError as error:
        raise UsageError(f"--device {device.type}: {error}; or use --device cpu") from error
