"""Shows the face where it will be when the picture is seen, and measures how far off that is."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from render.avatars.avatar import Avatar
from render.rigs.params import RigParams
from tracking import axis_angle
from tracking.calibration.view import params_of
from tracking.face.motion import FaceMotion, blend
from tracking.face.prediction import MotionPredictor
from tracking.face.result import TrackingResult

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

    def __call__(self, avatar: Avatar, result: TrackingResult, now_ns: int) -> RigParams:
        """The parameters to show instead of the result's own."""
        if not result.found:
            self.reset()
            return result.params
        motion = motion_of(avatar, result.params)
        time_s = result.capture_ns / 1e9
        self._predictor.update(motion, time_s)
        self._errors.update(motion, time_s, self._predictor)
        ahead_s = max(self._latency_ms() / 1e3, now_ns / 1e9 - time_s)
        return params_of(avatar, self._predictor.predict(time_s + ahead_s))

    def figures(self) -> dict[str, float]:
        """Root mean square error per horizon, and that of not predicting at all."""
        return self._errors.figures()


@dataclass(frozen=True, slots=True)
class _Guess:
    time_s: float  # for which it was made
    predicted: FaceMotion
    held: FaceMotion


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
        self._last: tuple[float, FaceMotion] | None = None

    def update(self, motion: FaceMotion, time_s: float, predictor: MotionPredictor) -> None:
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

    def _judge(self, horizon: int, guess: _Guess, measured: FaceMotion) -> None:
        angles, weights = [], []
        for motion in (guess.predicted, guess.held):
            turn = axis_angle.difference(motion.rotation, measured.rotation)
            angles.append(math.degrees(math.sqrt(turn @ turn)) ** 2)
            weights.append(
                float(np.mean((motion.weights - measured.weights) ** 2)) if len(measured.weights) else 0.0
            )
        self._squares[horizon].append((angles[0], angles[1], weights[0], weights[1]))


def motion_of(avatar: Avatar, params: RigParams) -> FaceMotion:
    """The three things that `Avatar.params_from_units` made the parameters of."""
    names = avatar.rig.joint_names
    turning = [names.index(n) for n in ("neck", "head")] if {"neck", "head"} <= set(names) else [0]
    return FaceMotion(
        weights=params.expression.double().numpy(),
        # one rotation was split over these joints about one axis: the sum is the whole
        rotation=params.pose[turning].sum(0).double().numpy(),
        translation=params.translation.double().numpy(),
    )
