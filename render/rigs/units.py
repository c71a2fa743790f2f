"""What a rig can move: units under ARKit's names where they mean that, as blendshapes or as turns of joints.

Every rig has one unit for each of its expressions; a face model has one more for each turn of a joint:
`jawOpen` is a blendshape of the built-in head and a turn of FLAME's jaw.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.rigs.articulation import BLENDSHAPES, Articulation, Turn

_EYES = ("left_eye", "right_eye")
COMPONENT = "expression_"  # and its number: a component of a face model
MODE_LIMIT = 2.5  # standard deviations within which a component of a face model still is a face


@dataclass(frozen=True)
class Unit:
    """Something a rig can move, and how far: blendshapes go from 0 to 1, components of a model both ways."""

    name: str
    lower: float = 0.0
    upper: float = 1.0

    @property
    def signed(self) -> bool:
        return self.lower < 0


def units_of(
    expression_names: Sequence[str], joint_names: Sequence[str], how: Articulation
) -> tuple[Unit, ...]:
    """A rig's units: its expressions in their order, then the turns that no expression stands for."""
    units = {
        name: Unit(name, -MODE_LIMIT, MODE_LIMIT) if name.startswith(COMPONENT) else Unit(name)
        for name in expression_names
    }
    for turn in how.turns if how.turns_are_units else ():
        if turn.joint in joint_names:
            units[turn.unit] = Unit(turn.unit)
    return tuple(units.values())


def head_joints_of(joint_names: Sequence[str], how: Articulation) -> tuple[tuple[int, float], ...]:
    """The joints that share a rotation of the head, with their shares; the root alone where they are not."""
    if not all(name in joint_names for name, _ in how.head_joints):
        return ((0, 1.0),)
    return tuple((joint_names.index(name), share) for name, share in how.head_joints)


def weights_of_turns(
    turns: Sequence[Turn], rotations: Mapping[str, NDArray[np.floating]]
) -> dict[str, NDArray[np.float32]]:
    """The weights [...] of turning units for rotations [..., 3] of their joints, axis-angle by name.

    The inverse of what units do; never negative, above 1 when a joint turns beyond the angle of weight 1.
    """
    return {
        turn.unit: np.maximum(rotations[turn.joint][..., turn.axis] / math.radians(turn.degrees), 0).astype(
            np.float32
        )
        for turn in turns
    }


def eye_pose_from_units(unit_names: tuple[str, ...], weights: Tensor) -> tuple[Tensor, Tensor]:
    """Eye rotations that the eyeLook units ask for: weights [..., U] -> (left [..., 3], right [..., 3]).

    Axis-angle in radians. Units that are missing count as weight 0.
    """
    _, matrix = turning_of(unit_names, _EYES, BLENDSHAPES, weights.device, weights.dtype)
    left, right = (weights @ matrix).split(3, -1)
    return left, right


@functools.lru_cache(maxsize=32)
def turning_of(
    unit_names: tuple[str, ...],
    joint_names: tuple[str, ...],
    how: Articulation,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[tuple[int, ...], Tensor]:
    """The joints that units may turn, T of them, and their axis-angles per weight, [U, 3 T]."""
    turns = [t for t in how.turns if t.joint in joint_names]
    joints = list(dict.fromkeys(t.joint for t in turns))
    matrix = torch.zeros(len(unit_names), 3 * len(joints), dtype=dtype)
    for turn in turns:
        if turn.unit in unit_names:
            column = 3 * joints.index(turn.joint) + turn.axis
            matrix[unit_names.index(turn.unit), column] = math.radians(turn.degrees)
    return tuple(joint_names.index(name) for name in joints), matrix.to(device)
