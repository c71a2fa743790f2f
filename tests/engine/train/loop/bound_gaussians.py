"""A small but real training method: 3D Gaussians on the built-in head, fitted to pictures of a person."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from engine.progress import Over
from engine.train.command import one_person
from engine.train.data.views import Dataset, Picture, View
from engine.train.loop.phase import ParameterGroup, Phase, Step
from engine.train.loop.sampling import Shuffled
from render.avatars.avatar import Avatar, AvatarInfo
from render.avatars.bindings import TriangleBinding
from render.avatars.library import open_avatar
from render.cpu.renderer import CpuRenderer
from render.gaussians import Gaussians
from render.reference.renderer import ReferenceRenderer
from render.renderer import RenderOutput

SUMMARY, DESCRIPTION, EXAMPLES = "a test", "Fit a few Gaussians.", "none"
SIZE = 24
NUM_GAUSSIANS = 80


@cache
def pictures_of_vera(size: int = SIZE, yaws: tuple[int, ...] = (-30, -20, -10, 0, 10, 20, 30)) -> Dataset:
    """The built-in person from several sides; every third view is held out."""
    vera = open_avatar("vera")
    renderer = CpuRenderer(size, size)
    views = []
    for number, yaw in enumerate(yaws):
        turn = torch.tensor([0.0, math.radians(yaw), 0.0])
        weights = torch.zeros(vera.rig.num_expressions)
        params = vera.rig.params_from_units(weights, turn, torch.zeros(3))
        camera = vera.default_camera(size, size)
        with torch.inference_mode():
            drawn = renderer.render(vera.pose(params), camera)
            rgb = drawn.rgb / drawn.alpha.clamp_min(1e-3)[..., None]
        picture = Picture(rgb.clone(), drawn.alpha.clone())
        split: Literal["train", "test"] = "test" if number % 3 == 1 else "train"
        views.append(View(f"yaw{yaw:+d}", camera, params, number, split, lambda picture=picture: picture))
    return Dataset(vera.rig, tuple(views), vera.rig_reference, "vera")


@dataclass(frozen=True)
class Config:
    steps: int = 6
    batch: int = 1
    rate: float = 0.02
    poison: int = -1  # the step whose loss is no number


class BoundGaussians:
    """Two phases: colours and opacities first, then positions and sizes as well, without the colours."""

    name = "bound"

    def __init__(self, dataset: Dataset, config: Config, device: torch.device) -> None:
        self.dataset, self.config = dataset, config
        generator = torch.Generator().manual_seed(0)
        n = NUM_GAUSSIANS
        faces = torch.randint(len(dataset.rig.faces), (n,), generator=generator)
        quats = torch.zeros(n, 4)
        quats[:, 0] = 1
        self.values = {
            "means": torch.zeros(n, 3),
            "log_scales": torch.full((n, 3), math.log(2.0)),
            "logit_opacities": torch.zeros(n),
            "sh": torch.rand(n, 1, 3, generator=generator),
        }
        self.quats = quats
        self.renderer = ReferenceRenderer()
        self.noisy_steps = 0
        self._bind(faces)

    def _bind(self, faces: Tensor) -> None:
        self.faces = faces
        self.shell = Avatar(
            info=AvatarInfo("bound"),
            rig=self.dataset.rig,
            bindings=(TriangleBinding(faces),),
            gaussians=self._gaussians(detached=True),
            rig_reference=self.dataset.rig_reference,
        )

    def _gaussians(self, detached: bool = False) -> Gaussians:
        values = {name: value.detach() if detached else value for name, value in self.values.items()}
        return Gaussians(quats=self.quats, antialiased=True, **values)

    def parameters(self) -> Mapping[str, ParameterGroup]:
        rates = {"means": 1.0, "log_scales": 1.0, "logit_opacities": 2.0, "sh": 2.0}
        return {n: ParameterGroup([self.values[n]], f * self.config.rate) for n, f in rates.items()}

    def phases(self) -> Sequence[Phase[View]]:
        sample = Shuffled(self.dataset.of("train"), seed=1)
        steps, batch = self.config.steps, self.config.batch
        return [
            Phase("colour", steps, sample, self.loss, batch, frozenset({"means", "log_scales"})),
            Phase("shape", steps, sample, self.loss, batch, frozenset({"sh"}), lambda p: 1 - 0.5 * p),
        ]

    def loss(self, views: Sequence[View], step: Step) -> Mapping[str, Tensor]:
        background = torch.full((3,), 0.5)
        rgb = torch.zeros(())
        for view in views:
            posed = self.shell.pose(view.params, self._gaussians())
            drawn = self.renderer.render(posed, view.camera, background)
            rgb = rgb + (drawn.rgb - view.read().over(background)).abs().mean() / len(views)
        if step.index == self.config.poison:
            rgb = rgb * math.nan
            self.config = Config(self.config.steps, self.config.batch, self.config.rate)
        return {"rgb": rgb, "size": 1e-4 * self.values["log_scales"].square().mean()}

    def render(self, view: View, background: Tensor) -> RenderOutput:
        return self.renderer.render(
            self.shell.pose(view.params, self._gaussians(detached=True)), view.camera, background
        )

    def avatar(self) -> Avatar:
        return self.shell.replace(gaussians=self._gaussians(detached=True))

    def state_dict(self) -> Mapping[str, Any]:
        return {"values": {n: v.detach() for n, v in self.values.items()}, "faces": self.faces}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.values = {name: value.clone() for name, value in state["values"].items()}
        self._bind(state["faces"])


def build(
    dataset: Dataset, config: Config, device: torch.device, *, resumes: bool, over: Over
) -> BoundGaussians:
    """As the command makes it: nothing is fitted before the first step."""
    return BoundGaussians(dataset, config, device)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    one_person.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    return one_person.run(args, __name__, {})


class NoisyBoundGaussians(BoundGaussians):
    """Draws from every source of chance there is: an exact resume must bring all of them back."""

    def loss(self, views: Sequence[View], step: Step) -> Mapping[str, Tensor]:
        import random

        import numpy as np

        chance = (
            torch.rand((), generator=step.own)
            + torch.rand((), generator=step.shared)
            + torch.rand(())
            + random.random()
            + np.random.rand()  # noqa: NPY002  the global generator is what is tested
        )
        terms = dict(super().loss(views, step))
        return {**terms, "noise": 0.02 * chance * self.values["logit_opacities"].square().mean()}


def checkpoint_in(folder: Path) -> Path:
    return folder / "run.checkpoint"
