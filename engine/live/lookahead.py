"""Shows the face where it will be when the picture is seen, and measures how far off that is."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from render import axis_angle
from render.motion import Motion, blend
from tracking.face.prediction import MotionPredictor

HORIZONS_MS = (17, 33, 50)  # for which the error is measured
MAX_SAMPLES = 600  # per horizon, the newest


class Lookahead:
    """Predicts the motion over the pipeline's latency; belongs to the thread that poses."""

    def __init__(self, latency_ms: Callable[[], float]) -> None:
        """`latency_ms` gives the usual time from a frame's arrival to the end of its rendering."""
        self._latency_ms = latency_ms
        self._predictor = MotionPredictor()
        self._errors = HorizonErrors()

    def reset(self) -> None:
        """Forget the motion: the face or the source was lost, or another avatar plays."""
        self._predictor.reset()
        self._errors.reset()

    def __call__(self, motion: Motion, now_ns: int) -> Motion:
        """The motion to show instead of the measured one."""
        if not motion.face_seen:
            self.reset()
            return motion
        time_s = motion.time_ns / 1e9
        self._predictor.update(motion, time_s)
        self._errors.update(motion, time_s, self._predictor)
        return self.between(motion.time_ns, now_ns)

    def between(self, capture_ns: int, now_ns: int) -> Motion:
        """The motion to show for a frame that was not measured itself, after one that was."""
        time_s = capture_ns / 1e9
        ahead_s = max(self._latency_ms() / 1e3, now_ns / 1e9 - time_s)
        return self._predictor.predict(time_s + ahead_s)

    def figures(self) -> dict[str, float]:
        """Root mean square error per horizon, and that of not predicting at all."""
        return self._errors.figures()


@dataclass(frozen=True, slots=True)
class _Guess:
    time_s: float  # for which it was made
    predicted: Motion
    held: Motion


class HorizonErrors:
    """Compares what was predicted for a time with what was measured around it."""

    def __init__(self, horizons_ms: tuple[int, ...] = HORIZONS_MS) -> None:
        self._horizons_ms = horizons_ms
        self._squares: dict[int, deque[tuple[float, float, float, float]]] = {
            horizon: deque(maxlen=MAX_SAMPLES) for horizon in horizons_ms
        }
        self.reset()

    def reset(self) -> None:
        """Forget guesses not yet judged; the errors stay."""
        self._guesses: dict[int, deque[_Guess]] = {horizon: deque() for horizon in self._horizons_ms}
        self._last: tuple[float, Motion] | None = None

    def update(self, motion: Motion, time_s: float, predictor: MotionPredictor) -> None:
        """Judge the guesses whose time has come, then make new ones."""
        last = self._last
        for horizon, guesses in self._guesses.items():
            while guesses and guesses[0].time_s <= time_s:
                guess = guesses.popleft()
                if last is not None and guess.time_s >= last[0]:
                    share = (guess.time_s - last[0]) / max(time_s - last[0], 1e-9)
                    self._judge(horizon, guess, blend(last[1], motion, share))
            target_s = time_s + horizon / 1e3
            guesses.append(_Guess(target_s, predictor.predict(target_s), motion))
        self._last = (time_s, motion)

    def figures(self) -> dict[str, float]:
        """`predict_<ms>ms_rotation_deg`, `.._weights` and the same `_held`: of standing still."""
        figures: dict[str, float] = {}
        for horizon, squares in self._squares.items():
            if squares:
                roots = np.sqrt(np.mean(np.array(squares), axis=0))
                names = ("rotation_deg", "rotation_deg_held", "weights", "weights_held")
                figures |= {
                    f"predict_{horizon}ms_{name}": float(root)
                    for name, root in zip(names, roots, strict=True)
                }
        return figures

    def _judge(self, horizon: int, guess: _Guess, measured: Motion) -> None:
        angles, weights = [], []
        for motion in (guess.predicted, guess.held):
            turn = axis_angle.difference(motion.head_rotation, measured.head_rotation)
            angles.append(math.degrees(math.sqrt(turn @ turn)) ** 2)
            weights.append(
                float(np.mean((motion.weights - measured.weights) ** 2)) if len(measured.weights) else 0.0
            )
        self._squares[horizon].append((angles[0], angles[1], weights[0], weights[1]))
