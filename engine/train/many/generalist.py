"""What is trained on many people and applied to one: a network, its phases, and what it makes of a person."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from engine.train.data.views import Dataset
from engine.train.loop.phase import Trainable
from render.avatars.avatar import Avatar


class Generalist(Trainable, Protocol):
    """The sister of `Method`, whose avatar is of the person it was trained on.

    Phases are those of any training; their items are whatever `sample` names, such as the `Glimpse`s of
    engine/train/many/people.py. A phase's loss uses every tensor of the network that the phase does not
    freeze. `parameters` are the network's own; `state_dict` holds what is not derived beside them. Neither
    `after_step` nor anything else changes the tensors' shapes.

    The module that `visavis train` loads for it offers `Config`, a frozen dataclass whose fields have
    defaults, and `build(people: Sequence[Dataset], config: Config, device: torch.device) -> Generalist`,
    where nobody is given for one that is only applied.
    """

    @property
    def network(self) -> nn.Module:
        """All that is learned. It is called as a whole, so that its weights may lie on several devices."""
        ...

    def apply(self, person: Dataset) -> Avatar:
        """The avatar of somebody who was not trained on, from the training pictures: one is enough.

        `person` is what `visavis train prepare` makes of a picture: the pixels, and the rig, its pose and the
        camera in them.
        """
        ...
