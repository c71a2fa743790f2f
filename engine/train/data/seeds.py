"""Gaussians to start a training from, where more is known of a person than the rig's mesh."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from render.gaussians import Gaussians


@dataclass(frozen=True)
class Seeds:
    """A person at rest before any picture was looked at. Raises ValueError when the parts do not fit."""

    gaussians: Gaussians  # in world axes on the rig's rest pose; N of them
    face_index: Tensor  # [N] int64, the triangle of the rig that each hangs on
    follows: Tensor  # [N] bool: expressions may change it beyond what the rig does

    def __post_init__(self) -> None:
        num = self.gaussians.num_gaussians
        if self.face_index.shape != (num,) or self.follows.shape != (num,):
            raise ValueError(
                f"{num} Gaussians with triangles {tuple(self.face_index.shape)} "
                f"and marks {tuple(self.follows.shape)}"
            )

    @property
    def num_seeds(self) -> int:
        return self.gaussians.num_gaussians

    def chosen(self, rows: Tensor) -> Seeds:
        """Some of them, by bool [N] or index, in that order."""
        return Seeds(self.gaussians.chosen(rows), self.face_index[rows], self.follows[rows])
