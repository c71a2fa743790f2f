from __future__ import annotations

import numpy as np

from tracking.face.refine import ClipCoordinates, Discrepancy, RefineConfig, sampled_frames


def test_a_smooth_discrepancy_is_learned_from_a_third_of_the_frames() -> None:
    t = np.linspace(0, 12, 300)
    expected = np.stack([np.sin(t), np.cos(1.7 * t), 0.3 * np.sin(2.3 * t)], 1)
    angles = np.stack([10 * np.sin(0.4 * t), np.zeros(300), np.zeros(300)], 1)
    truth = np.stack([0.5 * np.sin(t) ** 2, 0.02 * angles[:, 0]], 1)
    coordinates = ClipCoordinates(expected, angles)(expected, angles)
    noise = 0.02 * np.random.default_rng(0).normal(size=truth.shape)
    learned = Discrepancy(RefineConfig())
    learned.add(coordinates[::3], truth[::3] + noise[::3])
    left = learned(coordinates) - truth
    assert left.std() < 0.3 * truth.std()


def test_without_expression_the_coordinates_are_finite() -> None:
    still = ClipCoordinates(np.zeros((5, 4)), np.zeros((5, 3)))
    assert np.isfinite(still(np.zeros((5, 4)), np.zeros((5, 3)))).all()


def test_long_clips_are_sampled_more_thinly() -> None:
    config = RefineConfig()
    assert len(sampled_frames(100_000, config, 0)) <= config.max_frames
    first, second = (set(sampled_frames(60, config, i).tolist()) for i in (0, 1))
    assert len(first) == 60 / config.step
    assert len(second) < len(first)
    assert not first & second
    assert sampled_frames(1, config, 1).tolist() == [0]
