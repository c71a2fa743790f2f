"""Parameters that drive a rig, under the field's official names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class RigParams:
    """One pose of any rig; leading batch dimensions are allowed and equal on every field."""

    expression: Tensor  # [..., E] weights of the expression basis
    pose: Tensor  # [..., J, 3] axis-angle per joint, radians, parent first; row 0 is the root
    translation: Tensor  # [..., 3] metres
    shape: Tensor | None = None  # [..., S] identity weights; None keeps the rig's own (baked) shape
    controls: Tensor | None = None  # [..., C] of the avatar's named controls; None is all zero

    def replace(self, **changes: Any) -> RigParams:
        return replace(self, **changes)

    @classmethod
    def neutral(cls, num_expressions: int, num_joints: int) -> RigParams:
        return cls(torch.zeros(num_expressions), torch.zeros(num_joints, 3), torch.zeros(3))
