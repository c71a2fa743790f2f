"""What training was like: every step's losses, and the held-out quality along the way."""

from __future__ import annotations

import math
from collections.abc import Mapping
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
