"""Gaze: the eight eyeLook weights of an ARKit vector as rotations of two eye joints."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

# Rotation of the eye in degrees at weight 1. People turn their eyes about 30 degrees before the head follows;
# upwards the lid and brow stop them sooner.
HORIZONTAL_DEG = 30.0
UP_DEG = 25.0
DOWN_DEG = 30.0

# World axes: turning about +x looks down, about +y looks to the subject's left. Column: eye * 3 + axis.
_COLUMNS = {
    "eyeLookDownLeft": (0, DOWN_DEG),
    "eyeLookUpLeft": (0, -UP_DEG),
    "eyeLookOutLeft": (1, HORIZONTAL_DEG),
    "eyeLookInLeft": (1, -HORIZONTAL_DEG),
    "eyeLookDownRight": (3, DOWN_DEG),
    "eyeLookUpRight": (3, -UP_DEG),
    "eyeLookInRight": (4, HORIZONTAL_DEG),
    "eyeLookOutRight": (4, -HORIZONTAL_DEG),
}


@functools.lru_cache(maxsize=16)
def _mapping(expression_names: tuple[str, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    matrix = torch.zeros(len(expression_names), 6, dtype=dtype)
    for name, (column, degrees) in _COLUMNS.items():
        if name in expression_names:
            matrix[expression_names.index(name), column] = math.radians(degrees)
    return matrix.to(device)


def eye_pose_from_units(expression_names: tuple[str, ...], expression: Tensor) -> tuple[Tensor, Tensor]:
    """Eye rotations that a weight vector asks for: expression [..., E] -> (left [..., 3], right [..., 3]).

    Axis-angle in radians, for the pose rows of the joints "left_eye" and "right_eye". Names that are missing
    count as weight 0. The weights themselves stay in place: on a rig their rows move the lids only.
    """
    matrix = _mapping(expression_names, expression.device, expression.dtype)
    both = expression @ matrix
    return both[..., :3], both[..., 3:]


def units_from_eye_pose(left: Tensor, right: Tensor) -> dict[str, Tensor]:
    """The eight eyeLook weights [...] for two eye rotations [..., 3]; the inverse of `eye_pose_from_units`.

    Weights are never negative; they pass 1 when an eye turns beyond the angle of weight 1.
    """
    both = torch.cat([left, right], -1)
    weights = {}
    for name, (column, degrees) in _COLUMNS.items():
        weights[name] = (both[..., column] / math.radians(degrees)).clamp_min(0.0)
    return weights
