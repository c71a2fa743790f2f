"""What training was like: every step's losses, the held-out quality along the way, and early warnings."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import torch


class History:
    """Loss terms of every step by phase, and (steps of all phases, PSNR in dB) of held-out previews."""

    def __init__(self) -> None:
        self.losses: dict[str, dict[str, list[float]]] = {}  # phase -> term -> steps; NaN where it was absent
        self.totals: dict[str, list[float]] = {}  # phase -> steps
        self.held_out: list[tuple[int, float]] = []

    def add(self, phase: str, losses: Mapping[str, float]) -> None:
        """Note one step."""
        totals = self.totals.setdefault(phase, [])
        terms = self.losses.setdefault(phase, {})
        for name in losses:
            terms.setdefault(name, [math.nan] * len(totals))
        for name, values in terms.items():
            values.append(losses.get(name, math.nan))
        totals.append(sum(losses.values()))

    def state_dict(self) -> dict[str, Any]:
        """Tensors and lists only."""
        return {
            "losses": {
                phase: {name: torch.tensor(values, dtype=torch.float64) for name, values in terms.items()}
                for phase, terms in self.losses.items()
            },
            "totals": {p: torch.tensor(values, dtype=torch.float64) for p, values in self.totals.items()},
            "held_out": [list(pair) for pair in self.held_out],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.losses = {
            phase: {name: values.tolist() for name, values in terms.items()}
            for phase, terms in state["losses"].items()
        }
        self.totals = {phase: values.tolist() for phase, values in state["totals"].items()}
        self.held_out = [(int(step), float(psnr)) for step, psnr in state["held_out"]]


class LossWatch:
    """Tells of a loss that climbs instead of falling.

    Compares the mean loss of the latest `window` steps with the lowest such mean of the phase.
    Windows, because steps with different pictures differ more than training changes.
    """

    def __init__(self, window: int, rise: float = 1.5) -> None:
        self.window = window
        self.rise = rise
        self.reset()

    def reset(self, past: Iterable[float] = ()) -> None:
        """Begin a phase, or go on behind the losses of its `past` steps."""
        self._latest: deque[float] = deque(maxlen=self.window)
        self._lowest = float("inf")
        self._warned = False
        for loss in past:
            self.see(loss)

    def see(self, loss: float) -> str | None:
        """Take one step's loss; returns one line of warning, once a phase, when it climbs."""
        self._latest.append(loss)
        if len(self._latest) < self.window:
            return None
        mean = sum(self._latest) / self.window
        self._lowest = min(self._lowest, mean)
        # Relative to a magnitude, because a loss with a regulariser may be negative.
        climbed = mean - self._lowest > (self.rise - 1) * max(abs(self._lowest), 1e-12)
        if self._warned or not climbed:
            return None
        self._warned = True
        return (
            f"the loss is climbing: {mean:.4g} over the last {self.window} steps, {self._lowest:.4g} at its "
            "best; if it goes on, start again with a lower rate"
        )
