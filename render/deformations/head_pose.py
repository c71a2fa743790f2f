"""Where the head of a rig is, as six numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from render.play import is_play
from render.rigs.params import RigParams
from render.rigs.rig import Rig
from render.rotations import axis_angle_to_matrix, matrix_to_axis_angle


def head_pose(rig: Rig, params: RigParams) -> Tensor:
    """The head's rotation vector in world axes, at most pi long, then the root's translation, metres: [6].

    The rotation is that of all joints from the root to the head, so these are the two vectors that
    `params_from_units` shares out over the joints.
    """
    chain = [rig.head_joints[-1][0]]
    while rig.parents[chain[0]] >= 0:
        chain.insert(0, rig.parents[chain[0]])
    pose, translation = params.pose[chain], params.translation
    return (_in_play if is_play(pose, translation) else _reference)(pose, translation)


def _reference(pose: Tensor, translation: Tensor) -> Tensor:
    first, *others = axis_angle_to_matrix(pose)
    for rotation in others:
        first = first @ rotation
    return torch.cat([matrix_to_axis_angle(first), translation])


def _in_play(pose: Tensor, translation: Tensor) -> Tensor:
    """The same in plain numbers: torch calls by the hundred would take longer than all other posing."""
    w, x, y, z = 1.0, 0.0, 0.0, 0.0
    for joint in pose.tolist():
        half = 0.5 * math.hypot(*joint)
        share = 0.5 * math.sin(half) / half if half > 0 else 0.5
        c, (i, j, k) = math.cos(half), (share * r for r in joint)
        w, x, y, z = (
            w * c - x * i - y * j - z * k,
            w * i + x * c + y * k - z * j,
            w * j - x * k + y * c + z * i,
            w * k + x * j - y * i + z * c,
        )
    sine = math.hypot(x, y, z)
    angle = 2 * math.copysign(math.atan2(sine, abs(w)), w)  # of the shorter way round
    factor = angle / sine if sine > 0 else 2.0
    return torch.tensor([factor * x, factor * y, factor * z, *translation.tolist()])
