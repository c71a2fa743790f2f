"""What every reader of bare Gaussians gives, and the arithmetic that their formats share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.gaussians import Gaussians
from render.sh import MAX_SH_DEGREE

_EDGE = 1e-6  # what a byte of 0 or 255 is taken for, as other readers do; logits have no such end


@dataclass(frozen=True)
class Splats:
    """Gaussians as they stand in a file, broken ones among them."""

    gaussians: Gaussians
    what: str  # the format, for the avatar's provenance
    notes: tuple[str, ...] = ()  # what the file holds and the Gaussians do not


def logits(opacities: NDArray[Any]) -> Tensor:
    """Opacities in 0..1 [N] -> logits [N], finite at both ends."""
    inside = np.clip(np.asarray(opacities, np.float64), _EDGE, 1 - _EDGE)
    return torch.from_numpy(np.log(inside / (1 - inside)).astype(np.float32))


def from_smallest_three(others: NDArray[Any], largest: NDArray[Any]) -> Tensor:
    """Unit quaternions [N, 4] of three components [N, 3] in order and the place 0..3 [N] of the one left out.

    That one is the largest, and positive.
    """
    out = np.zeros((len(others), 4), np.float32)
    for place in range(4):
        rows = largest == place
        out[np.ix_(rows, [i for i in range(4) if i != place])] = others[rows]
        out[rows, place] = np.sqrt(np.maximum(0.0, 1 - (others[rows] ** 2).sum(1)))
    return torch.from_numpy(out)


def sh_of(dc: NDArray[Any], higher: NDArray[Any]) -> Tensor:
    """Coefficients [N, 3] and [N, K, 3] of any degree -> those that are drawn, [N, (degree + 1)^2, 3]."""
    drawn = (MAX_SH_DEGREE + 1) ** 2 - 1
    both = np.concatenate([dc[:, None], higher[:, :drawn]], 1)
    return torch.from_numpy(both.astype(np.float32))


def cut_note(degree: int) -> tuple[str, ...]:
    """What is said of spherical harmonics beyond the degree that is drawn."""
    if degree <= MAX_SH_DEGREE:
        return ()
    return (f"spherical harmonics of degree {degree} cut to the {MAX_SH_DEGREE} that are drawn",)
