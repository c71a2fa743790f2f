"""Makes tracking/assets/head_pose.safetensors: `python -m tracking.making.make_head_pose`.

The built-in people act random faces with the head turned, before cameras of several lenses that see them
anywhere in the picture, in bright and dim light. The canonical face is the symmetric median of their resting
faces, as the detector sees them; the correction is a ridge regression from what a rigid fit of it finds, and
leaves, to the head's true turn against the line of sight.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from capture.frame import Frame
from render import axis_angle
from render.avatars.avatar import Avatar
from render.avatars.library import builtin_names, open_avatar
from render.camera import Camera
from render.motion import Motion
from tracking.detect.face_detector import FaceDetectorFactory
from tracking.detect.process import DetectorProcess
from tracking.face.head_pose import (
    ASSET,
    NUM_ANGLE_TERMS,
    HeadPoseModel,
    angles_of,
    correction_terms,
    rotation_of_angles,
    towards_camera,
    turn_to,
)
from tracking.face.signals import (
    CHEEKS,
    EYE_CORNERS,
    MIRRORED_PLACES,
    NOSE,
    NUM_POINTS,
    POINTS,
    in_eye_units,
    places,
)
from tracking.making.make_face_units import random_units

Array = NDArray[np.float64]

PICTURE_PX = 384
PICTURES_PER_AVATAR = 480
_AT_REST_EVERY = 6
_TURN_SPREAD_DEG = (14.0, 9.0, 6.0)  # standard deviations of yaw, pitch, roll
_FOV_DEG = (28.0, 62.0)
_HALF_VIEW_M = (0.13, 0.24)  # half of the picture's height at the face
_LIGHT, _GAMMA, _NOISE = (0.35, 1.1), (0.8, 1.4), (0.0, 5.0)
_FRONTAL_DEG = 12.0
_EXTRA = (
    "browInnerUp", "browDown", "browOuterUp", "mouthUpperUp", "cheekSquint", "noseSneer", "mouthSmile",
    "mouthLowerDown", "mouthPucker", "mouthFunnel",
)  # fmt: skip
_POINT_RIDGE, _ANGLE_RIDGE = 0.3, 1.0
# Of what the regression makes of single points: on real faces more of it takes talking for nodding.
_POINT_SHARE = 0.25
# A face that is turned far counts less: the middle of the range is where people are.
_TURN_WEIGHT_DEG = (20.0, 15.0, 20.0)


@dataclass(frozen=True)
class Seen:
    """What was seen on some pictures, and what was true."""

    upright: Array  # [N, P, 3] pixels, y up
    true: Array  # [N, 3, 3] the head's turn against the line of sight
    at_rest: NDArray[np.bool_]  # [N] no expression

    @classmethod
    def join(cls, parts: list[Seen]) -> Seen:
        names = ("upright", "true", "at_rest")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def look_at(avatar: Avatar, count: int, generator: np.random.Generator) -> Seen:
    """Detect `count` random pictures of an avatar; those without a face are left out."""
    truths: list[tuple[Array, Camera, bool]] = []
    with DetectorProcess(FaceDetectorFactory("image")) as detector:
        detections = list(detector.detect_all(_pictures(avatar, count, generator, truths)))
    rows = [
        (d.landmarks[list(POINTS)] * np.array([1.0, -1.0, -1.0]), *truth)
        for d, truth in zip(detections, truths, strict=True)
        if d.found
    ]
    upright = np.array([row[0] for row in rows], np.float64)
    sizes = np.full((len(rows), 2), float(PICTURE_PX))
    focal = np.array([camera.fx for _, _, camera, _ in rows])
    sight = turn_to(towards_camera(upright[:, _rigid()], sizes, focal))
    true = sight.swapaxes(1, 2) @ np.array([row[1] for row in rows])
    return Seen(upright, true, np.array([row[3] for row in rows]))


def _pictures(
    avatar: Avatar, count: int, generator: np.random.Generator, truths: list[tuple[Array, Camera, bool]]
) -> Iterator[Frame]:
    """Random pictures; what is true of each goes to `truths`."""
    from render.cpu.renderer import CpuRenderer

    renderer = CpuRenderer(PICTURE_PX, PICTURE_PX)
    rig = avatar.rig
    joints = dict(zip(rig.joint_names, rig.joints_template.double().numpy(), strict=True))
    eyes = 0.5 * (joints["left_eye"] + joints["right_eye"])
    for index in range(count):
        at_rest = index % _AT_REST_EVERY == 0
        weights = random_units(rig.unit_names, generator) * (not at_rest)
        if not at_rest:
            for start in generator.choice(_EXTRA, 3, replace=False):
                chosen = [name.startswith(start) for name in rig.unit_names]
                weights[chosen] = generator.uniform(0, 1)
        rotation = rotation_of_angles(generator.normal(0, _TURN_SPREAD_DEG))
        fov, half = generator.uniform(*_FOV_DEG), generator.uniform(*_HALF_VIEW_M)
        aside = generator.uniform(-1, 1, 2) * (0.6, 0.5) * half
        x, y, z = eyes + np.array([aside[0], aside[1] - 0.03, half / np.tan(np.radians(fov) / 2)])
        camera = Camera.look_at(
            (x, y, z), (x, y, z - 1), width=PICTURE_PX, height=PICTURE_PX, vertical_fov_deg=fov
        )
        motion = Motion(rig.unit_names, weights, axis_angle.from_matrix(rotation), np.zeros(3))
        background = tuple(generator.uniform(0.1, 0.9, 3).tolist())
        with torch.inference_mode():
            gaussians = avatar.pose(avatar.params(motion))
            picture = renderer.render_rgb8(gaussians, camera, background)
        shown = (picture / 255.0) ** generator.uniform(*_GAMMA) * generator.uniform(*_LIGHT) * 255
        shown = shown + generator.normal(0, generator.uniform(*_NOISE), picture.shape)
        truths.append((rotation, camera, at_rest))
        yield Frame(np.clip(shown, 0, 255).astype(np.uint8), 0, index)
    renderer.close()


def fit_model(seen: Seen) -> HeadPoseModel:
    """The canonical face and its correction from what was seen."""
    model = HeadPoseModel(_canonical_face(seen), _rigid(), np.zeros((NUM_ANGLE_TERMS + 3 * NUM_POINTS, 3)))
    rotations = model.fit(seen.upright)
    fitted = angles_of(rotations)
    points, _ = in_eye_units(seen.upright @ rotations)
    terms = correction_terms(fitted, points - model.points)
    weight = 1 / (1 + (np.abs(fitted) / _TURN_WEIGHT_DEG).max(1) ** 2)
    ridge = np.r_[1e-6, np.full(NUM_ANGLE_TERMS - 1, _ANGLE_RIDGE), np.full(3 * NUM_POINTS, _POINT_RIDGE)]
    weighted = terms * weight[:, None]
    correction = np.linalg.solve(
        weighted.T @ terms + np.diag(ridge), weighted.T @ (angles_of(seen.true) - fitted)
    )
    correction[NUM_ANGLE_TERMS:] *= _POINT_SHARE
    return HeadPoseModel(model.points, model.rigid, correction)


def _rigid() -> NDArray[np.bool_]:
    rigid = np.zeros(NUM_POINTS, bool)
    rigid[places(NOSE + EYE_CORNERS + CHEEKS)] = True
    rigid[places((205, 425, 187, 411, 101, 330, 36, 266))] = False  # of the cheeks, these smile along
    return rigid


def _canonical_face(seen: Seen) -> Array:
    frontal = seen.at_rest & (np.abs(angles_of(seen.true)) < _FRONTAL_DEG).all(1)
    faces, _ = in_eye_units(seen.upright[frontal] @ seen.true[frontal])
    points = np.median(faces, 0)
    return 0.5 * (points + points[MIRRORED_PLACES] * (-1.0, 1.0, 1.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=ASSET)
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    people = [look_at(open_avatar(name), PICTURES_PER_AVATAR, generator) for name in builtin_names()]
    for name, left_out in zip(builtin_names(), people, strict=True):
        others = fit_model(Seen.join([one for one in people if one is not left_out]))
        error = _errors(others, left_out)
        print(f"{name}, by the others: mean {error.mean(0).round(2)}, spread {error.std(0).round(2)} degrees")
    model = fit_model(Seen.join(people))
    model.save(options.output)
    print(f"{options.output}: spread {_errors(model, Seen.join(people)).std(0).round(2)} degrees")


def _errors(model: HeadPoseModel, seen: Seen) -> Array:
    rotations = model.fit(seen.upright)
    return model.angles(rotations, in_eye_units(seen.upright @ rotations)[0]) - angles_of(seen.true)


if __name__ == "__main__":
    main()
