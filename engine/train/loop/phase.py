"""What a training method is to the trainer: named parameters, phases that optimise them, an avatar."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from engine.train.data.views import View
from render.avatars.avatar import Avatar
from render.renderer import RenderOutput

Item = TypeVar("Item")  # what one phase learns from: a View, a pose without a picture, a retrieved frame, ...


@dataclass(frozen=True)
class ParameterGroup:
    """Leaf tensors that Adam moves at one rate; frozen and thawed together."""

    tensors: Sequence[Tensor]
    rate: float  # before the phase's schedule
    eps: float = 1e-15  # Adam's; tiny, because gradients of single Gaussians are
    clip_norm: float = math.inf  # the group's gradient is scaled down to this norm


@dataclass(frozen=True)
class Step:
    """Where a phase stands, and where its chance comes from; all of it survives a resume exactly."""

    index: int  # of the phase, from 0
    progress: float  # 0..1 of the phase. Schedules follow this: a time budget changes the number of steps
    shared: torch.Generator  # CPU; equal on every rank: for sampling and density control
    own: torch.Generator  # CPU; this rank's: for noise within the loss


def constant(progress: float) -> float:
    """The schedule that leaves the rates as they are."""
    return 1.0


@dataclass(frozen=True)
class Phase(Generic[Item]):
    """A stretch of training with its own data, losses and frozen parameters.

    `sample(step, count)` names the items of one step, `count` of them over all ranks; it must depend on
    nothing but the step and what the method's `state_dict` holds. `loss(items, step)` gives weighted terms,
    each a mean over this rank's items; their sum is minimised. `after_step(step)` runs behind the optimiser;
    if it changed the number of rows of a group, it returns for that group the old row of each new one
    [N_new] int64, -1 for a row without a past, so that Adam's moments follow.
    """

    name: str
    steps: int  # at full length; a time budget may shorten it
    sample: Callable[[Step, int], Sequence[Item]]
    loss: Callable[[Sequence[Item], Step], Mapping[str, Tensor]]
    batch: int = 1  # items of a step on each rank
    frozen: frozenset[str] = frozenset()  # names of parameter groups
    schedule: Callable[[float], float] = constant  # progress -> factor of every rate
    after_step: Callable[[Step], Mapping[str, Tensor] | None] | None = None


class Trainable(Protocol):
    """What the trainer's loop needs: it owns steps, optimiser, time and files, the method all the rest."""

    @property
    def name(self) -> str: ...

    def parameters(self) -> Mapping[str, ParameterGroup]:
        """Every tensor that training moves, by group; the names and their order never change."""
        ...

    def phases(self) -> Sequence[Phase[Any]]:
        """The phases in order; asked once."""
        ...

    def state_dict(self) -> Mapping[str, Any]:
        """Parameters and all else that is not derived: tensors, numbers, strings, lists and dicts of them."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`; afterwards `parameters()` is read anew."""
        ...


class Method(Trainable, Protocol):
    """One paper's system, trained on one person. Its sister is `Generalist` of engine/train/many.

    The module that `visavis train` loads for it offers `Config`, a frozen dataclass whose fields have
    defaults, and `build(dataset: Dataset, config: Config, device: torch.device, *, resumes: bool, over: Over)
    -> Method`: with `resumes` a stored state is loaded next, so nothing needs a start of its own; `over`
    (engine/progress.py) shows how far a long start is.
    """

    def render(self, view: View, background: Tensor) -> RenderOutput:
        """The person as trained so far, [3] colour behind; for previews and metrics, without gradients."""
        ...

    def avatar(self) -> Avatar:
        """The trained avatar, baked for live play; its notes are the caller's to fill in."""
        ...
