"""A clip's rig parameters as rows of plain numbers, which a solver can move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from render.rigs.params import RigParams
from render.rigs.rig import Rig

Array = NDArray[np.float32]

TURNING = ("root", "neck", "head")  # joints whose turns are solved for
# Standard deviations of what landmarks leave open: a turn in radians, a shift in metres, a unit's weight.
_TURN, _SHIFT, _UNIT = 0.10, 0.03, 0.08
_FIXED = 1e-6
_GAZE = "eyeLook"  # the irises decide those


class PoseNumbers:
    """`values` [T, K]: turns of the joints in `TURNING` that the rig has, translation, units."""

    def __init__(self, rig: Rig, params: Sequence[RigParams]) -> None:
        self.rig, self._given = rig, list(params)
        self._joints = [rig.joint_names.index(n) for n in TURNING if n in rig.joint_names] or [0]
        self.num_turns = 3 * len(self._joints)
        rows = [
            torch.cat([p.pose[self._joints].flatten(), p.translation, p.expression]).numpy() for p in params
        ]
        self.start: Array = np.stack(rows).astype(np.float32)
        self.values = self.start.copy()
        unit = [_FIXED if name.startswith(_GAZE) else _UNIT for name in rig.expression_names]
        self.sigma = np.array([_TURN] * self.num_turns + [_SHIFT] * 3 + unit)
        units = self.start[:, self.num_poses :]
        self._low, self._high = np.minimum(units.min(0), 0), np.maximum(units.max(0), 1)

    @property
    def num_poses(self) -> int:
        """How many of a row's numbers are the pose; the units follow."""
        return self.num_turns + 3

    def move(self, row: int, change: Array) -> None:
        """Add a change [K] to a frame; units stay where they mean something."""
        moved = self.values[row] + change
        moved[self.num_poses :] = np.clip(moved[self.num_poses :], self._low, self._high)
        self.values[row] = moved

    def batch(self, values: Array, rows: Sequence[int]) -> RigParams:
        """Parameters [B] of rows of numbers [B, K]; what they do not hold is as in the frames `rows`."""
        pose = torch.stack([self._given[row].pose for row in rows])
        numbers = torch.from_numpy(np.ascontiguousarray(values, np.float32))
        pose[:, self._joints] = numbers[:, : self.num_turns].unflatten(1, (-1, 3))
        shift = numbers[:, self.num_turns : self.num_poses]
        return RigParams(numbers[:, self.num_poses :].clone(), pose, shift.clone())

    def params(self, rows: Sequence[int]) -> RigParams:
        """Parameters of some frames, as a batch."""
        return self.batch(self.values[list(rows)], rows)

    def one(self, row: int) -> RigParams:
        """Parameters of one frame, without a batch dimension."""
        batch = self.params([row])
        return RigParams(batch.expression[0], batch.pose[0], batch.translation[0])

    def all(self) -> list[RigParams]:
        """Parameters of every frame."""
        return [self.one(row) for row in range(len(self.values))]
