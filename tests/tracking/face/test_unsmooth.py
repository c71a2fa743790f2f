from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np

from tests.tracking.face.synthetic_faces import FPS
from tracking.detect.detection import Detection
from tracking.face import unsmooth


def _one_euro(raw: np.ndarray) -> np.ndarray:
    """MediaPipe's filter, written out for one value at a time; the size is that of the raw face before."""
    filtered, speed = [raw[0]], np.zeros_like(raw[0])
    for before, now in itertools.pairwise(raw):
        size = np.ptp(before[:, :2], axis=0).mean()

        def share(cutoff: np.ndarray | float) -> np.ndarray | float:
            return 1 / (1 + FPS / (2 * math.pi * cutoff))

        speed = share(1.0) * (now - before) / size * FPS + (1 - share(1.0)) * speed
        part = share(0.05 + 80.0 * np.abs(speed))
        filtered.append(part * now + (1 - part) * filtered[-1])
    return np.array(filtered)


def _moving_face() -> np.ndarray:
    rng = np.random.default_rng(0)
    shape = rng.normal(size=(30, 3)) * 80 + 256
    t = np.arange(60) / FPS
    slow = 6 * np.sin(2 * np.pi * 0.7 * t)[:, None, None]
    return shape + slow + 0.2 * rng.normal(size=(60, 30, 3))


def test_the_detectors_filter_is_inverted() -> None:
    raw = _moving_face()
    times = np.arange(len(raw)) / FPS
    filtered = _one_euro(raw)
    lag = np.abs(filtered - raw).mean()
    # Where the speed changes its sign the root is not always the only one: single values may differ.
    error = np.abs(unsmooth._inverted(filtered, times) - raw).mean()
    assert error < 0.15 * lag


def test_a_new_start_of_the_tracker_begins_a_new_run() -> None:
    lost = Detection.lost(0, 0, 64, 48)
    clip = [replace(lost, index=i, run=run) for i, run in ((0, 1), (1, 1), (2, 2), (3, 2), (7, 2))]
    assert [rows.tolist() for rows in unsmooth.runs(clip)] == [[0, 1], [2, 3], [4]]


def test_one_frame_passes() -> None:
    raw = _moving_face()[:1]
    np.testing.assert_allclose(unsmooth.unsmoothed(raw, np.zeros(1)), raw)


def test_rows_that_shake_are_calmed_and_those_that_talk_are_not() -> None:
    rng = np.random.default_rng(0)
    t = np.arange(90) / 30
    steady = np.cumsum(rng.normal(0, 1, (90, 1, 3)), 0)  # the head's own motion
    talking = 8 * np.sin(2 * np.pi * 4 * t)[:, None, None] * (0.3, 1.0, 0.0)
    shaking = rng.normal(0, 1, (90, 1, 3))
    for moved, least, most in ((talking, 0.98, 1.001), (shaking, 0.2, 0.6)):
        landmarks = np.concatenate([steady, steady, steady + moved], 1)
        calm = unsmooth.calmed(landmarks, [2], [0, 1])
        np.testing.assert_array_equal(calm[:, :2], landmarks[:, :2])
        left = (calm[:, 2] - steady[:, 0]).std() / moved.std()
        assert least < left < most
