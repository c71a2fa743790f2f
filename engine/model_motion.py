"""Motions as users of FLAME and SMPL-X keep them: the model's own parameters, frame by frame, in an .npz.

FLAME's are the names that GaussianAvatars and VHAP read, SMPL-X's the official ones; see `LAYOUTS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from render.motion import FACE, MotionClip

if TYPE_CHECKING:
    from render.avatars.avatar import Avatar

Arrays = dict[str, NDArray[np.float32]]

_NUM_SHAPES = 300  # of the official models, for an avatar of the average identity
ASSUMED_FPS = 30.0  # files of the field say nothing of time


@dataclass(frozen=True)
class Layout:
    """A face model's parameters by their names; T frames, E components, S of identity, J joints an array."""

    shape: str  # [S], once
    expression: str  # [T, E]
    translation: str  # [T, 3]
    rotations: Mapping[str, tuple[str, ...]]  # [T, J * 3] axis-angle of these joints, one after the other
    marks: frozenset[str]  # a file that holds these is of this layout
    head: str | None = None  # whose rotation is the head's; none where neck and head are both known
    offsets: str | None = None  # [1, V, 3] changes of the vertices, once


def _smplx_rotations() -> dict[str, tuple[str, ...]]:
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


def layouts() -> dict[str, Layout]:
    """The layouts by the kind of rig."""
    flame = {
        "rotation": ("root",),
        "neck_pose": ("neck",),
        "jaw_pose": ("jaw",),
        "eyes_pose": ("left_eye", "right_eye"),
    }
    marks = frozenset({"expr", "jaw_pose"}), frozenset({"expression", "global_orient"})
    return {
        "flame": Layout("shape", "expr", "translation", flame, marks[0], "neck", "static_offset"),
        "smplx": Layout("betas", "expression", "transl", _smplx_rotations(), marks[1]),
    }


def model_params(clip: MotionClip, avatar: Avatar) -> Arrays:
    """The parameters of the avatar's face model in every frame; empty when its rig is no face model's."""
    from render.rigs.units import COMPONENT

    rig, reference, layout = avatar.rig, avatar.rig_reference, layouts().get(avatar.rig.kind)
    if layout is None:
        return {}
    frames = [avatar.params(moment) for moment in clip]
    components = sum(name.startswith(COMPONENT) for name in rig.expression_names)
    pose = np.stack([params.pose.numpy() for params in frames])  # [T, J, 3]
    identity = None if reference is None else reference.shape
    arrays = {
        layout.shape: np.zeros(_NUM_SHAPES, np.float32) if identity is None else identity.numpy(),
        layout.expression: np.stack([params.expression.numpy()[:components] for params in frames]),
        layout.translation: np.stack([params.translation.numpy() for params in frames]),
    }
    for name, joints in layout.rotations.items():
        arrays[name] = pose[:, [rig.joint_names.index(joint) for joint in joints]].reshape(len(frames), -1)
    if layout.offsets and reference is not None and reference.template_delta is not None:
        arrays[layout.offsets] = reference.template_delta[None].numpy()
    return arrays


def clip_of_model_params(arrays: Mapping[str, NDArray[Any]]) -> MotionClip | None:
    """The motion that a file of a face model's parameters holds; None when it is of no known layout.

    Raises ValueError when it is damaged.
    """
    from render.rigs.articulation import EYE_TURNS, JAW_TURNS
    from render.rigs.units import COMPONENT, weights_of_turns

    layout = next((layout for layout in layouts().values() if layout.marks <= arrays.keys()), None)
    if layout is None:
        return None
    weights = _floats(arrays[layout.expression], layout.expression)
    if weights.ndim != 2 or not len(weights):
        raise ValueError(f"{layout.expression} is {weights.shape}, needs frames and components")
    frames = len(weights)
    joints: Arrays = {}
    for name, names in layout.rotations.items():
        rotations = _of_frames(arrays, name, frames, 3 * len(names)).reshape(frames, -1, 3)
        joints |= dict(zip(names, rotations.transpose(1, 0, 2), strict=True))
    turned = weights_of_turns((*JAW_TURNS, *EYE_TURNS), joints)
    return MotionClip(
        unit_names=(*(f"{COMPONENT}{i}" for i in range(weights.shape[1])), *turned),
        weights=np.concatenate([weights, np.stack(list(turned.values()), 1)], 1),
        head_rotation=np.zeros((frames, 3), np.float32) if layout.head is None else joints.pop(layout.head),
        head_translation=_of_frames(arrays, layout.translation, frames, 3),
        times_ns=np.round(np.arange(frames) * 1e9 / ASSUMED_FPS).astype(np.int64),
        fps=ASSUMED_FPS,
        confidence={FACE: np.ones(frames, np.float32)},
        joints=joints,
    )


def _of_frames(arrays: Mapping[str, NDArray[Any]], name: str, frames: int, width: int) -> NDArray[np.float32]:
    """[T, width] numbers, zeros where the file has none of that name."""
    if name not in arrays:
        return np.zeros((frames, width), np.float32)
    values = _floats(arrays[name], name)
    if values.size != frames * width or len(values) != frames:
        raise ValueError(f"{name} is {values.shape}, needs {(frames, width)}")
    return values.reshape(frames, width)


def _floats(array: NDArray[Any], name: str) -> NDArray[np.float32]:
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise ValueError(f"{name} holds values that are no finite numbers")
    return array.astype(np.float32)
