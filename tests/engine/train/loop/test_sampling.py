"""Shuffled items: each once a round, whatever the step's size, and named by the step alone."""

from __future__ import annotations

import torch

from engine.train.loop.phase import Step
from engine.train.loop.sampling import Shuffled


def step(index: int) -> Step:
    return Step(index, 0.0, torch.Generator(), torch.Generator())


def test_every_round_shows_everything_once_in_another_order() -> None:
    sample = Shuffled(range(10), seed=3)
    drawn = [item for index in range(10) for item in sample(step(index), 3)]
    rounds = [drawn[i : i + 10] for i in (0, 10, 20)]
    assert all(sorted(lap) == list(range(10)) for lap in rounds)
    assert len({tuple(lap) for lap in rounds}) == 3


def test_any_step_can_be_asked_for_first() -> None:
    in_order = Shuffled(range(7), seed=0)
    expected = [in_order(step(index), 2) for index in range(12)]
    for index in reversed(range(12)):
        assert Shuffled(range(7), seed=0)(step(index), 2) == expected[index]
    assert [Shuffled(range(7), seed=1)(step(index), 2) for index in range(12)] != expected
