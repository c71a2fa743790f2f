"""Gaze: the eight eyeLook weights of an ARKit vector as rotations of two eye joints."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from render.rigs.articulation import EYE_TURNS

# Column of a pair of rotations (left x, y, z, right x, y, z) and degrees at weight 1.
_COLUMNS = {t.unit: (3 * (t.joint == "right_eye") + t.axis, t.degrees) for t in EYE_TURNS}


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
