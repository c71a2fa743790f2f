"""Looks a frame or two ahead, to hide the time that detecting and rendering take."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from render import axis_angle
from render.motion import Motion


@dataclass(frozen=True, slots=True)
class PredictionConfig:
    """Gains measured on five real clips: 1 overshoots at every change of direction."""

    pose_gain: float = 0.8
    expression_gain: float = 0.5
    max_frames: float = 2.0  # further ahead it is worse than standing still
    velocity_share: float = 0.6  # of the newest difference in the velocity; the rest is the one before


class MotionPredictor:
    """Constant-velocity prediction of the head and, more carefully, of the face units."""

    def __init__(self, config: PredictionConfig | None = None) -> None:
        self._config = config if config is not None else PredictionConfig()
        self.reset()

    def reset(self) -> None:
        """Forget the motion (the face was lost)."""
        self._motion: Motion | None = None
        self._velocity: Motion | None = None  # per second; its rotation is an angular velocity
        self._time_s = 0.0
        self._interval_s = 0.0

    def update(self, motion: Motion, time_s: float) -> None:
        """Take in the newest measurement; one whose time does not advance replaces the last."""
        last = self._motion
        seconds = time_s - self._time_s
        if last is not None and seconds > 0:
            newest = replace(
                motion,
                weights=(motion.weights - last.weights) / seconds,
                head_rotation=axis_angle.difference(last.head_rotation, motion.head_rotation) / seconds,
                head_translation=(motion.head_translation - last.head_translation) / seconds,
            )
            self._velocity = newest if self._velocity is None else self._smoothed(self._velocity, newest)
            self._interval_s = seconds
        self._motion, self._time_s = motion, time_s

    def predict(self, time_s: float) -> Motion:
        """The motion at `time_s`, at most `max_frames` beyond the last measurement.

        Raises RuntimeError before the first measurement.
        """
        if self._motion is None:
            raise RuntimeError("nothing was measured yet")
        if self._velocity is None:
            return self._motion
        ahead_s = min(max(time_s - self._time_s, 0.0), self._config.max_frames * self._interval_s)
        pose_s, expression_s = self._config.pose_gain * ahead_s, self._config.expression_gain * ahead_s
        return replace(
            self._motion,
            # A unit that was at rest between 0 and 1 must not leave that range by extrapolation.
            weights=_within(
                self._motion.weights + expression_s * self._velocity.weights, self._motion.weights
            ),
            head_rotation=axis_angle.compose(
                self._motion.head_rotation, pose_s * self._velocity.head_rotation
            ),
            head_translation=self._motion.head_translation + pose_s * self._velocity.head_translation,
        )

    def _smoothed(self, before: Motion, newest: Motion) -> Motion:
        share = self._config.velocity_share
        return replace(
            newest,
            weights=share * newest.weights + (1 - share) * before.weights,
            head_rotation=share * newest.head_rotation + (1 - share) * before.head_rotation,
            head_translation=share * newest.head_translation + (1 - share) * before.head_translation,
        )


def _within(weights: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Weights kept in 0..1, or in the wider range that the measurement itself used."""
    return np.clip(weights, np.minimum(measured, 0.0), np.maximum(measured, 1.0))
