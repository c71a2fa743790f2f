"""Motions as users of FLAME and SMPL-X keep them: the model's own parameters, frame by frame, in an .npz.

FLAME's are the names that GaussianAvatars and VHAP read: `expr`, `rotation`, `neck_pose`, `jaw_pose`,
`eyes_pose` (left, then right), `translation`, and once `shape` and, where there is one, `static_offset`.
SMPL-X's are the official ones: `betas`, `expression`, `global_orient`, `body_pose`, `jaw_pose` and so on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from render.motion import FACE, MotionClip

if TYPE_CHECKING:
    from render.avatars.avatar import Avatar

Arrays = dict[str, NDArray[np.float32]]

ASSUMED_FPS = 30.0  # files of the field say nothing of time
# Name in the file: joints of the rig whose rotations it holds, one after the other.
_FLAME_JOINTS: dict[str, tuple[str, ...]] = {
    "rotation": ("root",),
    "neck_pose": ("neck",),
    "jaw_pose": ("jaw",),
    "eyes_pose": ("left_eye", "right_eye"),
}


def _smplx_joints() -> dict[str, tuple[str, ...]]:
    from render.rigs.smplx import JOINT_NAMES as NAMES

    return {
        "global_orient": NAMES[:1],
        "body_pose": NAMES[1:22],
        "jaw_pose": NAMES[22:23],
        "leye_pose": NAMES[23:24],
        "reye_pose": NAMES[24:25],
        "left_hand_pose": NAMES[25:40],
        "right_hand_pose": NAMES[40:],
    }


def model_params(clip: MotionClip, avatar: Avatar) -> Arrays:
    """The parameters of the avatar's face model in every frame; T frames, E components, S of identity.

    Raises ValueError when its rig is no face model's.
    """
    rig, reference = avatar.rig, avatar.rig_reference
    if rig.kind not in ("flame", "smplx"):
        raise ValueError(f"{avatar.name} is on a {rig.kind} rig")
    frames = [avatar.params(moment) for moment in clip]
    pose = np.stack([params.pose.numpy() for params in frames])  # [T, J, 3]
    shape = (
        np.zeros(0, np.float32) if reference is None or reference.shape is None else reference.shape.numpy()
    )
    flame = rig.kind == "flame"
    arrays: Arrays = {
        "shape" if flame else "betas": shape,
        "expr" if flame else "expression": np.stack([params.expression.numpy() for params in frames]),
        "translation" if flame else "transl": np.stack([params.translation.numpy() for params in frames]),
    }
    for name, joints in (_FLAME_JOINTS if flame else _smplx_joints()).items():
        arrays[name] = pose[:, [rig.joint_names.index(joint) for joint in joints]].reshape(len(frames), -1)
    if flame and reference is not None and reference.template_delta is not None:
        arrays["static_offset"] = reference.template_delta[None].numpy()
    return arrays


def clip_of_model_params(arrays: Mapping[str, NDArray[Any]]) -> MotionClip | None:
    """The motion that a file of FLAME's or SMPL-X's parameters holds; None when it is neither.

    Raises ValueError or KeyError when it is damaged.
    """
    from render.rigs.articulation import EYE_TURNS, JAW_TURNS
    from render.rigs.units import weights_of_turns

    if {"expr", "jaw_pose"} <= arrays.keys():
        expression, translation, table, head = "expr", "translation", _FLAME_JOINTS, "neck"
    elif {"expression", "global_orient"} <= arrays.keys():
        expression, translation, table, head = "expression", "transl", _smplx_joints(), None
    else:
        return None
    weights = _floats(arrays, expression)
    if weights.ndim != 2 or not len(weights):
        raise ValueError(f"{expression} is {weights.shape}, needs frames and components")
    frames = len(weights)
    joints: Arrays = {}
    for name, names in table.items():
        rotations = (
            _floats(arrays, name) if name in arrays else np.zeros((frames, 3 * len(names)), np.float32)
        )
        if rotations.size != frames * 3 * len(names):
            raise ValueError(f"{name} is {rotations.shape}, needs {(frames, 3 * len(names))}")
        joints |= dict(zip(names, rotations.reshape(frames, -1, 3).transpose(1, 0, 2), strict=True))
    turned = weights_of_turns((*JAW_TURNS, *EYE_TURNS), joints)
    still = np.zeros((frames, 3), np.float32)
    moved = _floats(arrays, translation) if translation in arrays else still
    if moved.shape != still.shape:
        raise ValueError(f"{translation} is {moved.shape}, needs {still.shape}")
    return MotionClip(
        unit_names=(*(f"expression_{i}" for i in range(weights.shape[1])), *turned),
        weights=np.concatenate([weights, np.stack(list(turned.values()), 1)], 1),
        head_rotation=still if head is None else joints.pop(head),
        head_translation=moved,
        times_ns=np.round(np.arange(frames) * 1e9 / ASSUMED_FPS).astype(np.int64),
        fps=ASSUMED_FPS,
        confidence={FACE: np.ones(frames, np.float32)},
        joints=joints,
    )


def _floats(arrays: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float32]:
    array = arrays[name]
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise ValueError(f"{name} holds values that are no finite numbers")
    return array.astype(np.float32)
