"""Hair long enough to lie on the shoulders: its ends stay there while the head turns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render.making.people.fields import smoothstep
from render.making.people.scene.body import Body, HeadTurn
from render.making.people.scene.strands.strand import Strands

# Heights from the eyes' midpoint between which hair passes from the head to the shoulders, metres.
_HEAD_M, _SHOULDERS_M = -0.08, -0.22
_LEFT = 0.15  # share of the head's turn that ends on the shoulders still make


@dataclass(frozen=True)
class HangingStrands:
    """Strands and how far each node follows the head."""

    rest: Strands
    shares: NDArray[np.float32]  # [N, K]

    @classmethod
    def of(cls, strands: Strands, body: Body) -> HangingStrands | None:
        """None where no strand reaches the shoulders: such hair is rigid."""
        below = strands.points[:, :, 1] - body.eye_midpoint[1]
        if below.min() > _SHOULDERS_M:
            return None
        shares = _LEFT + (1 - _LEFT) * smoothstep(_SHOULDERS_M, _HEAD_M, below)
        # A node follows no more than those before it.
        return cls(strands, np.minimum.accumulate(shares, 1).astype(np.float32))

    def on(self, turn: HeadTurn) -> NDArray[np.float32]:
        """Their points [N, K, 3] with the head turned, metres."""
        points = self.rest.points.astype(float)
        turned = turn.of_head(points.reshape(-1, 3)).reshape(points.shape)
        return np.asarray(points + self.shares[:, :, None] * (turned - points), np.float32)
