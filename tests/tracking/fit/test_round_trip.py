"""With the real detector: renders whose truth is known, and real people."""

import numpy as np
import pytest
import torch

from bench.track import reprojection
from render.avatars.library import DEFAULT_AVATAR, open_avatar
from tracking import axis_angle
from tracking.detect.face_detector import FaceDetector
from tracking.errors import TrackingError
from tracking.fit.embedding import HEAD_LANDMARKS, LandmarkEmbedding
from tracking.fit.fit_correction import FitCorrection, FittedFace
from tracking.fit.round_trip import round_trip
from tracking.making.rendered_faces import (
    FaceStudio,
    combined_units,
    scattered_units,
    unit_scores,
    without_neutral,
)


@pytest.fixture(scope="module")
def model(models_dir):
    return models_dir / "face_landmarker.task"


def test_a_rendered_face_comes_back(model):
    torch.set_num_threads(1)
    with FaceDetector(model, mode="image") as detector:
        studio = FaceStudio(open_avatar(DEFAULT_AVATAR), detector)
        rng = np.random.default_rng(200)  # not a seed that made the correction
        embedding = LandmarkEmbedding.load(HEAD_LANDMARKS)
        trip = round_trip(studio, embedding, combined_units, 30, rng)
        studio.close()
    assert len(trip.faces) >= 29
    correction = FitCorrection.load()
    found = trip.vertex_error_m(correction).mean()
    assert found <= 0.9e-3  # the bound asked of the solver; measured 0.75 to 0.84 mm
    assert found < 0.65 * trip.resting_error_m().mean()  # a tracker that always says neutral does not pass
    assert trip.rotation_error_deg(correction).mean() <= 2.5  # the bound asked
    assert trip.rotation_error_deg(correction).mean() < trip.rotation_error_deg().mean()
    assert trip.gaze_error_deg(correction).mean() < 6.5  # measured 4.3; MediaPipe's irises allow no better
    assert np.median(trip.depth_error) < 0.03


@pytest.mark.parametrize("clip", ["lp_d10.mp4", "lp_d13.mp4"])
def test_real_faces_are_met_after_their_first_second(model, testdata_dir, clip):
    result = reprojection(testdata_dir / "videos" / clip, model)
    assert result["frames"] > 90
    assert result["reprojection_percent"] <= 2.5  # the bound asked; measured 1.7 to 2.1


def test_scores_go_to_their_units_and_lose_the_neutral():
    scores = np.arange(52) / 100
    ordered = unit_scores(scores, ("jawOpen", "tongueOut", "browDownLeft"))
    np.testing.assert_allclose(ordered, [0.25, 0.0, 0.01])
    neutral = np.array([0.2, 0.9, 0.0])
    np.testing.assert_allclose(without_neutral(np.array([1.0, 0.95, 0.4]), neutral), [1.0, 0.25, 0.4])
    np.testing.assert_allclose(without_neutral(neutral - 0.1, neutral), 0)


def test_a_correction_learns_linear_habits_and_leaves_unseen_units_alone():
    rng = np.random.default_rng(0)
    faces = []
    for _ in range(400):
        true = np.r_[rng.uniform(0, 1, 3), 0]
        seen = true * [0.5, 1.0, 0.6, 0] + np.r_[0.2 * true[1], 0, 0, 0]
        turn = rng.uniform(-0.4, 0.4, 3)
        # The fit turns too little, and nods with the first unit.
        found = axis_angle.to_matrix(np.r_[-0.1 * seen[0], 0, 0]) @ axis_angle.to_matrix(0.9 * turn)
        faces.append(FittedFace(seen, np.zeros(4), found, true, axis_angle.to_matrix(turn)))
    correction = FitCorrection.learn(faces)
    for face in faces[:20]:
        # The ridge of one picture among 400 leaves some percent of the habit.
        np.testing.assert_allclose(correction.units(face.units, face.scores), face.true_units, atol=0.06)
        off = correction.rotation(face.rotation, face.units) @ face.true_rotation.T
        assert np.degrees(np.linalg.norm(axis_angle.from_matrix(off))) < 0.5
    assert correction.units(np.array([0, 0, 0, 0.4]), np.zeros(4))[3] == pytest.approx(0.4)


def test_random_units_are_possible_faces():
    names = open_avatar(DEFAULT_AVATAR).rig.expression_names
    rng = np.random.default_rng(0)
    for draw in (combined_units, scattered_units):
        drawn = np.array([draw(rng, names) for _ in range(200)])
        assert drawn.min() == 0
        assert drawn.max() <= 1
        assert (drawn > 0).any(1).mean() > 0.8
    jaws = drawn[:, names.index("jawLeft")] * drawn[:, names.index("jawRight")]
    assert not jaws.any()


def test_a_missing_correction_is_one_line(tmp_path):
    with pytest.raises(TrackingError, match="install visavis again") as caught:
        FitCorrection.load(tmp_path / "none.safetensors")
    assert "\n" not in str(caught.value)
