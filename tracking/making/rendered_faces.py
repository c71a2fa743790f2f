"""Faces whose truth is known: avatars on the built-in head, rendered in a known pose and looked at."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from capture.frame import Frame
from render.avatars.avatar import Avatar
from render.camera import Camera
from render.rigs.gaze import eye_pose_from_units
from tracking import axis_angle
from tracking.detect.detection import SCORE_NAMES
from tracking.detect.face_detector import FaceDetector
from tracking.fit.face_fit import Intrinsics

Array = NDArray[np.float64]

_BACKGROUND = (0.78, 0.79, 0.82)
# The middle of the face seen from the head joint, metres: pictures turn about it.
_FACE_MIDDLE = np.array([0.0, 0.01, 0.06])

# Expressions people make, each a set of units that move together.
COMBINATIONS: tuple[tuple[str, ...], ...] = (
    ("jawOpen",),
    ("mouthSmileLeft", "mouthSmileRight"),
    ("eyeBlinkLeft", "eyeBlinkRight"),
    ("eyeBlinkLeft",),
    ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    ("browDownLeft", "browDownRight"),
    ("mouthPucker",),
    ("mouthFunnel",),
    ("jawLeft",),
    ("jawRight",),
    ("mouthLeft",),
    ("mouthFrownLeft", "mouthFrownRight"),
    ("noseSneerLeft", "noseSneerRight"),
    ("mouthUpperUpLeft", "mouthUpperUpRight"),
    ("mouthLowerDownLeft", "mouthLowerDownRight"),
    ("cheekPuff",),
    ("eyeSquintLeft", "eyeSquintRight"),
    ("eyeWideLeft", "eyeWideRight"),
    ("mouthStretchLeft", "mouthStretchRight"),
    ("eyeLookOutLeft", "eyeLookInRight"),
    ("eyeLookUpLeft", "eyeLookUpRight"),
    ("jawOpen", "mouthClose"),
)
_OPPOSITES = (
    ("eyeLookUpLeft", "eyeLookDownLeft"),
    ("eyeLookUpRight", "eyeLookDownRight"),
    ("eyeLookInLeft", "eyeLookOutLeft"),
    ("eyeLookInRight", "eyeLookOutRight"),
    ("jawLeft", "jawRight"),
    ("mouthLeft", "mouthRight"),
)
_OPPOSED = frozenset(itertools.chain.from_iterable(_OPPOSITES))


@dataclass(frozen=True)
class RenderedFace:
    """What the detector found in a picture of a known face; axes as `tracking.fit.face_fit.FaceFit` has."""

    units: Array  # [E]
    rotation: Array  # [3, 3]
    translation: Array  # [3] metres, the head joint
    landmarks: Array  # [478, 3] px
    scores: Array  # [E] the detector's scores in the order of the units


def unit_scores(scores: Array, unit_names: Sequence[str]) -> Array:
    """The detector's 52 scores in the order of a rig's units; units it does not know get 0."""
    places = {name: place for place, name in enumerate(SCORE_NAMES)}
    return np.array([scores[places[name]] if name in places else 0.0 for name in unit_names])


def without_neutral(scores: Array, neutral: Array) -> Array:
    """Scores [E] with the resting face's own taken out: 0 at rest, 1 where the detector says 1."""
    return np.clip((scores - neutral) / np.maximum(1 - neutral, 0.2), 0, 1)


class FaceStudio:
    """Renders one avatar on the built-in head in any expression and pose, and detects its face."""

    def __init__(
        self, avatar: Avatar, detector: FaceDetector, *, width: int = 640, height: int = 480
    ) -> None:
        from render.cpu.renderer import CpuRenderer

        self.avatar = avatar
        self.width, self.height = width, height
        self.intrinsics = Intrinsics(1.2 * max(width, height), width / 2, height / 2)
        self._detector = detector
        self._renderer = CpuRenderer(width, height)
        self._joint = avatar.rig.joint_names.index("head")
        self._eyes = [avatar.rig.joint_names.index(name) for name in ("left_eye", "right_eye")]

    def shoot(self, units: Array, rotation: Array, translation: Array) -> RenderedFace | None:
        """One picture; None when the detector finds no face in it."""
        rig = self.avatar.rig
        expression = torch.as_tensor(units, dtype=torch.float32)
        pose = torch.zeros(rig.num_joints, 3)
        pose[self._eyes[0]], pose[self._eyes[1]] = eye_pose_from_units(rig.expression_names, expression)
        origin = rig.joints_template[self._joint].double().numpy()
        matrix = np.eye(4)
        matrix[:3, :3] = rotation
        matrix[:3, 3] = translation - rotation @ origin
        opencv = np.diag([1.0, -1.0, -1.0, 1.0]) @ matrix
        camera = Camera(
            self.width,
            self.height,
            self.intrinsics.focal_px,
            self.intrinsics.focal_px,
            self.intrinsics.cx,
            self.intrinsics.cy,
            torch.as_tensor(opencv, dtype=torch.float32),
        )
        with torch.inference_mode():
            gaussians = self.avatar.pose(rig.neutral_params().replace(expression=expression, pose=pose))
        picture = self._renderer.render_rgb8(gaussians, camera, _BACKGROUND)
        detection = self._detector.detect(Frame(rgb=picture, capture_ns=0, index=0))
        if not detection.found:
            return None
        scores = unit_scores(detection.scores.astype(float), rig.expression_names)
        return RenderedFace(units, rotation, translation, detection.landmarks.astype(float), scores)

    def neutral(self) -> RenderedFace | None:
        """The resting face from the front."""
        units = np.zeros(self.avatar.rig.num_expressions)
        return self.shoot(units, np.eye(3), place(np.eye(3), 0.6))

    def close(self) -> None:
        self._renderer.close()


def place(rotation: Array, distance_m: float) -> Array:
    """Translation [3] that puts the turned face in the picture's middle at a distance from the camera."""
    return np.array([0.0, 0.0, -distance_m]) - rotation @ _FACE_MIDDLE


def random_pose(rng: np.random.Generator) -> tuple[Array, Array]:
    """A rotation [3, 3] within 30 degrees of yaw, and the translation [3] of a face 0.5 to 0.8 m away."""
    rotation = np.eye(3)
    for axis, most_deg in ((0, 12), (1, 30), (2, 10)):  # pitch, yaw, roll
        turn = np.zeros(3)
        turn[axis] = np.radians(rng.uniform(-most_deg, most_deg))
        rotation = axis_angle.to_matrix(turn) @ rotation
    return rotation, place(rotation, rng.uniform(0.5, 0.8))


def combined_units(rng: np.random.Generator, unit_names: Sequence[str]) -> Array:
    """Three of the everyday expressions at once, each at 0.3 to 1."""
    units = np.zeros(len(unit_names))
    for number in rng.choice(len(COMBINATIONS), 3, replace=False):
        weight = rng.uniform(0.3, 1)
        for name in COMBINATIONS[number]:
            row = unit_names.index(name)
            units[row] = max(units[row], weight)
    return units


def scattered_units(rng: np.random.Generator, unit_names: Sequence[str]) -> Array:
    """Any units together, to tell one's effect from another's: up to six, often mirrored, often a jaw."""
    names = list(unit_names)
    units = np.zeros(len(names))
    for row in rng.choice(len(names), rng.integers(0, 7), replace=False):
        units[row] = rng.uniform(0.1, 1)
        name = names[row]
        other = name.replace("Left", "#").replace("Right", "Left").replace("#", "Right")
        if rng.random() < 0.6 and other != name and other not in _OPPOSED:
            units[names.index(other)] = units[row]
    if rng.random() < 0.35:
        units[names.index("jawOpen")] = rng.uniform(0.1, 0.9)
    for first, second in _OPPOSITES:
        if units[names.index(first)]:
            units[names.index(second)] = 0
    units[names.index("tongueOut")] = 0
    return units
