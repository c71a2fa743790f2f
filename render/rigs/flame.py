"""FLAME 2019, 2020, 2023 and 2023 Open, from the user's own official file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from render.rigs.params import RigParams
from render.rigs.rig import Rig
from render.rigs.safe_load import read_model_file
from render.rigs.smpl_layout import rig_from_file

JOINT_NAMES = ("root", "neck", "jaw", "left_eye", "right_eye")


@dataclass(frozen=True)
class FlameParams:
    """One FLAME pose under the official names; leading batch dimensions are equal on every field."""

    shape: Tensor  # [..., S], S up to the file's number of identity modes
    expression: Tensor  # [..., E], E up to the file's number of expression modes
    global_orient: Tensor  # [..., 3] axis-angle, radians
    neck_pose: Tensor  # [..., 3]
    jaw_pose: Tensor  # [..., 3]
    leye_pose: Tensor  # [..., 3]
    reye_pose: Tensor  # [..., 3]
    transl: Tensor  # [..., 3] metres

    @classmethod
    def neutral(cls, num_shapes: int = 300, num_expressions: int = 100) -> FlameParams:
        zero = torch.zeros(3)
        return cls(torch.zeros(num_shapes), torch.zeros(num_expressions), zero, zero, zero, zero, zero, zero)

    def to_rig_params(self, *, shape_is_baked: bool = False) -> RigParams:
        """The same pose for the rig; leaves out the shape where the rig has it baked in."""
        joints = [self.global_orient, self.neck_pose, self.jaw_pose, self.leye_pose, self.reye_pose]
        return RigParams(
            expression=self.expression,
            pose=torch.stack(joints, -2),
            translation=self.transl,
            shape=None if shape_is_baked else self.shape,
        )


def load_flame(path: Path | str) -> Rig:
    """The rig of an official FLAME .pkl or .npz file; column counts come from the file.

    Raises AvatarError when the file is missing, damaged, not FLAME, or tries to run code.
    """
    return rig_from_file(read_model_file(path), "flame", JOINT_NAMES)
