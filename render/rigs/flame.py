"""FLAME 2019, 2020, 2023 and 2023 Open, from the user's own official file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.errors import AvatarError
from render.rigs.articulation import EYE_TURNS, JAW_TURNS, Articulation
from render.rigs.params import RigParams
from render.rigs.reference import KeptRig, RigReference
from render.rigs.rig import Rig
from render.rigs.safe_load import read_model_file
from render.rigs.smpl_layout import rig_from_file

JOINT_NAMES = ("root", "neck", "jaw", "left_eye", "right_eye")
ARTICULATION = Articulation((("neck", 1.0),), (*JAW_TURNS, *EYE_TURNS), turns_are_units=True)


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


def open_flame(path: Path | str, num_shapes: int | None = None) -> KeptRig:
    """The rig of an official FLAME .pkl or .npz file; column counts as `rig_from_file` tells them.

    Raises AvatarError when the file is missing, damaged, not FLAME, or tries to run code.
    """
    return rig_from_file(read_model_file(path), "flame", JOINT_NAMES, ARTICULATION, num_shapes)


def load_flame(path: Path | str) -> Rig:
    """The rig alone of `open_flame`."""
    return open_flame(path).rig


def reference_of_person(
    flame: KeptRig, arrays: Mapping[str, NDArray[Any]], where: Path | str
) -> RigReference:
    """One person's FLAME as GaussianAvatars and VHAP store it: `shape` and `static_offset`, both optional.

    Their offsets [1, V, 3] (teeth that they add come after FLAME's own V) move the vertices before the joints
    are regressed from these, so the joints move along. `where` names the file in messages.
    Raises AvatarError when the numbers do not fit `flame`.
    Source: `FlameHead.forward` and `lbs` of the code of GaussianAvatars.
    """
    found = {n: np.asarray(arrays[n], np.float32) for n in ("shape", "static_offset") if n in arrays}
    for name, values in found.items():
        if not np.isfinite(values).all():
            raise AvatarError(f"{where}: {name} holds a value that is not finite; export it again")
    shape = offset = joints = None
    if "shape" in found:
        weights = found["shape"].reshape(-1)
        if weights[flame.rig.num_shapes :].any():
            raise AvatarError(
                f"{where} has {len(weights)} shape weights, {flame.file_hint} knows {flame.rig.num_shapes}; "
                "name the model it was made with"
            )
        shape = torch.from_numpy(weights[: flame.rig.num_shapes].copy())
    if "static_offset" in found:
        rows = found["static_offset"].reshape(-1, 3)[: flame.rig.num_vertices]
        if len(rows) < flame.rig.num_vertices:
            raise AvatarError(
                f"{where} offsets {len(rows)} vertices, {flame.file_hint} has {flame.rig.num_vertices}; "
                "name the model it was made with"
            )
        offset = torch.from_numpy(rows.copy())
        assert flame.joint_regressor is not None  # every model file has one
        joints = flame.joint_regressor @ offset
    return flame.reference(shape=shape, template_delta=offset, joints_delta=joints)
