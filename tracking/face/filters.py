"""A light One-Euro filter: still values are smoothed, fast ones pass almost untouched.

Source: Casiez, Roussel, Vogel, "1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in
Interactive Systems", CHI 2012. Filters read time from the caller and never from a clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from render import axis_angle
from render.motion import Motion

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class OneEuroConfig:
    """The filter's three numbers."""

    min_cutoff_hz: float  # cut-off of a value at rest: lower is calmer and later
    beta: float  # how much the cut-off rises per unit of speed: higher is livelier
    derivative_cutoff_hz: float = 1.0  # cut-off of the speed estimate

    def cutoff_hz(self, speed: Array | float) -> Array | float:
        return self.min_cutoff_hz + self.beta * speed


class OneEuroFilter:
    """Filters the components of a vector, each at its own speed."""

    def __init__(self, config: OneEuroConfig) -> None:
        self._config = config
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next value passes unchanged."""
        self._time_s: float | None = None

    def __call__(self, value: Array, time_s: float) -> Array:
        """The filtered value [...] at `time_s`; a time that does not advance changes nothing."""
        if self._time_s is None:
            self._value, self._speed, self._time_s = value.copy(), np.zeros_like(value), time_s
            return value
        seconds = time_s - self._time_s
        if seconds <= 0:
            return self._value
        # The speed of the filtered value, as the authors' later revision has it: the raw one's is mostly
        # noise.
        speed = (value - self._value) / seconds
        self._speed = self._speed + _share(self._config.derivative_cutoff_hz, seconds) * (speed - self._speed)
        share = _share(self._config.cutoff_hz(np.abs(self._speed)), seconds)
        self._value = self._value + share * (value - self._value)
        self._time_s = time_s
        return self._value


class RotationFilter:
    """Filters a rotation by its angular velocity; turns the shortest way."""

    def __init__(self, config: OneEuroConfig) -> None:
        self._config = config
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next rotation passes unchanged."""
        self._time_s: float | None = None

    def __call__(self, rotation: Array, time_s: float) -> Array:
        """The filtered axis-angle rotation [3] at `time_s`; a time that does not advance changes nothing."""
        if self._time_s is None:
            self._rotation, self._velocity, self._time_s = rotation.copy(), np.zeros(3), time_s
            return rotation
        seconds = time_s - self._time_s
        if seconds <= 0:
            return self._rotation
        step = axis_angle.difference(self._rotation, rotation)
        velocity_share = _share(self._config.derivative_cutoff_hz, seconds)
        self._velocity = self._velocity + velocity_share * (step / seconds - self._velocity)
        speed = math.sqrt(self._velocity @ self._velocity)
        share = float(_share(self._config.cutoff_hz(speed), seconds))
        self._rotation = axis_angle.compose(self._rotation, share * step)
        self._time_s = time_s
        return self._rotation


@dataclass(frozen=True, slots=True)
class FaceFilterConfig:
    """Light on purpose: the detector smooths already, and every millisecond of lag is seen in a call.

    At rest the cut-offs of 4-8 Hz take away 50-65 % of a 30 fps stream's frame-to-frame noise; a nod of 60
    degrees a second lags by under 10 ms (tests/tracking/face/test_motion.py).
    """

    weights: OneEuroConfig = OneEuroConfig(min_cutoff_hz=6.0, beta=6.0)  # per unit a second
    rotation: OneEuroConfig = OneEuroConfig(min_cutoff_hz=4.0, beta=16.0)  # per radian a second
    translation: OneEuroConfig = OneEuroConfig(min_cutoff_hz=4.0, beta=150.0)  # per metre a second


class FaceFilter:
    """Filters a whole face; `reset` it when the face was lost."""

    def __init__(self, config: FaceFilterConfig | None = None) -> None:
        config = config if config is not None else FaceFilterConfig()
        self._weights = OneEuroFilter(config.weights)
        self._rotation = RotationFilter(config.rotation)
        self._translation = OneEuroFilter(config.translation)

    def reset(self) -> None:
        for part in (self._weights, self._rotation, self._translation):
            part.reset()

    def __call__(self, motion: Motion, time_s: float) -> Motion:
        return replace(
            motion,
            weights=self._weights(motion.weights, time_s),
            head_rotation=self._rotation(motion.head_rotation, time_s),
            head_translation=self._translation(motion.head_translation, time_s),
        )


def _share(cutoff_hz: Array | float, seconds: float) -> Array | float:
    """How far a first-order low-pass of that cut-off moves towards its input in that time."""
    rate = 2 * math.pi * cutoff_hz * seconds
    return rate / (rate + 1)
