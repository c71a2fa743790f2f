"""Data parallel over the processes that torchrun starts: each takes its share of a step's items.

torchrun --nproc-per-node 4 -m engine.cli train sage DATA -o me.avatar
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """This process among its peers; a run without torchrun is rank 0 of 1."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the files and talks."""
        return self.rank == 0

    def share(self, items: Sequence[Any]) -> Sequence[Any]:
        """This rank's items of a step."""
        return items[self.rank :: self.size]

    def average_gradients(self, tensors: Sequence[Tensor], signals: Sequence[float]) -> list[float]:
        """Replace every gradient by the mean over the ranks; returns the `signals` summed over them.

        One message for all. A gradient that no rank has stays None, so that Adam skips it everywhere.
        """
        if self.size == 1:
            return [float(signal) for signal in signals]
        device = tensors[0].device
        present = torch.tensor([t.grad is not None for t in tensors], dtype=torch.float32, device=device)
        head = torch.tensor(list(signals), dtype=torch.float32, device=device)
        parts = [torch.zeros_like(t) if t.grad is None else t.grad for t in tensors]
        flat = torch.cat([present, head, *(part.flatten().to(torch.float32) for part in parts)])
        dist.all_reduce(flat)
        held = flat[: len(tensors)].tolist()
        summed = flat[len(tensors) : len(tensors) + len(head)].tolist()
        start = len(tensors) + len(head)
        for tensor, anyone in zip(tensors, held, strict=True):
            stop = start + tensor.numel()
            if anyone:
                tensor.grad = (flat[start:stop] / self.size).view_as(tensor).to(tensor.dtype)
            start = stop
        return summed

    def sum(self, signals: Sequence[float], device: torch.device) -> list[float]:
        """Numbers summed over the ranks, by a message that `device` takes part in."""
        summed = torch.tensor(list(signals), dtype=torch.float64, device=device)
        if self.size > 1:
            dist.all_reduce(summed)
        return [float(value) for value in summed.tolist()]

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the ranks."""
        if self.size == 1:
            return values
        summed = values.detach().clone()
        dist.all_reduce(summed)
        return summed / self.size

    def spread(self, tensors: Sequence[Tensor]) -> None:
        """Give every rank the first one's values."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor.data, src=0)

    def gather(self, state: dict[str, Any]) -> list[dict[str, Any]]:
        """Every rank's state, on the first; elsewhere empty."""
        if self.size == 1:
            return [state]
        states: list[Any] | None = [None] * self.size if self.first else None
        dist.gather_object(state, states, dst=0)
        return states or []

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def joined_ranks(device: torch.device) -> Iterator[Ranks]:
    """The ranks of torchrun, with gloo on CPUs and NCCL on GPUs; one alone without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks()
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()
