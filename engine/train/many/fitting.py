"""Trains a generalist's network on one process or many: the trainer's loop over torch's own data parallelism.

Replicated (DDP), or, where a copy on every GPU would not fit, sharded (FSDP2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from engine.train.loop.distributed import Ranks
from engine.train.loop.optimiser import Optimiser
from engine.train.loop.phase import Phase, Step
from engine.train.loop.trainer import Trainer, TrainerConfig
from engine.train.many.checkpoint import Shards, write_shards
from engine.train.many.generalist import Generalist

Loss = Callable[[Sequence[Any], Step], Mapping[str, Tensor]]


class Fitting(Trainer):
    """`Trainer` for a `Generalist`; `checkpoint` is a folder.

    With `shard`, each of several ranks holds its share of every weight of the network, moments included;
    without, all of them. Other arguments as `Trainer` has them.
    """

    def __init__(
        self,
        method: Generalist,
        config: TrainerConfig,
        checkpoint: Path,
        *,
        shard: bool = False,
        ranks: Ranks | None = None,
        **others: Any,
    ) -> None:
        ranks = ranks or Ranks()
        self._network = network = method.network
        self._device = next(network.parameters()).device
        ranks.spread([*network.parameters(), *network.buffers()])
        self._sharded = shard and ranks.size > 1
        if self._sharded:
            fully_shard(network, mesh=init_device_mesh(self._device.type, (ranks.size,)))
        self._loss: nn.Module | None = None
        super().__init__(method, config, checkpoint, ranks=ranks, **others)

    def _start_alike(self) -> None:
        """Before they were sharded, all ranks were."""

    def _enter(self, phase: Phase[Any]) -> None:
        super()._enter(phase)
        loss = _PhaseLoss(self._network, phase.loss)
        # Frozen tensors must be so when the replicas are made: each phase makes its own.
        several = self.ranks.size > 1 and not self._sharded
        self._loss = DistributedDataParallel(loss) if several else loss

    def _terms(self, phase: Phase[Any], items: Sequence[Any], step: Step) -> Mapping[str, Tensor]:
        assert self._loss is not None
        terms: Mapping[str, Tensor] = self._loss(items, step)
        return terms

    def _agree(self, signals: Sequence[float]) -> list[float]:
        return self.ranks.sum(signals, self._device)  # torch has averaged the gradients already

    def _store(self, state: dict[str, Any]) -> None:
        run = {name: value for name, value in state.items() if name != "optimiser"}
        tensors = {"network": self._network.state_dict(), "optimiser": _numbered(state["optimiser"])}
        write_shards(self.checkpoint, tensors, run, self.ranks)

    def _stored(self) -> dict[str, Any]:
        shards = Shards(self.checkpoint)
        network = self._network.state_dict()
        moments = _moments_like(self._optimiser, shards.names)
        shards.read_into({"network": network, "optimiser": _numbered(moments)}, self.ranks)
        self._network.load_state_dict(network)
        return {**shards.run, "optimiser": moments}


class _PhaseLoss(nn.Module):
    """A phase's loss as a module, whose call torch's data parallelism may surround."""

    def __init__(self, network: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.network = network
        self._loss = loss

    def forward(self, items: Sequence[Any], step: Step) -> dict[str, Tensor]:
        return dict(self._loss(items, step))


def _numbered(groups: Mapping[str, list[dict[str, Any]]]) -> dict[str, dict[str, dict[str, Any]]]:
    return {
        name: {str(number): state for number, state in enumerate(states)} for name, states in groups.items()
    }


def _moments_like(optimiser: Optimiser, names: set[str]) -> dict[str, list[dict[str, Any]]]:
    """Room for Adam's stored moments, shaped and sharded as the weights are; none where it never moved."""
    return {
        name: [
            {
                key: torch.zeros((), device=tensor.device) if key == "step" else torch.empty_like(tensor)
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"optimiser.{name}.{number}.{key}" in names
            }
            for number, tensor in enumerate(group.tensors)
        ]
        for name, group in optimiser.groups.items()
    }
