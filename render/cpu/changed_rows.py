"""Copies of an array that differ from it in a few rows: what was copied once is used again."""

from __future__ import annotations

import weakref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MOST_SPARE = 4  # a pose being drawn, those made ahead of it, and one in hand


class ChangedRows:
    """Gives out copies of an array in which the same rows are written every time and no others.

    To copy a set's colours for every pose takes nearly as long as to pose it. A copy is given out again when
    nothing refers to its memory any more, neither the tensor nor a view of it, so whoever keeps one keeps it
    unchanged. Several threads may take copies.
    """

    def __init__(self) -> None:
        # The array, its state, and the copies nobody has: one tuple, so that threads see all or none of it.
        self._kept: tuple[Tensor, int | None, list[NDArray[np.float32]]] | None = None

    def copy(self, values: Tensor) -> Tensor:
        """Float32 of the shape of `values`, equal to it but in those rows, where anything may stand."""
        # In-place changes count; a tensor of the inference mode has no count of them, and none are expected.
        version = None if values.is_inference() else values._version
        kept = self._kept
        if kept is None or kept[0] is not values or kept[1] != version:
            kept = self._kept = values, version, []
        spare = kept[2]
        try:
            memory = spare.pop()
        except IndexError:
            memory = np.array(values.detach().numpy(), order="C")
        lent = memory[:]  # torch holds this view for as long as any tensor has the memory
        weakref.finalize(lent, _give_back, spare, memory).atexit = False
        return torch.from_numpy(lent)


def _give_back(spare: list[NDArray[np.float32]], memory: NDArray[np.float32]) -> None:
    if len(spare) < _MOST_SPARE:
        spare.append(memory)
