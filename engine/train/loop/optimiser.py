"""Adam over named groups of parameters that can be frozen, clipped, and gain or lose rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engine.train.loop.phase import ParameterGroup


class Optimiser:
    """torch's Adam with the groups' names: frozen sets, rates and stored moments speak of them."""

    def __init__(self, groups: Mapping[str, ParameterGroup]) -> None:
        self.groups = dict(groups)
        for name, group in self.groups.items():
            if not group.tensors or any(not t.is_leaf or not t.is_floating_point() for t in group.tensors):
                raise ValueError(f"parameter group {name!r} needs leaf tensors of floating point")
        self._adam = torch.optim.Adam(
            [
                {"params": list(group.tensors), "lr": group.rate, "eps": group.eps}
                for group in self.groups.values()
            ],
            fused=True,
        )

    def tensors(self) -> list[Tensor]:
        """Every parameter, in order."""
        return [tensor for group in self.groups.values() for tensor in group.tensors]

    def freeze(self, names: frozenset[str]) -> None:
        """Only the other groups are differentiated and moved. Raises ValueError for an unknown name."""
        if unknown := names - self.groups.keys():
            raise ValueError(
                f"no parameter group is called {sorted(unknown)[0]!r}; there are {[*self.groups]}"
            )
        for name, group in self.groups.items():
            for tensor in group.tensors:
                tensor.grad = None
                tensor.requires_grad_(name not in names)

    def zero_grad(self) -> None:
        self._adam.zero_grad(set_to_none=True)

    def clip(self) -> float:
        """Bound each group's gradient; returns the norm of all before, infinite or NaN if any value is."""
        norms = [
            _whole(_clipped(group)).cpu()
            for group in self.groups.values()
            if any(tensor.grad is not None for tensor in group.tensors)
        ]
        return float(torch.stack(norms).norm()) if norms else 0.0

    def step(self, factor: float) -> None:
        """Move the parameters, every group's rate times `factor`."""
        for group, settings in zip(self.groups.values(), self._adam.param_groups, strict=True):
            settings["lr"] = group.rate * factor
        self._adam.step()

    def reindexed(self, groups: Mapping[str, ParameterGroup], rows: Mapping[str, Tensor]) -> Optimiser:
        """An optimiser of new parameters whose moments come from the old rows named, zero where -1."""
        new = Optimiser(groups)
        for name, group in self.groups.items():
            for old, fresh in zip(group.tensors, groups[name].tensors, strict=True):
                state = self._adam.state.get(old)
                if state:
                    new._adam.state[fresh] = _taken(state, rows.get(name))
        return new

    def state_dict(self) -> dict[str, list[dict[str, Tensor]]]:
        """Adam's moments and counts, by group and tensor; empty where it never moved."""
        return {
            name: [dict(self._adam.state.get(tensor, {})) for tensor in group.tensors]
            for name, group in self.groups.items()
        }

    def load_state_dict(self, state: Mapping[str, list[dict[str, Any]]]) -> None:
        for name, group in self.groups.items():
            for tensor, stored in zip(group.tensors, state[name], strict=True):
                if stored:
                    self._adam.state[tensor] = {
                        key: value.to(tensor.device).clone() for key, value in stored.items()
                    }
                else:
                    self._adam.state.pop(tensor, None)


def _clipped(group: ParameterGroup) -> Tensor:
    """The norm of a group's gradient before it is scaled down to its bound."""
    if math.isinf(group.clip_norm):  # torch would write every gradient times one
        return torch.nn.utils.get_total_norm([t.grad for t in group.tensors if t.grad is not None])
    return torch.nn.utils.clip_grad_norm_(list(group.tensors), group.clip_norm)


def _whole(norm: Tensor) -> Tensor:
    """Of sharded gradients (FSDP2's) the norm over all ranks."""
    whole: Tensor = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
    return whole


def _taken(state: dict[str, Tensor], rows: Tensor | None) -> dict[str, Tensor]:
    if rows is None:
        return state
    moved = dict(state)
    for key in ("exp_avg", "exp_avg_sq"):
        old = state[key]
        kept = old[rows.clamp_min(0).to(old.device)]
        kept[(rows < 0).to(old.device)] = 0
        moved[key] = kept
    return moved
