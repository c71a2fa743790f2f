"""When the pictures of a fast camera leave."""

from __future__ import annotations

import numpy as np

from transport.webrtc.pacing import MOST_HELD, Pacer


def leaving(fps: float, latencies_s: np.ndarray) -> np.ndarray:
    """Seconds at which pictures leave that are ready so long after their frames, which come evenly."""
    pacer = Pacer()
    held = np.array([pacer.hold_s(float(latency), fps) for latency in latencies_s])
    assert (held >= 0).all()
    assert (held <= MOST_HELD / fps).all()
    return np.arange(len(latencies_s)) / fps + latencies_s + held


def test_a_fast_cameras_pictures_leave_evenly_and_no_later_than_the_late_ones() -> None:
    latencies = 0.020 + np.random.default_rng(0).uniform(0, 0.006, 600)
    before = np.arange(600) / 60 + latencies
    after = leaving(60, latencies)
    assert np.std(np.diff(after[100:])) < 0.5 * np.std(np.diff(before[100:]))
    assert (after - np.arange(600) / 60)[100:].max() < latencies.max() + 1e-9


def test_a_usual_cameras_pictures_are_never_held() -> None:
    latencies = 0.020 + np.random.default_rng(0).uniform(0, 0.006, 100)
    np.testing.assert_array_equal(leaving(30, latencies), np.arange(100) / 30 + latencies)


def test_one_late_picture_does_not_hold_up_the_next_seconds() -> None:
    latencies = np.full(300, 0.02)
    latencies[100] = 0.2
    late_by = leaving(60, latencies) - np.arange(300) / 60
    assert late_by[102:].max() <= 0.02 + MOST_HELD / 60 + 1e-9
    assert late_by[250] < 0.0215
