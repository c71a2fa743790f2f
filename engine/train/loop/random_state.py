"""Every source of chance a training run draws from: seeded together, kept together, put back together."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


class RandomState:
    """The global generators of Python, NumPy and torch, and the two that a `Step` carries.

    `shared` is seeded alike on every rank, all others by rank as well.
    """

    def __init__(self, seed: int, rank: int = 0) -> None:
        self.shared = torch.Generator().manual_seed(seed)
        self.own = torch.Generator().manual_seed(_mixed(seed, rank, 1))
        random.seed(_mixed(seed, rank, 2))
        np.random.seed(_mixed(seed, rank, 3) % 2**32)  # noqa: NPY002  libraries draw from the global one
        torch.manual_seed(_mixed(seed, rank, 4))  # every device

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and lists only."""
        version, words, gauss = random.getstate()
        name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
        return {
            "shared": self.shared.get_state(),
            "own": self.own.get_state(),
            "python": [version, list(words), gauss],
            "numpy": [str(name), torch.from_numpy(np.asarray(keys, np.int64)), position, has_gauss, cached],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.shared.set_state(state["shared"])
        self.own.set_state(state["own"])
        version, words, gauss = state["python"]
        random.setstate((version, tuple(words), gauss))
        name, keys, position, has_gauss, cached = state["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
        torch.set_rng_state(state["torch"])
        if state["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda"][: torch.cuda.device_count()])

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Whatever the block draws, training goes on as if it had not run."""
        state = self.state_dict()
        try:
            yield
        finally:
            self.load_state_dict(state)


def _mixed(seed: int, rank: int, stream: int) -> int:
    """One seed per rank and stream, unrelated to each other."""
    return int(np.random.SeedSequence((seed, rank, stream)).generate_state(1, np.uint64)[0] >> 1)
