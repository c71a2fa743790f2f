"""What a deformation follows, as one vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from render.deformations.head_pose import head_pose
from render.rigs.params import RigParams
from render.rigs.rig import Rig

HEAD_POSE = 6  # numbers: rotation vector, translation


@dataclass(frozen=True)
class Condition:
    """Expression weights [E], then the head's pose [6] and named controls [C] where a deformation has them.

    Expression weights count with their sign, unclamped. Controls are the avatar's own switches and sliders,
    such as glasses or a mood: zero is off. Raises ValueError for controls without a name of their own.
    """

    head_pose: bool = False
    controls: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if "" in self.controls or len(set(self.controls)) < len(self.controls):
            raise ValueError(f"every control needs a name of its own, got {self.controls}")

    def size(self, num_expressions: int) -> int:
        return num_expressions + HEAD_POSE * self.head_pose + len(self.controls)

    def __call__(self, rig: Rig, params: RigParams) -> Tensor:
        """[D] of one pose, without batch dimensions. Raises ValueError for controls that are not these."""
        expression, controls = params.expression, params.controls
        if expression.shape[-1] < rig.num_expressions:  # the rest counts as zero
            expression = pad(expression, (0, rig.num_expressions - expression.shape[-1]))
        if controls is not None and controls.shape[-1] != len(self.controls):
            raise ValueError(f"{controls.shape[-1]} controls, the avatar has {len(self.controls)}")
        parts = [expression]
        if self.head_pose:
            parts.append(head_pose(rig, params))
        if self.controls:
            parts.append(expression.new_zeros(len(self.controls)) if controls is None else controls)
        return expression if len(parts) == 1 else torch.cat(parts)

    def weights(self, controls: Mapping[str, float]) -> Tensor:
        """Named weights -> [C] for `RigParams.controls`; the others are zero. Raises ValueError for a name
        that is none of these."""
        unknown = sorted(controls.keys() - set(self.controls))
        if unknown:
            raise ValueError(f"no control {unknown[0]!r}; there are: {', '.join(self.controls) or 'none'}")
        return torch.tensor([float(controls.get(name, 0)) for name in self.controls])
