"""Looks at the avatar while it plays a clip, and corrects what the linear response gets wrong there.

Every fourth frame of a solved clip is rendered and detected. What the detector sees minus what the calibrated
response predicts is a smooth function of the face and the head's pose; a Gaussian process learns it from the
sampled frames and predicts it for all, and the clip is solved again with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render.motion import Motion
from tracking.detect.detection import Detection
from tracking.face.response import DetectorResponse
from tracking.face.signals import rows_of, same_on_both_sides, track_of_detections

Array = NDArray[np.float64]
Watch = Callable[[Sequence[Motion]], list[Detection]]

_NUM_MODES = 8  # of the clip's own expressions, as coordinates of the learned function
_MODE_SCALE = 1.5
_ANGLE_SCALE = 0.5
_MIN_ANGLE_SPREAD = 2.0  # degrees: less than this is noise, not a coordinate


@dataclass(frozen=True, slots=True)
class RefineConfig:
    """How much is looked at, and how smooth the corrections are."""

    step: int = 4  # frames from one that is looked at to the next
    rounds: int = 2
    max_frames: int = 400  # looked at in a round; a longer clip is sampled more thinly
    noise: float = 0.5  # variance of a sample, in units of the function's own
    constant: float = 1.0  # variances of the parts of the function
    linear: float = 0.5
    smooth: float = 1.0
    length: float = 1.5


class ClipCoordinates:
    """Where a frame lies among the clip's expressions and head poses: the inputs of the learned function."""

    def __init__(self, expected_rows: Array, angles: Array) -> None:
        """`expected_rows` [T, R] and `angles` [T, 3] of the clip as first solved."""
        self._mean = expected_rows.mean(0)
        centred = expected_rows - self._mean
        values, axes = _main_axes(centred[:: _thin(len(centred))])
        count = min(_NUM_MODES, int((values > 1e-6 * max(values[0], 1e-12)).sum()))
        self._axes = axes[:, :count]
        spread = np.maximum((centred @ self._axes).std(0), 1e-3)
        self._scales = _MODE_SCALE * np.sqrt(values[:count] / max(values[0], 1e-12)) / spread
        self._angle_mean = angles.mean(0)
        self._angle_scales = _ANGLE_SCALE / np.maximum(angles.std(0), _MIN_ANGLE_SPREAD)

    def __call__(self, expected_rows: Array, angles: Array) -> Array:
        modes = (expected_rows - self._mean) @ self._axes * self._scales
        return np.concatenate([modes, (angles - self._angle_mean) * self._angle_scales], 1)


class Discrepancy:
    """The learned difference between what the detector sees on the avatar and what the response predicts."""

    def __init__(self, config: RefineConfig) -> None:
        self._config = config
        self._inputs: list[Array] = []
        self._outputs: list[Array] = []

    def add(self, inputs: Array, outputs: Array) -> None:
        """Samples [n, C] -> [n, K]."""
        self._inputs.append(inputs)
        self._outputs.append(outputs)

    def __call__(self, inputs: Array) -> Array:
        """The mean of the Gaussian process at `inputs` [T, C], [T, K].

        Source: C. Rasmussen and C. Williams, "Gaussian processes for machine learning", 2006, equation 2.25.
        """
        known, values = np.concatenate(self._inputs), np.concatenate(self._outputs)
        noise = self._config.noise * np.eye(len(known))
        return self._kernel(inputs, known) @ np.linalg.solve(self._kernel(known, known) + noise, values)

    def _kernel(self, a: Array, b: Array) -> Array:
        c = self._config
        squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
        near = np.exp(-0.5 * np.maximum(squares, 0) / c.length**2)
        return c.constant + c.linear * (a @ b.T) / a.shape[1] + c.smooth * near


def measured_differences(
    response: DetectorResponse,
    unit_rows: Array,
    motions: Sequence[Motion],
    angles: Array,
    detections: list[Detection],
) -> tuple[NDArray[np.intp], Array]:
    """Which of the frames were found, and what was seen there beyond the response: [n, R + 3] rows, angles.

    `angles` [T, 3] are the head angles that were played.
    """
    found = np.array([i for i, d in enumerate(detections) if d.found], np.intp)
    if not len(found):
        return found, np.zeros((0, unit_rows.shape[1] + 3))
    seen = track_of_detections([detections[i] for i in found])
    weights = np.array([motions[i].weights for i in found])
    shifts = np.array([motions[i].head_translation for i in found])
    rows = rows_of(seen.points - response.leaked_points(seen.angles) - response.neutral_points)
    # Single points keep the calibrated response, and so do the sides of the face: a clip's few samples would
    # teach them the detector's noise and its lopsidedness.
    differences = same_on_both_sides(rows - weights @ unit_rows)
    turned = seen.angles - response.detected_angles(weights, angles[found], shifts)
    return found, np.concatenate([differences, turned], 1)


def sampled_frames(num_frames: int, config: RefineConfig, round_number: int) -> NDArray[np.intp]:
    """The frames to look at in one round (0, 1, ...); later rounds look at fewer, and at others."""
    step = max(config.step, -(-num_frames // config.max_frames)) * (round_number + 1)
    return np.arange(min(config.step // 2 * round_number, num_frames - 1), num_frames, step)


def _main_axes(rows: Array) -> tuple[Array, Array]:
    """The largest singular values of `rows` [T, R], at most _NUM_MODES, and their axes [R, K].

    Of the smaller of the two matrices of products: decomposing the rows themselves takes a second.
    """
    tall = rows.shape[0] > rows.shape[1]
    squares, vectors = np.linalg.eigh(rows.T @ rows if tall else rows @ rows.T)
    values = np.sqrt(np.maximum(squares[::-1][:_NUM_MODES], 0))
    vectors = vectors[:, ::-1][:, :_NUM_MODES]
    return values, vectors if tall else (rows.T @ vectors) / np.maximum(values, 1e-300)


def _thin(count: int, most: int = 400) -> int:
    return max(1, count // most)
