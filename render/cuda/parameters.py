"""What changes from frame to frame, as one small block of floats for each picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from render.cuda import layout
from render.rigs.params import RigParams

if TYPE_CHECKING:
    from render.drawing import Background

Floats = NDArray[np.float32]


def num_floats(num_joints: int, num_expressions: int) -> int:
    """Size of a picture's block."""
    return layout.POSE + 3 * num_joints + num_expressions


def write_background(block: Floats, background: Background | None) -> None:
    """A colour, or the mark that the background picture counts."""
    if isinstance(background, np.ndarray) and background.dtype == np.uint8:
        block[layout.HAS_PICTURE] = 1
        return
    colour = np.asarray((0, 0, 0) if background is None else background, np.float32)
    if colour.shape != (3,):
        raise ValueError(f"the background must be three numbers or a uint8 picture, got {colour.shape}")
    block[layout.BACKGROUND : layout.HAS_PICTURE] = colour
    block[layout.HAS_PICTURE] = 0


def write_pose(block: Floats, params: RigParams, num_joints: int, num_expressions: int) -> None:
    """Translation, joint rotations, expression; a short expression counts as zero behind its end.

    Raises ValueError when the parameters are of another rig, or carry an identity.
    """
    if params.shape is not None:
        raise ValueError("an avatar's identity is baked: params.shape must be None")
    expression = params.expression.detach().cpu().numpy()
    pose = params.pose.detach().cpu().numpy()
    if pose.shape != (num_joints, 3) or expression.ndim != 1 or len(expression) > num_expressions:
        raise ValueError(
            f"parameters of {pose.shape} joint angles and {expression.shape} weights, "
            f"the avatar's rig has ({num_joints}, 3) and ({num_expressions},)"
        )
    block[layout.ROOT : layout.ROOT + 3] = params.translation.detach().cpu().numpy()
    weights = layout.POSE + 3 * num_joints
    block[layout.POSE : weights] = pose.reshape(-1)
    block[weights : weights + len(expression)] = expression
    block[weights + len(expression) : weights + num_expressions] = 0
