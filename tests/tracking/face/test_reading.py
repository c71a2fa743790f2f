"""What is read of a face from landmarks, scores and angles together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from render.avatars.library import open_avatar
from tests.tracking.face.synthetic_faces import made_up_response
from tests.tracking.face.test_solver import UNITS
from tracking.calibration.stored import response_of
from tracking.detect.detection import NUM_SCORES, SCORE_NAMES
from tracking.errors import TrackingError
from tracking.face.neutral import estimate_neutral
from tracking.face.reading import FaceReading, Read, face_reading
from tracking.face.signals import NUM_POINTS, FaceTrack
from tracking.face.solver import ExpressionSolver, Neutral
from tracking.face.units import looks_up, unit_limits
from tracking.making.make_reading import Acted, acted_weights, fitted, mirror_order

VERA = open_avatar("vera")
NAMES = VERA.rig.unit_names


@pytest.fixture
def solver() -> ExpressionSolver:
    response = response_of(VERA)
    assert response is not None
    limits = unit_limits(VERA.rig.units).within(response.unit_reach)
    return ExpressionSolver(response, limits, VERA.rig.units)


def _track(points: np.ndarray, scores: np.ndarray) -> FaceTrack:
    return FaceTrack(points, np.zeros((len(points), 3)), scores, *np.zeros((3, len(points), 3)))


def _people(num: int) -> tuple[FaceTrack, Acted, np.ndarray]:
    """Faces whose points do not move at all, and whose scores are half of what is acted."""
    generator = np.random.default_rng(0)
    weights = np.array([acted_weights(NAMES, generator) for _ in range(num)])
    at_rest = np.arange(num) % 8 == 0
    weights[at_rest] = 0
    columns = [SCORE_NAMES.index(name) for name in NAMES if name in SCORE_NAMES]
    known = [name in SCORE_NAMES for name in NAMES]
    scores = np.full((num, NUM_SCORES), 0.1)
    scores[:, columns] += 0.5 * weights[:, known]
    track = _track(np.zeros((num, NUM_POINTS, 3)), scores)
    return track, Acted(np.arange(num) // 8, at_rest, weights), weights


def test_what_scores_alone_show_is_read() -> None:
    track, acted, weights = _people(640)
    reading = fitted(track, acted, NAMES)
    read = reading.read(track, np.zeros((NUM_POINTS, 3)), np.full(NUM_SCORES, 0.1), np.zeros(3)).weights
    often = weights.std(0) > 0.1
    assert often.sum() > 20
    missed = np.sqrt(((read - weights)[:, often] ** 2).mean(0))
    assert missed.max() < 0.05
    np.testing.assert_allclose(reading.rest_scores(track, weights), 0.1, atol=0.01)


def test_left_and_right_are_read_alike() -> None:
    reading = face_reading()
    other = mirror_order(reading.names)
    assert [reading.names[i] for i in other][:2] == ["browDownRight", "browDownLeft"]
    scores = reading.units[-NUM_SCORES - 9 : -9]
    mirrored = scores[mirror_order(SCORE_NAMES)][:, other]
    np.testing.assert_allclose(scores, mirrored, atol=0.02 * np.abs(scores).max())


def test_units_are_read_by_their_names() -> None:
    reading = face_reading()
    names = ("tailWag", *reversed(reading.names))
    reordered = reading.of_units(names)
    assert reordered is not None
    np.testing.assert_array_equal(reordered.units[:, 1:], reading.units[:, ::-1])
    assert not reordered.known[0]
    assert not reordered.scores[0].any()
    assert reading.of_units(names[:20]) is None


def test_other_rigs_are_not_read() -> None:
    solver = ExpressionSolver(made_up_response(len(UNITS)), unit_limits(UNITS), UNITS)
    assert solver.reading is None


def test_a_gaze_that_was_read_is_played(solver: ExpressionSolver) -> None:
    assert solver.reading is not None
    read = np.zeros((1, len(NAMES)))
    read[0, [NAMES.index("eyeLookUpLeft"), NAMES.index("eyeLookUpRight")]] = 0.6
    rows = np.zeros((1, solver.unit_rows.shape[1]))  # points that have not moved
    up = solver.solve_many(rows, Read(read, np.ones(1))) @ looks_up(NAMES)
    np.testing.assert_allclose(up, 0.6, atol=0.05)
    assert np.abs(solver.solve_many(rows)).max() < 1e-6


def test_what_is_read_is_played_however_weakly_the_detector_sees_the_avatar(solver: ExpressionSolver) -> None:
    response = solver.response
    weak = ExpressionSolver(
        replace(response, unit_points=0.6 * response.unit_points), solver.limits, VERA.rig.units
    )
    read = np.zeros((1, len(NAMES)))
    read[0, NAMES.index("jawOpen")] = 0.5
    rows = read @ solver.unit_rows  # the person moves as most people do
    by_points, by_both = (
        weak.solve_many(rows, Read(read, np.ones(1)), trust=trust)[0, NAMES.index("jawOpen")]
        for trust in (0.0, 1.0)
    )
    assert by_points > 0.7
    assert by_both == pytest.approx(0.5, abs=0.02)


def test_cheeks_move_though_points_do_not_show_them(solver: ExpressionSolver) -> None:
    cheeks = [NAMES.index("cheekSquintLeft"), NAMES.index("cheekSquintRight")]
    assert not solver.response.unit_points[cheeks].any()
    read = np.zeros((1, len(NAMES)))
    read[0, cheeks] = 0.5
    rows = read @ solver.unit_rows
    assert (solver.solve_many(rows, Read(read, np.ones(1)), trust=1.0)[0, cheeks] > 0.4).all()


def test_a_profile_is_hardly_read() -> None:
    track = _track(np.zeros((3, NUM_POINTS, 3)), np.zeros((3, NUM_SCORES)))
    track.angles[:, 0] = (0.0, 20.0, -60.0)
    trust = face_reading().read(track, np.zeros((NUM_POINTS, 3)), np.zeros(NUM_SCORES), np.zeros(3)).trust
    assert trust[0] == 1
    assert trust[1] > 0.8
    assert trust[2] < 0.1


def test_faces_are_read_once_their_rest_is_known(solver: ExpressionSolver) -> None:
    track = _track(np.repeat(solver.response.neutral_points[None], 40, 0), np.full((40, NUM_SCORES), 0.2))
    solver.set_neutral(Neutral(track.points[0], np.zeros(3)))
    assert solver.read(track) is None
    estimate_neutral(solver, track, NAMES.index("jawOpen"), 40 / 30)
    read = solver.read(track)
    assert read is not None
    assert np.abs(read.weights).max() < 0.15
    np.testing.assert_allclose(solver.neutral.scores, 0.2, atol=0.1)


def test_a_damaged_reading_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "reading.safetensors"
    for content in (None, b"", b"\x08" + b"\0" * 40):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(TrackingError, match=r"reading\.safetensors.*install visavis again"):
            FaceReading.load(path)
