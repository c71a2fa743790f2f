"""How much of each delta a condition asks for."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import torch
from torch import Tensor

MAX_LAYERS = 3  # two hidden ones: more cannot be baked to
MAX_HIDDEN = 64  # units of a hidden layer


@dataclass(frozen=True)
class Coefficients:
    """A condition [D] to coefficients [B]: linear, or an MLP of up to two hidden layers of up to 64 units.

    Hidden units are tanh: a network fitted over the faces somebody made must neither kink between them nor
    run away beyond them, as ReLU's would; 128 of them cost nothing. `clamped` holds the coefficients of a
    linear map in 0..1; those of an MLP are signed. Raises ValueError when the layers do not fit.
    """

    weights: tuple[Tensor, ...]  # [D, H], [H, K], .. [K, B]: one layer when linear
    biases: tuple[Tensor, ...]  # [H], [K], .. [B]
    clamped: bool = False

    def __post_init__(self) -> None:
        weights, biases = ([tuple(t.shape) for t in part] for part in (self.weights, self.biases))
        if not 1 <= len(weights) <= MAX_LAYERS or len(biases) != len(weights):
            raise ValueError(
                f"1 to {MAX_LAYERS} layers of weights and biases, got {len(weights)} and {len(biases)}"
            )
        widths = [shape[-1] if shape else 0 for shape in (weights[0][:1], *biases)]
        if weights != [*itertools.pairwise(widths)] or biases != [(width,) for width in widths[1:]]:
            raise ValueError(f"layers of weights {weights} and biases {biases} do not fit each other")
        if max(widths[1:-1], default=0) > MAX_HIDDEN:
            raise ValueError(f"a hidden layer has up to {MAX_HIDDEN} units, got {widths[1:-1]}")
        if self.clamped and len(weights) > 1:
            raise ValueError("an MLP's coefficients are not clamped")

    @classmethod
    def linear(cls, drivers: Tensor, offset: Tensor, *, clamped: bool = True) -> Coefficients:
        """`condition @ drivers + offset`, in 0..1 unless told otherwise; `drivers` [D, B], `offset` [B]."""
        return cls((drivers,), (offset,), clamped)

    @property
    def num_inputs(self) -> int:
        return int(self.weights[0].shape[0])

    @property
    def num_outputs(self) -> int:
        return int(self.weights[-1].shape[1])

    def __call__(self, condition: Tensor) -> Tensor:
        for weights, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            condition = torch.tanh(condition @ weights + bias)
        values = condition @ self.weights[-1] + self.biases[-1]
        return values.clamp(0, 1) if self.clamped else values

    def to(self, device: torch.device | str) -> Coefficients:
        weights, biases = (tuple(t.to(device) for t in part) for part in (self.weights, self.biases))
        return replace(self, weights=weights, biases=biases)
