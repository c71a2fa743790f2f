"""Means over some of the rows, without reading how many there are."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the `values` [N] in `mask` [N] (bool), 0 of none.

    Indexing by the mask would have the host wait for how many there are.
    """
    return torch.where(mask, values, 0).sum() / mask.sum().clamp_min(1)
