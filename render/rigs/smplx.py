"""SMPL-X: body, hands and face, from the user's own official file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from render.errors import AvatarError
from render.rigs.articulation import EYE_TURNS, JAW_TURNS, NECK_AND_HEAD, Articulation
from render.rigs.params import RigParams
from render.rigs.reference import KeptRig
from render.rigs.rig import Rig
from render.rigs.safe_load import read_model_file
from render.rigs.smpl_layout import rig_from_file

# fmt: off
_BODY = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "jaw",
    "left_eye", "right_eye",
)
# fmt: on
_FINGERS = ("index", "middle", "pinky", "ring", "thumb")
# Joint order of the official model; its eye joints' suffix "_smplhf" is left out.
JOINT_NAMES = (
    *_BODY,
    *(
        f"{side}_{finger}{knuckle}"
        for side in ("left", "right")
        for finger in _FINGERS
        for knuckle in (1, 2, 3)
    ),
)
ARTICULATION = Articulation(NECK_AND_HEAD, (*JAW_TURNS, *EYE_TURNS), turns_are_units=True)


@dataclass(frozen=True)
class SmplxHands:
    """The hands' mean pose and principal components, 15 joints of three angles each."""

    mean_left: Tensor  # [45] radians
    mean_right: Tensor  # [45]
    components_left: Tensor  # [45, 45], one component per row
    components_right: Tensor  # [45, 45]


@dataclass(frozen=True)
class SmplxParams:
    """One SMPL-X pose under the official names; leading batch dimensions are equal on every field.

    Poses are axis-angle in radians. A hand with other than 45 numbers holds weights of principal components.
    """

    betas: Tensor  # [..., S]
    expression: Tensor  # [..., E]
    global_orient: Tensor  # [..., 3]
    body_pose: Tensor  # [..., 63] or [..., 21, 3]
    left_hand_pose: Tensor  # [..., 45] or [..., 15, 3]; [..., C] components
    right_hand_pose: Tensor  # as left_hand_pose
    jaw_pose: Tensor  # [..., 3]
    leye_pose: Tensor  # [..., 3]
    reye_pose: Tensor  # [..., 3]
    transl: Tensor  # [..., 3] metres

    @classmethod
    def neutral(cls, num_betas: int = 300, num_expressions: int = 100) -> SmplxParams:
        zero, hand = torch.zeros(3), torch.zeros(45)
        betas, expression = torch.zeros(num_betas), torch.zeros(num_expressions)
        return cls(betas, expression, zero, torch.zeros(63), hand, hand, zero, zero, zero, zero)

    def to_rig_params(self, hands: SmplxHands | None = None, *, shape_is_baked: bool = False) -> RigParams:
        """The same pose for the rig.

        With `hands` the mean hand is added, as official parameters expect unless they were made with
        `flat_hand_mean=True`. Raises ValueError when hands in components come without it.
        """
        left = _hand(self.left_hand_pose, (hands.mean_left, hands.components_left) if hands else None)
        right = _hand(self.right_hand_pose, (hands.mean_right, hands.components_right) if hands else None)
        body = self.body_pose if self.body_pose.shape[-1] == 3 else self.body_pose.unflatten(-1, (21, 3))
        face = torch.stack([self.jaw_pose, self.leye_pose, self.reye_pose], -2)
        return RigParams(
            expression=self.expression,
            pose=torch.cat([self.global_orient[..., None, :], body, face, left, right], -2),
            translation=self.transl,
            shape=None if shape_is_baked else self.betas,
        )


def _hand(pose: Tensor, model: tuple[Tensor, Tensor] | None) -> Tensor:
    if pose.shape[-2:] == (15, 3):
        pose = pose.flatten(-2)
    if pose.shape[-1] != 45:
        if model is None:
            raise ValueError(
                f"a hand of {pose.shape[-1]} components needs the file's hands: load_smplx_hands"
            )
        pose = pose @ model[1][: pose.shape[-1]]
    if model is not None:
        pose = pose + model[0]
    return pose.unflatten(-1, (15, 3))


def open_smplx(path: Path | str, num_shapes: int | None = None) -> KeptRig:
    """The rig of an official SMPL-X .npz or .pkl file; column counts as `rig_from_file` tells them.

    Raises AvatarError when the file is missing, damaged, not SMPL-X, or tries to run code.
    """
    return rig_from_file(read_model_file(path), "smplx", JOINT_NAMES, ARTICULATION, num_shapes)


def load_smplx(path: Path | str) -> Rig:
    """The rig alone of `open_smplx`."""
    return open_smplx(path).rig


def load_smplx_hands(path: Path | str) -> SmplxHands:
    """The mean hands and their components of an official SMPL-X file. Raises AvatarError as `load_smplx`."""
    file = read_model_file(path)
    arrays = []
    for name in ("hands_meanl", "hands_meanr", "hands_componentsl", "hands_componentsr"):
        array = torch.from_numpy(file.array(name)).float()
        if array.shape[-1] != 45 or array.ndim != (1 if "mean" in name else 2):
            raise AvatarError(f"{file.path}: '{name}' has shape {tuple(array.shape)}, expected 45 angles")
        arrays.append(array)
    return SmplxHands(*arrays)
