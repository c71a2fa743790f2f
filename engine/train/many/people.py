"""Datasets of many people: too many to hold, so each is read when it is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import overload

import torch

from engine.train.data.dataset import read_dataset
from engine.train.data.views import Dataset, View
from engine.train.loop.phase import Step
from engine.train.loop.sampling import Shuffled

_MOST_HELD = 64  # rigs take megabytes; pictures are read anew


class StoredPeople(Sequence[Dataset]):
    """Folders that `visavis train prepare` made, one person each."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)
        self._read = lru_cache(_MOST_HELD)(read_dataset)

    def __len__(self) -> int:
        return len(self.folders)

    @overload
    def __getitem__(self, index: int) -> Dataset: ...
    @overload
    def __getitem__(self, index: slice) -> StoredPeople: ...
    def __getitem__(self, index: int | slice) -> Dataset | StoredPeople:
        if isinstance(index, slice):
            return StoredPeople(self.folders[index])
        return self._read(self.folders[index])


@dataclass(frozen=True)
class Glimpse:
    """Some views of one person; read by the rank that learns from them."""

    people: Sequence[Dataset]
    number: int  # of the person
    seed: int  # chooses the views

    @property
    def person(self) -> Dataset:
        return self.people[self.number]

    def views(self, count: int) -> list[View]:
        """Different training views, as many as there are up to `count`."""
        views = self.person.of("train")
        generator = torch.Generator().manual_seed(self.seed)
        return [views[i] for i in torch.randperm(len(views), generator=generator)[:count].tolist()]


class Glimpses:
    """A `Phase.sample`: all people once, in a new order every round, each time by other views."""

    def __init__(self, people: Sequence[Dataset], seed: int) -> None:
        self._people = people
        self._numbers = Shuffled(range(len(people)), seed)

    def __call__(self, step: Step, count: int) -> list[Glimpse]:
        seeds = torch.randint(2**62, (count,), generator=step.shared).tolist()
        numbers = self._numbers(step, count)
        return [Glimpse(self._people, number, seed) for number, seed in zip(numbers, seeds, strict=True)]
