"""A tiny generalist: a network that sees a person's picture and says in which colours the Gaussians are."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from engine.train.command import many_people
from engine.train.data.views import Dataset, Picture, View
from engine.train.loop.phase import ParameterGroup, Phase, Step
from engine.train.many.people import Glimpse, Glimpses
from render.avatars.avatar import Avatar, AvatarInfo
from render.avatars.bindings import TriangleBinding
from render.avatars.library import open_avatar
from render.gaussians import Gaussians
from render.reference.renderer import ReferenceRenderer
from render.sh import SH_C0

SUMMARY, DESCRIPTION, EXAMPLES = "tints", "Learn to see in which colours somebody is.", "none"
SIZE = 16
COUNT = 60

add_arguments = many_people.add_arguments


def run(args: argparse.Namespace) -> int:
    return many_people.run(args, __name__)


@cache
def grey() -> Avatar:
    """Gaussians on some of the built-in head's triangles."""
    vera = open_avatar("vera")
    faces = torch.randint(len(vera.rig.faces), (COUNT,), generator=torch.Generator().manual_seed(0))
    gaussians = Gaussians(
        means=torch.zeros(COUNT, 3),
        quats=torch.tensor([1.0, 0, 0, 0]).expand(COUNT, 4),
        log_scales=torch.full((COUNT, 3), math.log(4.0)),
        logit_opacities=torch.full((COUNT,), 2.0),
        sh=torch.zeros(COUNT, 1, 3),
    )
    binding, reference = (TriangleBinding(faces),), vera.rig_reference
    return Avatar(AvatarInfo("grey"), vera.rig, binding, gaussians, rig_reference=reference)


def coloured(gaussians: Gaussians, colours: Tensor) -> Gaussians:
    """With colours [N, 3] from all sides."""
    return replace(gaussians, sh=((colours - 0.5) / SH_C0)[:, None])


def replace_colours(avatar: Avatar, colours: Tensor) -> Avatar:
    return avatar.replace(gaussians=coloured(avatar.gaussians, colours))


def person_of(seed: int) -> Dataset:
    """Two pictures of somebody with a left and a right colour of their own."""
    generator = torch.Generator().manual_seed(seed)
    avatar = replace_colours(grey(), torch.rand(3, generator=generator).expand(COUNT, 3))
    views = []
    for number, yaw in enumerate((-15, 15)):
        turn = torch.tensor([0.0, math.radians(yaw), 0.0])
        params = avatar.rig.neutral_params()
        pose = params.pose.clone()
        pose[0] = turn
        params = params.replace(pose=pose)
        camera = avatar.default_camera(SIZE, SIZE)
        with torch.inference_mode():
            out = ReferenceRenderer().render(avatar.pose(params), camera)
            rgb = out.rgb / out.alpha.clamp_min(1e-3)[..., None]
        picture = Picture(rgb.clone(), out.alpha.clone())
        views.append(View(f"yaw{yaw:+d}", camera, params, number, "train", lambda picture=picture: picture))
    return Dataset(avatar.rig, tuple(views), avatar.rig_reference, f"person{seed}")


@dataclass(frozen=True)
class Config:
    steps: int = 40
    batch: int = 4
    rate: float = 0.02
    halt_at: int = -1  # the step that fails, as a killed run's does


class Halted(Exception):
    pass


class Tints:
    """The network's input is the person's mean colour before black, and how much of the picture they fill."""

    name = "tints"

    def __init__(self, people: Sequence[Dataset], config: Config, device: torch.device) -> None:
        self.config, self.device = config, device
        self._people = people
        self.network = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3)).to(device)

    def parameters(self) -> Mapping[str, ParameterGroup]:
        first, _, last = self.network
        rate = self.config.rate
        return {
            "first": ParameterGroup(list(first.parameters()), rate),
            "last": ParameterGroup(list(last.parameters()), rate, clip_norm=10.0),
        }

    def phases(self) -> Sequence[Phase[Glimpse]]:
        config = self.config
        sample = Glimpses(self._people, seed=3)
        return [
            Phase("last layer", config.steps // 4, sample, self._loss, config.batch, frozenset({"first"})),
            Phase("all", config.steps, sample, self._loss, config.batch),
        ]

    def colours(self, picture: Picture) -> Tensor:
        """[3] of the person in a picture."""
        seen = picture.over(torch.zeros(3)).mean((0, 1))
        return torch.sigmoid(self.network(torch.cat([seen, picture.mask.mean()[None]])))

    def _loss(self, glimpses: Sequence[Glimpse], step: Step) -> Mapping[str, Tensor]:
        if step.index == self.config.halt_at:
            raise Halted
        losses = []
        for glimpse in glimpses:
            shown, other = glimpse.views(2)
            drawn = coloured(grey().gaussians, self.colours(shown.read()).expand(COUNT, 3))
            background = torch.full((3,), 0.5)
            out = ReferenceRenderer().render(grey().pose(other.params, drawn), other.camera, background)
            losses.append((out.rgb - other.read().over(background)).abs().mean())
        return {"rgb": torch.stack(losses).mean()}

    def apply(self, person: Dataset) -> Avatar:
        return replace_colours(grey(), self.colours(person.of("train")[0].read()).expand(COUNT, 3))

    def state_dict(self) -> Mapping[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing beside the network."""


def build(people: Sequence[Dataset], config: Config, device: torch.device) -> Tints:
    return Tints(people, config, device)
