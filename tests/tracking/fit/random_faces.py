"""Everyday faces in the poses of a person before a webcam."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from render import axis_angle
from tracking.fit.face_fit import FaceFit

Array = NDArray[np.float64]

# The middle of the face seen from the head joint, metres: faces turn about it.
_FACE_MIDDLE = np.array([0.0, 0.01, 0.06])

# Expressions people make, each a set of units that move together.
_COMBINATIONS: tuple[tuple[str, ...], ...] = (
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


def random_pose(rng: np.random.Generator) -> tuple[Array, Array]:
    """A rotation [3, 3] within 30 degrees of yaw, and the translation [3] of a face 0.5 to 0.8 m away."""
    rotation = np.eye(3)
    for axis, most_deg in ((0, 12), (1, 30), (2, 10)):  # pitch, yaw, roll
        turn = np.zeros(3)
        turn[axis] = np.radians(rng.uniform(-most_deg, most_deg))
        rotation = axis_angle.to_matrix(turn) @ rotation
    return rotation, np.array([0.0, 0.0, -rng.uniform(0.5, 0.8)]) - rotation @ _FACE_MIDDLE


def combined_units(rng: np.random.Generator, unit_names: Sequence[str]) -> Array:
    """Three of the everyday expressions at once, each at 0.3 to 1."""
    units = np.zeros(len(unit_names))
    for number in rng.choice(len(_COMBINATIONS), 3, replace=False):
        weight = rng.uniform(0.3, 1)
        for name in _COMBINATIONS[number]:
            row = unit_names.index(name)
            units[row] = max(units[row], weight)
    return units


def error_of(fit: FaceFit) -> float:
    """Mean distance of the landmarks from the model, as a share of the interocular distance."""
    return float(np.linalg.norm(fit.residual, axis=1).mean() / fit.interocular_px)
