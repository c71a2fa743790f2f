"""How the detector answers to an avatar: a linear model of what it measures, fitted once per avatar.

Detected landmarks move only a fifth to a half as far as the vertices do, differently for every unit and
avatar, they leak into the head's angles, and the head's angles leak into them. A solver that compares a
person with an avatar has to know that; see `tracking.calibration.measure` for the measurement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tracking.face.head_pose import pose_terms
from tracking.face.signals import NUM_POINTS, POINTS

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]

VERSION = 1
PREFIX = "detector_response."
NUM_POSE_TERMS = 9
_ANGLE_STEPS = 6  # of the iteration that inverts the pose model; it gains a factor of 5 or more a step


@dataclass(frozen=True)
class DetectorResponse:
    """Linear models of detected points and of detected angles. E units, P points, degrees and metres.

    detected points = neutral_points + weights . unit_points + pose_terms(detected angles) . pose_points
    detected angles = neutral_angles + weights . unit_angles + pose_terms(angles) . pose_angles
                      + translation . shift_angles
    """

    neutral_points: Array  # [P, 3] head frame, eye units
    unit_points: Array  # [E, P, 3]
    unit_reach: Array  # [E] the weight beyond which the detector sees no more, or less
    pose_points: Array  # [9, P, 3]
    neutral_angles: Array  # [3] degrees
    unit_angles: Array  # [E, 3]
    pose_angles: Array  # [9, 3]
    shift_angles: Array  # [3, 3] degrees per metre of head translation
    eye_distance: Array  # [] metres between the outer corners of the eyes
    signature: Array  # [S] what the avatar looked like, to notice a calibration of another one

    def leaked_points(self, angles: Array) -> Array:
        """What head angles [..., 3] add to the points, [..., P, 3]."""
        return np.tensordot(pose_terms(angles), self.pose_points, 1)

    def detected_angles(self, weights: Array, angles: Array, translation: Array) -> Array:
        """The angles [..., 3] that the detector measures."""
        return (
            self.neutral_angles
            + weights @ self.unit_angles
            + pose_terms(angles) @ self.pose_angles
            + translation @ self.shift_angles
        )

    def angles_for(self, wanted: Array, weights: Array, translation: Array) -> Array:
        """Head angles [..., 3] at which the detector measures `wanted` [..., 3]."""
        gain = self.pose_angles[:3] / 10
        fixed = self.neutral_angles + weights @ self.unit_angles + translation @ self.shift_angles
        angles = np.array(wanted, np.float64)
        inverse = np.linalg.inv(gain)
        for _ in range(_ANGLE_STEPS):
            angles = angles + (wanted - fixed - pose_terms(angles) @ self.pose_angles) @ inverse
        return angles

    def extras(self) -> dict[str, Tensor]:
        """The arrays as `Avatar.extras` keeps them."""
        import torch

        # Half precision keeps three digits, far more than the detector does.
        kinds = {name: torch.float16 for name in ("unit_points", "pose_points")}
        return {
            PREFIX + f.name: torch.tensor(getattr(self, f.name), dtype=kinds.get(f.name, torch.float32))
            for f in fields(self)
        }

    def extras_meta(self) -> dict[str, Any]:
        """The notes as `Avatar.extras_meta` keeps them."""
        return {PREFIX + "version": VERSION, PREFIX + "points": list(POINTS)}

    @classmethod
    def from_extras(
        cls, extras: Mapping[str, Tensor], meta: Mapping[str, Any], num_units: int, signature: Array
    ) -> DetectorResponse | None:
        """The response an avatar carries; None when it has none, or one of another version, rig or look."""
        if meta.get(PREFIX + "version") != VERSION or tuple(meta.get(PREFIX + "points", ())) != POINTS:
            return None
        names = [f.name for f in fields(cls)]
        if any(PREFIX + name not in extras for name in names):
            return None
        response = cls(**{name: extras[PREFIX + name].double().numpy() for name in names})
        if response.unit_points.shape != (num_units, NUM_POINTS, 3):
            return None
        if not all(np.isfinite(getattr(response, name)).all() for name in names):
            return None
        return response if response.fits(signature) else None

    def fits(self, signature: Array) -> bool:
        """Whether an avatar of that signature is the one that was measured (but for storage rounding)."""
        if self.signature.shape != signature.shape:
            return False
        return bool((np.abs(self.signature - signature) <= 0.02 + 0.02 * np.abs(signature)).all())

    @classmethod
    def without_units(cls) -> DetectorResponse:
        """The response of an avatar whose face does not move: its head follows the detected angles."""
        pose = np.zeros((NUM_POSE_TERMS, 3))
        pose[:3] = 10 * np.eye(3)
        return cls(
            neutral_points=np.zeros((NUM_POINTS, 3)),
            unit_points=np.zeros((0, NUM_POINTS, 3)),
            unit_reach=np.zeros(0),
            pose_points=np.zeros((NUM_POSE_TERMS, NUM_POINTS, 3)),
            neutral_angles=np.zeros(3),
            unit_angles=np.zeros((0, 3)),
            pose_angles=pose,
            shift_angles=np.zeros((3, 3)),
            eye_distance=np.array(0.09),
            signature=np.zeros(0),
        )
