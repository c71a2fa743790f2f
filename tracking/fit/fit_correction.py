"""True units and rotation of the built-in head from those that a fit and the detector's scores make of it.

The detector moves its landmarks less than the surface moves, mixes neighbours up and takes expressions for
turns: a fit finds a third of a sideways mouth, and nods when the jaw opens. Renders with known units and pose
show how to undo that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tracking import axis_angle
from tracking.errors import TrackingError

Array = NDArray[np.float64]

HEAD_CORRECTION = Path(__file__).parents[1] / "assets" / "head_correction.safetensors"
_RIDGE = 1.0  # squared weights: a unit seen in fewer than a few pictures stays as it is


@dataclass(frozen=True)
class FittedFace:
    """One fit of a face whose truth is known."""

    units: Array  # [E]
    scores: Array  # [E] the detector's, without the person's neutral
    rotation: Array  # [3, 3]
    true_units: Array  # [E]
    true_rotation: Array  # [3, 3]


@dataclass(frozen=True)
class FitCorrection:
    """Linear maps from what was fitted to what was true."""

    unit_matrix: Array  # [2 E, E] of units and scores
    turn_matrix: Array  # [4 + E, 3] of 1, rotation vector and units; radians still to turn

    def units(self, units: Array, scores: Array) -> Array:
        """Units [E] in 0..1 from fitted units [E] and scores [E] without the person's neutral."""
        return np.clip(np.r_[units, scores] @ self.unit_matrix, 0, 1)

    def rotation(self, rotation: Array, units: Array) -> Array:
        """Rotation [3, 3] from the fitted rotation [3, 3] and units [E]."""
        missing = np.r_[1.0, axis_angle.from_matrix(rotation), units] @ self.turn_matrix
        return axis_angle.to_matrix(missing) @ rotation

    @classmethod
    def learn(cls, faces: Sequence[FittedFace]) -> FitCorrection:
        """Ridge fits; without evidence units and rotation keep their fitted values."""
        seen = np.array([np.r_[face.units, face.scores] for face in faces])
        true = np.array([face.true_units for face in faces])
        num_units = true.shape[1]
        unchanged = np.vstack([np.eye(num_units), np.zeros((num_units, num_units))])
        poses = np.array([np.r_[1.0, axis_angle.from_matrix(face.rotation), face.units] for face in faces])
        missing = np.array([axis_angle.from_matrix(face.true_rotation @ face.rotation.T) for face in faces])
        return cls(_ridge(seen, true, unchanged), _ridge(poses, missing, np.zeros((4 + num_units, 3))))

    def save(self, path: Path) -> None:
        from safetensors.numpy import save_file

        arrays = {"unit_matrix": self.unit_matrix, "turn_matrix": self.turn_matrix}
        save_file({name: array.astype(np.float32) for name, array in arrays.items()}, path)

    @classmethod
    def load(cls, path: Path = HEAD_CORRECTION) -> FitCorrection:
        """Raises TrackingError when the file is missing or damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            arrays = load_file(path)
            return cls(arrays["unit_matrix"].astype(float), arrays["turn_matrix"].astype(float))
        except (OSError, SafetensorError, KeyError) as error:
            message = f"{path}: the fit's correction cannot be read ({error}); install visavis again"
            raise TrackingError(message) from error


def _ridge(inputs: Array, outputs: Array, prior: Array) -> Array:
    gram = inputs.T @ inputs + _RIDGE * np.eye(inputs.shape[1])
    return np.asarray(np.linalg.solve(gram, inputs.T @ outputs + _RIDGE * prior), np.float64)
