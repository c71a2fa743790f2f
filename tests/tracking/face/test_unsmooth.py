from __future__ import annotations

import itertools
import math

import numpy as np

from tests.tracking.face.synthetic_faces import FPS
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


def test_one_frame_passes() -> None:
    raw = _moving_face()[:1]
    np.testing.assert_allclose(unsmooth.unsmoothed(raw, np.zeros(1)), raw)
