"""True face units of the built-in head from those that a fit and the detector's scores make of its renders.

The detector moves its landmarks less than the surface moves, and mixes neighbours up: a fit finds a third of
a sideways mouth, and a jaw where the lips part. Renders with known units show how to undo that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tracking.errors import TrackingError

Array = NDArray[np.float64]

HEAD_UNITS = Path(__file__).parent / "assets" / "head_units.safetensors"
_RIDGE = 1.0  # squared weights: a unit seen in fewer than a few pictures stays as it is


@dataclass(frozen=True)
class UnitCorrection:
    """A linear map from fitted units and scores to true units."""

    matrix: Array  # [2 E, E]

    def __call__(self, units: Array, scores: Array) -> Array:
        """Corrected units [E] in 0..1 from fitted units [E] and scores [E] without the person's neutral."""
        return np.clip(np.r_[units, scores] @ self.matrix, 0, 1)

    @classmethod
    def learn(cls, samples: Sequence[tuple[Array, Array, Array]]) -> UnitCorrection:
        """Ridge fit on (fitted units, scores, true units); without evidence a unit keeps its fitted value."""
        seen = np.array([np.r_[units, scores] for units, scores, _ in samples])
        true = np.array([units for _, _, units in samples])
        num_units = true.shape[1]
        unchanged = np.vstack([np.eye(num_units), np.zeros((num_units, num_units))])
        gram = seen.T @ seen + _RIDGE * np.eye(2 * num_units)
        return cls(np.linalg.solve(gram, seen.T @ true + _RIDGE * unchanged))

    def save(self, path: Path) -> None:
        from safetensors.numpy import save_file

        save_file({"matrix": self.matrix.astype(np.float32)}, path)

    @classmethod
    def load(cls, path: Path = HEAD_UNITS) -> UnitCorrection:
        """Raises TrackingError when the file is missing or damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return cls(load_file(path)["matrix"].astype(float))
        except (OSError, SafetensorError, KeyError) as error:
            message = f"{path}: the unit correction cannot be read ({error}); install visavis again"
            raise TrackingError(message) from error
