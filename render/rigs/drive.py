"""From what every driver has, unit weights and a head pose, to the parameters of a rig."""

from __future__ import annotations

import torch
from torch import Tensor

from render.rigs.gaze import eye_pose_from_units
from render.rigs.params import RigParams
from render.rigs.rig import Rig

# Of a head rotation, taken by the neck joint; the head joint adds the rest about the same axis.
NECK_SHARE = 0.35


def params_from_units(
    rig: Rig, weights: Tensor, head_rotation: Tensor, head_translation: Tensor
) -> RigParams:
    """Rig parameters from unit weights and a head pose; leading batch dimensions are allowed and equal.

    `weights` [..., E] of the rig's expressions, `head_rotation` [..., 3] axis-angle in world axes,
    `head_translation` [..., 3] metres. The rotation is split over the neck and head joints by a fixed
    share, about one axis, so that they compose to it exactly; a rig without them turns at its root. The
    eyeLook units turn the eye joints where the rig has them.
    """
    names = rig.joint_names
    rows = [torch.zeros_like(head_rotation)] * len(names)
    if "neck" in names and "head" in names:
        rows[names.index("neck")] = NECK_SHARE * head_rotation
        rows[names.index("head")] = (1 - NECK_SHARE) * head_rotation
    else:
        rows[0] = head_rotation
    if "left_eye" in names and "right_eye" in names:
        left, right = eye_pose_from_units(rig.expression_names, weights)
        rows[names.index("left_eye")], rows[names.index("right_eye")] = left, right
    return RigParams(expression=weights, pose=torch.stack(rows, -2), translation=head_translation)
