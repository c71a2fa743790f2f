"""The expression units that carry baked and learned changes of surfels: few, so that play stays cheap."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.train.data.views import View
from render.rigs.rig import Rig

_LEAST_WEIGHT = 0.3  # a unit seen at most this far keeps this as its full weight


def choose_drivers(rig: Rig, views: Sequence[View], rows: int) -> Tensor:
    """Drivers [E, B] of linear coefficients: one unit to a row, full at the largest weight in the views.

    The units whose motion varies most in the views come first; where the views show no motion (one moment),
    those that move the rig most.
    """
    reach_m = rig.expression_basis.unflatten(-1, (-1, 3)).norm(dim=-1).mean(1)
    seen = torch.stack([view.params.expression for view in views]) if views else torch.zeros(1, len(reach_m))
    spread = seen.std(0, correction=0)
    moves = bool((spread * reach_m).sum() > 1e-3 * reach_m.sum())
    order = ((spread if moves else 1) * reach_m).argsort(descending=True)[: min(rows, len(reach_m))]
    full = seen.amax(0).clamp_min(_LEAST_WEIGHT) if moves else torch.ones(len(reach_m))
    drivers = torch.zeros(rig.num_expressions, len(order))
    drivers[order, torch.arange(len(order))] = 1 / full[order]
    return drivers
