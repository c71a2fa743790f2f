"""Which mixtures of units the bases of a linear deformation begin with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.train.data.views import View
from render.rigs.rig import Rig

_EQUALISED = 0.5  # power of a unit's reach that counts: lids move less than jaws and show as much
_LEAST_WEIGHT = 0.3  # a unit seen at most this far keeps this as its full weight


def first_drivers(rig: Rig, views: Sequence[View], rows: int) -> Tensor:
    """Drivers [E, B] of coefficients that are linear in the expression; training moves them from here.

    The principal directions of what the rig's units do to its vertices, of those units that any view shows:
    units that move the same skin alike share a basis. Columns are scaled so that the largest entry is 1.
    """
    shown = torch.stack([view.params.expression for view in views]).abs().amax(0)
    moved = rig.expression_basis * shown[:, None]
    reach = moved.norm(dim=1)
    # Units without a mesh motion of their own (a gaze turns joints) still count with what their lids do.
    evened = moved / reach.clamp_min(1e-9)[:, None] * reach[:, None] ** _EQUALISED
    count = min(rows, int((shown > 0).sum()))
    vectors = torch.linalg.eigh((evened @ evened.T).double())[1].flip(1)[:, :count].float()
    drivers = vectors / shown.clamp_min(_LEAST_WEIGHT)[:, None]
    signs = torch.sign(drivers.sum(0))
    return drivers * torch.where(signs == 0, 1.0, signs) / drivers.abs().amax(0).clamp_min(1e-9)
