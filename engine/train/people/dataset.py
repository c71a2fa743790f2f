"""A made person's shoot as a dataset: exact cameras, exact motion, pictures read where they lie."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engine.errors import UsageError
from engine.train.data.pictures import KeptPicture
from engine.train.data.views import Dataset, Picture, Split, View
from engine.train.people.bust import Bust
from render.camera import Camera
from render.making.people.head import rig_reference
from render.making.people.shoot import Shoot, Shot, turn_of
from render.rigs.head import load_head
from render.rigs.params import RigParams
from render.rigs.rig import Rig

_CAMERA_AXES = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))  # OpenGL's to OpenCV's


@dataclass(frozen=True)
class ShotPicture:
    """One shot's pixels; calling it reads them. Raises UsageError naming the file that is wrong."""

    path: Path
    camera: Camera
    known: Callable[[], Tensor | None]

    def __call__(self) -> Picture:
        import cv2

        try:
            data = np.frombuffer(self.path.read_bytes(), np.uint8)
        except OSError as error:
            raise UsageError(
                f"{self.path} cannot be read ({error.strerror}): make the pictures again"
            ) from error
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
        if pixels is None or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 4:
            raise UsageError(f"{self.path} is no picture of 8-bit RGBA: make it again")
        camera = self.camera
        if pixels.shape[:2] != (camera.height, camera.width):
            size = f"{pixels.shape[1]}x{pixels.shape[0]}"
            raise UsageError(
                f"{self.path} is {size}, shoot.json says {camera.width}x{camera.height}: make it again"
            )
        kept = KeptPicture(np.ascontiguousarray(pixels[..., 2::-1]), np.ascontiguousarray(pixels[..., 3]))
        return replace(kept(), known=self.known())


def dataset_of(shoot: Shoot) -> Dataset:
    """The views of a shoot on the person's own rig; time_index 0 is the person at rest.

    Raises UsageError for a unit that the rig does not have.
    """
    reference = rig_reference(shoot.shape)
    rig = reference.rebuild(load_head())
    moments: dict[tuple[float, ...], int] = {}
    views, bust = [], Bust(rig, shoot.start)
    for shot in shoot.shots:
        params = _params(rig, shot)
        key = (*params.expression.tolist(), *params.pose.flatten().tolist())
        if not moments:
            moments[(0.0,) * len(key)] = 0
        moment = moments.setdefault(key, len(moments))
        camera = _camera(shot)
        known: Callable[[], Tensor | None] = partial(bust.above_level, camera)
        if shot.head_deg is not None:
            known = partial(bust.below_head, camera, rig(params).vertices)
        read = ShotPicture(shoot.folder / shot.file, camera, known)
        split: Split = "test" if shot.held_out else "train"
        views.append(View(Path(shot.file).stem, camera, params, moment, split, read))
    return Dataset(rig, tuple(views), reference, shoot.name)


def _params(rig: Rig, shot: Shot) -> RigParams:
    weights = torch.zeros(len(rig.units))
    for name, weight in shot.weights.items():
        if name not in rig.unit_names:
            near = difflib.get_close_matches(name, rig.unit_names, n=1)
            hint = f", did you mean {near[0]}?" if near else ""
            raise UsageError(f"shot {shot.file!r} moves {name!r}, which the head does not have{hint}")
        weights[rig.unit_names.index(name)] = weight
    turn = np.zeros(3) if shot.head_deg is None else turn_of(shot.head_deg).as_rotvec()
    params = rig.params_from_units(weights, torch.from_numpy(turn).float(), torch.zeros(3))
    if shot.gaze_deg is None:
        return params
    left, up = (math.radians(angle) for angle in shot.gaze_deg)
    pose = params.pose.clone()
    for name in ("left_eye", "right_eye"):
        pose[rig.joint_names.index(name)] = torch.tensor([-up, left, 0.0])
    return params.replace(pose=pose)


def _camera(shot: Shot) -> Camera:
    """The camera of the part of the picture that was rendered."""
    left, top, width, height = shot.border or (0, 0, shot.width, shot.height)
    to_world = torch.as_tensor(shot.camera_to_world, dtype=torch.float64) @ _CAMERA_AXES
    return Camera(
        width=width,
        height=height,
        fx=shot.focal_px,
        fy=shot.focal_px,
        cx=shot.width / 2 - left,
        cy=shot.height / 2 - top,
        world_to_camera=torch.linalg.inv(to_world).float(),
    )
