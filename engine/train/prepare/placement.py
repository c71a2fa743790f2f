"""Where the person stands: the fixed camera, the crop, and the head's pose as the rig's parameters.

The camera never moves and the world is the person's: its axes are those of the head's usual pose in the clip.
What the head does beyond that goes into the neck and head joints, by the same share that live play uses
(`params_from_units`); the root only translates. So the shoulders stay while the head turns, in training as in
play, and what is learnt about the collar and the neck is asked for in the same poses later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from render import axis_angle
from render.camera import Camera
from render.rigs.params import RigParams
from render.rigs.rig import Rig
from tracking.fit.face_fit import FaceFit, Intrinsics

Array = NDArray[np.float64]

_FLIP = np.diag([1.0, -1.0, -1.0])  # the fit's axes (y up, z to the viewer) to OpenCV's
# The crop, in heights of the rig's head: hair above it, shoulders below it.
_ABOVE, _SIDE = 0.30, 2.05


@dataclass(frozen=True)
class Crop:
    """A square of the picture."""

    left: int
    top: int
    side: int

    def of(self, rgb: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """The square scaled to `size` pixels a side."""
        import cv2

        square = rgb[self.top : self.top + self.side, self.left : self.left + self.side]
        way = cv2.INTER_AREA if self.side > size else cv2.INTER_CUBIC
        return np.ascontiguousarray(cv2.resize(square, (size, size), interpolation=way), np.uint8)


def rest_pose(fits: Sequence[FaceFit]) -> tuple[Array, Array]:
    """The head's usual rotation [3, 3] and place [3] in a clip, in the fit's camera axes."""
    middle = fits[0].rotation
    for _ in range(4):
        turns = np.array([axis_angle.from_matrix(middle.T @ fit.rotation) for fit in fits])
        middle = middle @ axis_angle.to_matrix(np.median(turns, 0))
    return middle, np.median([fit.translation for fit in fits], axis=0)


def world_to_camera(rig: Rig, rest: tuple[Array, Array]) -> Array:
    """OpenCV extrinsics [4, 4] of the camera that sees the rig at rest in the pose `rest`."""
    rotation, place = rest
    head = _joint(rig, "head")
    matrix = np.eye(4)
    matrix[:3, :3] = _FLIP @ rotation
    matrix[:3, 3] = _FLIP @ (place - rotation @ head)
    return matrix


def rig_params(rig: Rig, fit: FaceFit, rest: tuple[Array, Array]) -> RigParams:
    """The rig's parameters that put its head where the fit has it, before the camera of `rest`."""
    rotation, place = rest
    turn = axis_angle.from_matrix(rotation.T @ fit.rotation)
    head, neck = _joint(rig, "head"), _joint(rig, "neck")
    wanted = head + rotation.T @ (fit.translation - place)
    (_, neck_share), _ = rig.head_joints
    carried = neck + axis_angle.to_matrix(neck_share * turn) @ (head - neck)
    return rig.params_from_units(
        torch.tensor(fit.units, dtype=torch.float32),
        torch.tensor(turn, dtype=torch.float32),
        torch.tensor(wanted - carried, dtype=torch.float32),
    )


def projected(rig: Rig, params: RigParams, camera: Camera) -> Array:
    """The rig's vertices [V, 3] in a camera: x, y in pixels and depth in metres."""
    with torch.inference_mode():
        return np.asarray(camera.project(rig(params).vertices.double()))


def find_crop(rig: Rig, params: Sequence[RigParams], camera: Camera) -> Crop:
    """Head and shoulders of all frames in one square that lies within the picture."""
    head = rig.skin_weights[:, rig.joint_names.index("head")].numpy() > 0.9
    boxes = []
    for frame in params[:: max(1, len(params) // 60)]:
        points = projected(rig, frame, camera)[head]
        boxes.append([*points[:, :2].min(0), *points[:, :2].max(0)])
    box = np.array(boxes)
    left, top = np.quantile(box[:, :2], 0.02, axis=0)
    right, bottom = np.quantile(box[:, 2:], 0.98, axis=0)
    height = float(np.median(box[:, 3] - box[:, 1]))
    side = max(_SIDE * height, (right - left) * 1.15, (bottom - top) * 1.15 + _ABOVE * height)
    side = int(min(side, camera.width, camera.height))
    x = round((left + right - side) / 2)
    y = round(top - _ABOVE * height)
    return Crop(int(np.clip(x, 0, camera.width - side)), int(np.clip(y, 0, camera.height - side)), side)


def whole_camera(intrinsics: Intrinsics, matrix: Array, size: tuple[int, int]) -> Camera:
    """The camera of the whole picture."""
    focal = intrinsics.focal_px
    extrinsics = torch.tensor(matrix, dtype=torch.float32)
    return Camera(size[0], size[1], focal, focal, intrinsics.cx, intrinsics.cy, extrinsics)


def cropped_camera(camera: Camera, crop: Crop, size: int) -> Camera:
    """The camera of a crop scaled to `size` pixels a side."""
    scale = size / crop.side
    return Camera(
        size,
        size,
        camera.fx * scale,
        camera.fy * scale,
        (camera.cx - crop.left) * scale,
        (camera.cy - crop.top) * scale,
        camera.world_to_camera,
    )


def _joint(rig: Rig, name: str) -> Array:
    return np.asarray(rig.joints_template[rig.joint_names.index(name)].double().numpy())
