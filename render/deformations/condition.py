"""What a deformation follows, as one vector."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from render.deformations.head_pose import head_pose
from render.rigs.articulation import Articulation
from render.rigs.params import RigParams
from render.rigs.rig import Rig

HEAD_POSE = 6  # numbers: rotation vector, translation


@dataclass(frozen=True)
class Condition:
    """Expression weights [E], then the joints' units [T], head pose [6] and controls [C] that are asked for.

    Expression weights count with their sign, unclamped. Joint units are those of the rig's units that turn a
    joint and are no expression, such as FLAME's jawOpen: as far as the joint is turned their way, never
    negative. Controls are the avatar's own switches and sliders, such as glasses or a mood: zero is off.
    Raises ValueError for controls without a name of their own.
    """

    joint_units: bool = False
    head_pose: bool = False
    controls: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if "" in self.controls or len(set(self.controls)) < len(self.controls):
            raise ValueError(f"every control needs a name of its own, got {self.controls}")

    def size(self, rig: Rig) -> int:
        num = len(rig.units) if self.joint_units else rig.num_expressions
        return num + HEAD_POSE * self.head_pose + len(self.controls)

    def __call__(self, rig: Rig, params: RigParams) -> Tensor:
        """[D] of one pose, without batch dimensions. Raises ValueError for controls that are not these."""
        expression, controls = params.expression, params.controls
        if expression.shape[-1] < rig.num_expressions:  # the rest counts as zero
            expression = pad(expression, (0, rig.num_expressions - expression.shape[-1]))
        if controls is not None and controls.shape[-1] != len(self.controls):
            raise ValueError(f"{controls.shape[-1]} controls, the avatar has {len(self.controls)}")
        parts = [expression]
        if self.joint_units:
            names = rig.unit_names[rig.num_expressions :]
            weights = _weights_of_turns(names, rig.joint_names, rig.articulation).to(params.pose)
            parts.append((params.pose.flatten() @ weights).clamp_min(0))
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


@functools.lru_cache(maxsize=32)
def _weights_of_turns(units: tuple[str, ...], joint_names: tuple[str, ...], how: Articulation) -> Tensor:
    """The units' weights per axis-angle of all joints, [3 J, T]."""
    matrix = torch.zeros(3 * len(joint_names), len(units))
    for turn in how.turns:
        if turn.unit in units and turn.joint in joint_names:
            row = 3 * joint_names.index(turn.joint) + turn.axis
            matrix[row, units.index(turn.unit)] = 1 / math.radians(turn.degrees)
    return matrix
