"""The solver on faces projected exactly from the model: what it must find, and what must not upset it."""

import numpy as np
import pytest
import torch

from render import axis_angle
from render.rigs.head import load_head
from render.rigs.units import eye_pose_from_units
from tests.tracking.fit.random_faces import combined_units, error_of, random_pose
from tracking.fit.embedding import HEAD_LANDMARKS, LandmarkEmbedding, landmark_model
from tracking.fit.face_fit import NUM_POSE, FaceFit, FaceFitter, FitSettings, Intrinsics

CAMERA = Intrinsics(760.0, 320.0, 240.0)
WEAK_PRIOR = FitSettings(unit_prior=1e-5)


@pytest.fixture(scope="module")
def model():
    return landmark_model(load_head(), LandmarkEmbedding.load(HEAD_LANDMARKS))


def fit_of(units, rotation, translation):
    return FaceFit(units, rotation, translation, np.zeros((478, 2)), 100.0)


def landmarks_of(fitter, truth):
    """Exact landmarks [478, 3] of a known face, with MediaPipe's kind of depth."""
    points = -fitter.linearise(np.zeros((478, 2)), truth, derivatives=False).residual
    seen = fitter.model.points @ truth.rotation.T
    depth = -seen[:, 2] * fitter.intrinsics.focal_px / -truth.translation[2]
    return np.c_[points, depth - depth.mean()]


def angle_deg(a, b):
    return float(np.degrees(np.linalg.norm(axis_angle.from_matrix(a @ b.T))))


def test_derivatives_agree_with_finite_differences(model):
    fitter = FaceFitter(model, CAMERA)
    rng = np.random.default_rng(0)
    units = rng.uniform(0.1, 0.9, 52)
    for pair in ("Down", "In"):  # each eye turns about one axis, where its derivative is exact
        for side in ("Left", "Right"):
            units[model.unit_names.index(f"eyeLook{pair}{side}")] = 0
    for side in ("Left", "Right"):
        units[model.unit_names.index(f"eyeLookUp{side}")] = 0
    fit = fit_of(units, axis_angle.to_matrix(np.array([0.1, 0.4, -0.1])), np.array([0.03, -0.02, -0.6]))
    landmarks = rng.uniform(0, 600, (478, 2))
    jacobian = fitter.linearise(landmarks, fit).jacobian
    vertical = [
        NUM_POSE + i for i, n in enumerate(model.unit_names) if n.startswith(("eyeLookUp", "eyeLookDown"))
    ]
    for column in set(range(jacobian.shape[2])) - set(vertical):
        step = np.r_[np.zeros(NUM_POSE), fit.units]
        ends = []
        for sign in (1, -1):
            moved = step.copy()
            moved[column] += sign * 1e-6
            ends.append(fitter.linearise(landmarks, fitter.moved(fit, moved), derivatives=False).residual)
        # Pixels per unit reach 2,000; the second-order term of a 1e-6 step and rounding are far below 1e-4.
        np.testing.assert_allclose(jacobian[:, :, column], (ends[1] - ends[0]) / 2e-6, atol=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_exact_landmarks_give_pose_and_shape_back(model, seed):
    rng = np.random.default_rng(seed)
    fitter = FaceFitter(model, CAMERA, WEAK_PRIOR)
    truth = fit_of(combined_units(rng, model.unit_names), *random_pose(rng))
    landmarks = landmarks_of(fitter, truth)
    fit = fitter.solve(landmarks, fitter.start(landmarks), iterations=25)
    assert error_of(fit) < 3e-4  # the weak priors leave a few hundredths of a pixel
    assert angle_deg(fit.rotation, truth.rotation) < 0.2
    assert abs(fit.translation[2] / truth.translation[2] - 1) < 0.01
    # Units that no landmark tells apart may trade; the face they make may not.
    off = model.units @ (fit.units - truth.units)
    assert np.linalg.norm(off, axis=1).mean() < 3e-4


def test_the_similarity_start_is_near(model):
    fitter = FaceFitter(model, CAMERA)
    for seed in range(5):
        truth = fit_of(np.zeros(52), *random_pose(np.random.default_rng(seed)))
        start = fitter.start(landmarks_of(fitter, truth))
        assert angle_deg(start.rotation, truth.rotation) < 8  # it ignores perspective
        assert abs(start.translation[2] / truth.translation[2] - 1) < 0.1


@pytest.mark.parametrize("name", ["eyeLookOutLeft", "eyeLookInRight", "eyeLookUpLeft", "eyeLookDownRight"])
def test_gaze_comes_from_the_irises(model, name):
    fitter = FaceFitter(model, CAMERA, WEAK_PRIOR)
    units = np.zeros(52)
    units[model.unit_names.index(name)] = 0.7
    truth = fit_of(units, np.eye(3), np.array([0.0, 0.0, -0.6]))
    landmarks = landmarks_of(fitter, truth)
    fit = fitter.solve(landmarks, fitter.start(landmarks), iterations=15)
    # Opposite looks may both be on; the eye's turn is their difference.
    found, wanted = (
        torch.stack(eye_pose_from_units(model.unit_names, torch.tensor(u))).numpy()
        for u in (fit.units, units)
    )
    np.testing.assert_allclose(np.degrees(found), np.degrees(wanted), atol=1.5)


def test_units_stay_in_their_bounds(model):
    fitter = FaceFitter(model, CAMERA, FitSettings(unit_prior=1e-6))
    rng = np.random.default_rng(1)
    truth = fit_of(np.ones(52) * 3, *random_pose(rng))  # a face nobody can make
    landmarks = landmarks_of(fitter, truth)
    fit = fitter.solve(landmarks, fitter.start(landmarks), iterations=10)
    assert (fit.units >= 0).all()
    assert (fit.units <= 1.3).all()


def test_wild_landmarks_are_outvoted(model):
    rng = np.random.default_rng(2)
    fitter = FaceFitter(model, CAMERA)
    truth = fit_of(np.zeros(52), *random_pose(rng))
    landmarks = landmarks_of(fitter, truth)
    wild = rng.choice(468, 40, replace=False)
    landmarks[wild, :2] += rng.normal(0, 40, (40, 2))
    fit = fitter.solve(landmarks, fitter.start(landmarks), iterations=15)
    assert angle_deg(fit.rotation, truth.rotation) < 1.5  # 9 % of the points lie 50 px off
