"""What a driver hands to an avatar: face units, head rotation, head position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracking import axis_angle


@dataclass(frozen=True, slots=True)
class FaceMotion:
    """The face at one moment, before any rig: `Avatar.params_from_units` takes the same three things."""

    weights: NDArray[np.float64]  # [E] of the rig's expressions
    rotation: NDArray[np.float64]  # [3] axis-angle of the head in world axes, radians
    translation: NDArray[np.float64]  # [3] metres

    @classmethod
    def neutral(cls, num_expressions: int) -> FaceMotion:
        return cls(np.zeros(num_expressions), np.zeros(3), np.zeros(3))


def blend(start: FaceMotion, end: FaceMotion, share: float) -> FaceMotion:
    """The motion a share (0..1) of the way from `start` to `end`; the head turns the shortest way."""
    return FaceMotion(
        weights=start.weights + share * (end.weights - start.weights),
        rotation=axis_angle.interpolate(start.rotation, end.rotation, share),
        translation=start.translation + share * (end.translation - start.translation),
    )
