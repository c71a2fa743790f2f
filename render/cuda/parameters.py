"""What changes from frame to frame, as one small block of floats for each picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from render.cuda import layout
from render.rigs.params import RigParams

if TYPE_CHECKING:
    from render.avatars.avatar import Avatar
    from render.drawing import Background

Floats = NDArray[np.float32]


def num_floats(avatar: Avatar) -> int:
    """Size of a picture's block."""
    return layout.POSE + 3 * avatar.rig.num_joints + avatar.condition.size(avatar.rig)


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


def write_pose(block: Floats, params: RigParams, avatar: Avatar) -> None:
    """Translation, joint rotations, condition; a short expression counts as zero behind its end.

    Raises ValueError when the parameters are of another rig, or carry an identity.
    """
    if params.shape is not None:
        raise ValueError("an avatar's identity is baked: params.shape must be None")
    rig, pose, expression = avatar.rig, params.pose, params.expression
    joints = (rig.num_joints, 3)
    if pose.shape != joints or expression.ndim != 1 or len(expression) > rig.num_expressions:
        raise ValueError(
            f"parameters of {tuple(pose.shape)} joint angles and {tuple(expression.shape)} weights, "
            f"the avatar's rig has {joints} and ({rig.num_expressions},)"
        )
    block[layout.ROOT : layout.ROOT + 3] = _array(params.translation)
    end = layout.POSE + 3 * rig.num_joints
    block[layout.POSE : end] = _array(pose).reshape(-1)
    condition = _array(avatar.condition(rig, params))
    block[end : end + len(condition)] = condition


def _array(tensor: Tensor) -> Floats:
    return tensor.detach().cpu().numpy()
