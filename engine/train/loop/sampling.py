"""Which items a step learns from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import torch

from engine.train.loop.phase import Step

Item = TypeVar("Item")


class Shuffled(Generic[Item]):
    """All items once, in a new order every round. Nothing to store: step and seed name the items.

    A `Phase.sample` for phases whose number of items per step does not change.
    """

    def __init__(self, items: Sequence[Item], seed: int) -> None:
        if not items:
            raise ValueError("there is nothing to sample from")
        self.items = items
        self.seed = seed

    def __call__(self, step: Step, count: int) -> list[Item]:
        chosen = []
        first = step.index * count
        for number in range(first, first + count):
            lap, place = divmod(number, len(self.items))
            chosen.append(self.items[self._order(lap)[place]])
        return chosen

    def _order(self, lap: int) -> list[int]:
        if getattr(self, "_lap", None) != lap:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + lap)
            self._lap, self._places = lap, torch.randperm(len(self.items), generator=generator).tolist()
        return self._places
