from __future__ import annotations

import numpy as np
import pytest

from render.rigs.units import Unit
from tests.tracking.face.synthetic_faces import NAMES, detection_of, made_up_response
from tracking.face.neutral import estimate_neutral
from tracking.face.signals import FaceTrack, rows_of, track_of_detections
from tracking.face.solver import _BROW_GAIN, ExpressionSolver, Neutral
from tracking.face.units import unit_limits

RESPONSE = made_up_response(len(NAMES))
UNITS = tuple(map(Unit, NAMES))


@pytest.fixture
def solver() -> ExpressionSolver:
    solver = ExpressionSolver(RESPONSE, unit_limits(UNITS), UNITS)
    solver.set_neutral(Neutral(RESPONSE.neutral_points, np.zeros(3)))
    return solver


def _points(weights: np.ndarray) -> np.ndarray:
    return RESPONSE.neutral_points + np.tensordot(weights, RESPONSE.unit_points, 1)


def _track(weights: np.ndarray) -> FaceTrack:
    return track_of_detections([detection_of(_points(w), np.zeros(3), i) for i, w in enumerate(weights)])


def test_rows_are_linear_in_the_points() -> None:
    a, b = np.random.default_rng(1).normal(size=(2, *RESPONSE.neutral_points.shape))
    np.testing.assert_allclose(rows_of(2 * a - b), 2 * rows_of(a) - rows_of(b), atol=1e-12)


def test_the_heads_frame_does_not_see_the_heads_pose() -> None:
    points = _points(np.full(len(NAMES), 0.5))
    straight, turned = (
        track_of_detections([detection_of(points, np.array(angles), 0)])
        for angles in ((0.0, 0.0, 0.0), (25.0, -10.0, 15.0))
    )
    np.testing.assert_allclose(straight.points, points[None], atol=1e-5)  # float32 pixels: 1e-7 of 512
    np.testing.assert_allclose(turned.points, points[None], atol=1e-5)
    np.testing.assert_allclose(turned.angles, [(25.0, -10.0, 15.0)], atol=1e-4)


def test_known_weights_are_recovered(solver: ExpressionSolver) -> None:
    weights = np.random.default_rng(2).uniform(0, 1, (20, len(NAMES)))
    weights[:, 2], weights[:, 5] = weights[:, 1], weights[:, 4]
    track = _track(weights)
    solved = solver.solve_many(solver.rows(track.points, track.angles))
    # Damping 0.024 against columns of squared length 5 and more pulls weights to zero by under 2 %.
    brows = np.where([name.startswith("brow") for name in NAMES], _BROW_GAIN, 1)
    np.testing.assert_allclose(solved * brows, weights, atol=0.02)


def test_a_one_sided_smile_is_played_on_its_side(solver: ExpressionSolver) -> None:
    weights = np.zeros((1, len(NAMES)))
    weights[0, 1] = 0.9
    track = _track(weights)
    solved = solver.solve_many(solver.rows(track.points, track.angles))[0]
    assert solved[1] > 1.5 * solved[2]  # the cost of a difference takes a third of each side


def test_weights_stay_within_their_bounds(solver: ExpressionSolver) -> None:
    track = _track(np.array([np.full(len(NAMES), 5.0), np.full(len(NAMES), -5.0)]))
    solved = solver.solve_many(solver.rows(track.points, track.angles))
    limits = solver.limits
    assert (solved >= limits.lower).all()
    assert (solved <= limits.upper).all()
    assert (solved[0] == limits.upper).any()
    assert (solved[1] == limits.lower).any()


def test_a_unit_without_reach_is_never_used() -> None:
    reach = np.full(len(NAMES), 2.0)
    reach[3] = 0.0
    solver = ExpressionSolver(RESPONSE, unit_limits(UNITS).within(reach), UNITS)
    solver.set_neutral(Neutral(RESPONSE.neutral_points, np.zeros(3)))
    track = _track(np.full((1, len(NAMES)), 0.8))
    assert solver.solve_many(solver.rows(track.points, track.angles))[0, 3] == 0.0


def test_the_neutral_is_found_although_no_frame_shows_it(solver: ExpressionSolver) -> None:
    # A person of another shape, whose mouth and brows are never at rest together.
    rng = np.random.default_rng(3)
    shape = rng.normal(size=RESPONSE.neutral_points.shape) * 0.01
    weights = np.zeros((120, len(NAMES)))
    weights[:60, 1:3] = rng.uniform(0.5, 1.0, (60, 1))
    weights[60:, 3] = rng.uniform(0.5, 1.0, 60)
    scores = [
        {"mouthSmileLeft": w[1], "mouthSmileRight": w[2], "browInnerUp": w[3]} for w in weights.tolist()
    ]
    detections = [detection_of(_points(w) + shape, np.zeros(3), i, scores[i]) for i, w in enumerate(weights)]
    track = track_of_detections(detections)
    truth = track_of_detections([detection_of(RESPONSE.neutral_points + shape, np.zeros(3), 0)]).points[0]
    neutral = estimate_neutral(solver, track, jaw_unit=None, seconds=300.0)
    error = np.abs(neutral.points - truth).mean()
    mean_face = np.abs(track.points.mean(0) - truth).mean()
    # The prior of resting faces knows no made-up expressions and takes some of them for the person.
    assert error < 0.75 * mean_face


def test_head_angles_are_corrected_for_gain_and_expression() -> None:
    weights, wanted = np.full(len(NAMES), 0.7), np.array([20.0, -8.0, 5.0])
    played = RESPONSE.angles_for(wanted, weights, np.zeros(3))
    np.testing.assert_allclose(RESPONSE.detected_angles(weights, played, np.zeros(3)), wanted, atol=1e-6)
    # Measured 10 % short, so it must be played further: 20 / 0.9.
    still = RESPONSE.angles_for(wanted, np.zeros(len(NAMES)), np.zeros(3))
    np.testing.assert_allclose(still, wanted / 0.9, atol=1e-6)
