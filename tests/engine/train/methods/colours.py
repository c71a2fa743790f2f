"""A whole training method in one file: one surfel on every triangle, of which only the colour is learned."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from engine.progress import Over
from engine.train.command import one_person
from engine.train.data.views import Dataset, View
from engine.train.loop.phase import ParameterGroup, Phase, Step
from engine.train.loop.sampling import Shuffled
from engine.train.losses.photometric import photometric
from render.avatars.avatar import Avatar, AvatarInfo
from render.avatars.bindings import TriangleBinding
from render.gaussians import Gaussians
from render.renderer import RenderOutput
from render.sh import SH_C0
from render.training_renderer import training_renderer

SUMMARY = "colours only"
DESCRIPTION = "Learn the colours of surfels that lie on the rig's triangles."
EXAMPLES = "visavis train colours me.data -o me.avatar --bright --consent ..."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bright", action="store_true", help="begin with white instead of grey")
    one_person.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    return one_person.run(args, __name__, {"start": 1.0} if args.bright else {})


@dataclass(frozen=True)
class Config:
    steps: int = 100
    rate: float = 0.05
    start: float = 0.5
    seed: int = 0


class Colours:
    name = "colours"

    def __init__(self, dataset: Dataset, config: Config, device: torch.device) -> None:
        self.dataset, self.config, self.device = dataset, config, device
        count = len(dataset.rig.faces)
        self.colours = torch.full((count, 3), config.start, device=device)
        avatar = Avatar(
            info=AvatarInfo("colours"),
            rig=dataset.rig,
            bindings=(TriangleBinding(torch.arange(count)),),
            gaussians=Gaussians(
                means=torch.zeros(count, 3),
                quats=torch.tensor([1.0, 0, 0, 0]).expand(count, 4),
                log_scales=torch.full((count, 2), -0.5),
                logit_opacities=torch.full((count,), 3.0),
                sh=torch.zeros(count, 1, 3),
            ),
            rig_reference=dataset.rig_reference,
        )
        self.shell = avatar.to(device)

    def _gaussians(self) -> Gaussians:
        return replace(self.shell.gaussians, sh=((self.colours - 0.5) / SH_C0)[:, None])

    def parameters(self) -> Mapping[str, ParameterGroup]:
        return {"colours": ParameterGroup([self.colours], self.config.rate)}

    def phases(self) -> Sequence[Phase[View]]:
        sample = Shuffled(self.dataset.of("train"), self.config.seed)
        return [Phase("colours", self.config.steps, sample, self._loss)]

    def _loss(self, views: Sequence[View], step: Step) -> Mapping[str, Tensor]:
        background = torch.rand(3, generator=step.own)
        losses = [
            photometric(self._draw(view, background).rgb, view.read().over(background), 0.2) for view in views
        ]
        return {"rgb": torch.stack(losses).mean()}

    def _draw(self, view: View, background: Tensor) -> RenderOutput:
        renderer = training_renderer(self.device, view.camera.width, view.camera.height)
        return renderer.render(self.shell.pose(view.params, self._gaussians()), view.camera, background)

    @torch.no_grad()
    def render(self, view: View, background: Tensor) -> RenderOutput:
        return self._draw(view, background)

    def avatar(self) -> Avatar:
        return self.shell.replace(gaussians=self._gaussians())

    def state_dict(self) -> Mapping[str, Any]:
        return {"colours": self.colours.detach()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.colours = state["colours"].clone()


def build(dataset: Dataset, config: Config, device: torch.device, *, resumes: bool, over: Over) -> Colours:
    return Colours(dataset, config, device)
