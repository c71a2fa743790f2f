"""Adam by named groups: frozen, clipped, at rates of their own, with rows that come and go."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from engine.train.loop.optimiser import Optimiser
from engine.train.loop.phase import ParameterGroup


def leaf(rows: int) -> Tensor:
    return torch.ones(rows, 3)


def quadratic(*tensors: Tensor) -> None:
    weights = torch.arange(1.0, 4.0)
    sum(((tensor * weights).square().sum() for tensor in tensors), torch.zeros(())).backward()


def test_groups_move_at_their_rates_and_frozen_ones_stay() -> None:
    a, b, c = leaf(2), leaf(2), leaf(2)
    optimiser = Optimiser(
        {"a": ParameterGroup([a], 0.1), "b": ParameterGroup([b], 0.01), "c": ParameterGroup([c], 0.1)}
    )
    optimiser.freeze(frozenset({"c"}))
    quadratic(a, b, c)
    optimiser.step(0.5)
    # The first step of Adam is one rate long, whatever the gradient.
    torch.testing.assert_close(a, torch.full((2, 3), 0.95))
    torch.testing.assert_close(b, torch.full((2, 3), 0.995))
    assert torch.equal(c, torch.ones(2, 3))
    assert c.grad is None
    with pytest.raises(ValueError, match="'hair'"):
        optimiser.freeze(frozenset({"hair"}))


def test_clip_bounds_one_group_and_tells_of_nan() -> None:
    a, b = leaf(1), leaf(1)
    optimiser = Optimiser({"a": ParameterGroup([a], 0.1, clip_norm=0.5), "b": ParameterGroup([b], 0.1)})
    optimiser.freeze(frozenset())
    quadratic(a, b)
    one = 2 * math.sqrt(1 + 16 + 81)  # of the gradient 2 w^2
    assert optimiser.clip() == pytest.approx(math.sqrt(2) * one, rel=1e-6)
    assert float(a.grad.norm()) == pytest.approx(0.5, rel=1e-5)  # type: ignore[union-attr]
    assert float(b.grad.norm()) == pytest.approx(one, rel=1e-6)  # type: ignore[union-attr]
    assert b.grad is not None
    b.grad[0, 0] = math.nan
    assert math.isnan(optimiser.clip())


def test_rows_keep_their_moments_when_others_come_and_go() -> None:
    """Three rows trained, the second dropped, one added: the kept two move as if nothing had happened."""
    together = leaf(3)
    reference = Optimiser({"a": ParameterGroup([together], 0.1)})
    changing = leaf(3)
    optimiser = Optimiser({"a": ParameterGroup([changing], 0.1)})
    for each in (reference, optimiser):
        each.freeze(frozenset())
    for tensor, adam in ((together, reference), (changing, optimiser)):
        for _ in range(3):
            adam.zero_grad()
            quadratic(tensor)
            adam.step(1.0)
    rows = torch.tensor([0, 2, -1])
    changed = torch.cat([changing.detach()[[0, 2]], torch.ones(1, 3)])
    groups = {"a": ParameterGroup([changed], 0.1)}
    optimiser = optimiser.reindexed(groups, {"a": rows})
    optimiser.freeze(frozenset())
    for tensor, adam in ((together, reference), (changed, optimiser)):
        adam.zero_grad()
        quadratic(tensor)
        adam.step(1.0)
    assert torch.equal(changed[:2], together[[0, 2]])
    (state,) = optimiser.state_dict()["a"]
    # A new row's first moment is (1 - beta1) of its first gradient, 2 w^2.
    torch.testing.assert_close(state["exp_avg"][2], 0.1 * 2 * torch.tensor([1.0, 4.0, 9.0]))
