import numpy as np
import pytest

from render.rigs.head import load_head
from tracking.fit.embedding import HEAD_LANDMARKS, LandmarkEmbedding, landmark_model
from tracking.fit.face_fit import FaceFit, FaceFitter, Intrinsics
from tracking.fit.identity import IdentityCalibrator, Observation, fit_identity, with_neutral
from tracking.making.rendered_faces import combined_units, random_pose

GUESS = Intrinsics(760.0, 320.0, 240.0)


@pytest.fixture(scope="module")
def average():
    return landmark_model(load_head(), LandmarkEmbedding.load(HEAD_LANDMARKS))


def person_of(average, seed=0):
    weights = np.random.default_rng(seed).normal(size=average.modes.shape[2])
    return average.with_identity(weights)


def picture(person, camera, rng, pose=None):
    """Landmarks [478, 3] of a person in some expression and pose, shaken by half a pixel."""
    fitter = FaceFitter(person, camera)
    rotation, translation = pose or random_pose(rng)
    fit = FaceFit(
        0.6 * combined_units(rng, person.unit_names), rotation, translation, np.zeros(0), np.zeros(0), 0.0
    )
    points = -fitter.linearise(np.zeros((478, 2)), fit, derivatives=False).residual
    depth = -(person.points @ rotation.T)[:, 2] * camera.focal_px / -translation[2]
    return np.c_[points + rng.normal(0, 0.5, points.shape), depth - depth.mean()]


def error_on(model, camera, frames):
    fitter = FaceFitter(model, camera)
    return float(np.mean([fitter.solve(f, fitter.start(f), iterations=6).error for f in frames]))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_persons_shape_is_found_and_fits_frames_it_was_not_found_on(average, seed):
    person, rng = person_of(average, seed), np.random.default_rng(10 + seed)
    frames = [picture(person, GUESS, rng) for _ in range(16)]
    unseen = [picture(person, GUESS, rng) for _ in range(6)]
    identity, fits = fit_identity(average, GUESS, [Observation(f) for f in frames])
    assert len(fits) == 16
    # The person's own shape is the floor, which the shaking sets; the average one is where it starts.
    floor, start = error_on(person, GUESS, unseen), error_on(average, GUESS, unseen)
    assert start > 1.5 * floor
    assert error_on(identity.model, identity.intrinsics, unseen) < floor + 0.15 * (start - floor)

    def shape(model):
        return model.points - model.points.mean(0)

    # Depth shows least, so half of what sets the person apart may stay hidden at 30 degrees of yaw.
    off = np.linalg.norm(shape(identity.model) - shape(person), axis=1).mean()
    assert off < 0.6 * np.linalg.norm(shape(average) - shape(person), axis=1).mean()


@pytest.mark.parametrize("ratio", [0.75, 1.35])
def test_the_focal_length_moves_towards_the_truth(average, ratio):
    person, rng = person_of(average, 3), np.random.default_rng(5)
    truth = Intrinsics(ratio * GUESS.focal_px, GUESS.cx, GUESS.cy)
    observations = [Observation(picture(person, truth, rng)) for _ in range(16)]
    identity, _ = fit_identity(average, GUESS, observations)
    found = identity.intrinsics.focal_px / GUESS.focal_px
    # The perspective of a face is weak: a third of the way, in the logarithm, is what the prior lets pass.
    assert abs(np.log(found / ratio)) < 0.75 * abs(np.log(ratio))


def test_a_neutral_face_becomes_the_models_own(average):
    person, rng = person_of(average, 4), np.random.default_rng(6)
    frontal = (np.eye(3), np.array([0.0, -0.01, -0.66]))
    fitter = FaceFitter(person, GUESS)
    rest = FaceFit(np.zeros(52), *frontal, np.zeros(0), np.zeros(0), 0.0)
    points = -fitter.linearise(np.zeros((478, 2)), rest, derivatives=False).residual
    landmarks = np.c_[points, -person.points[:, 2] * GUESS.focal_px / 0.66]
    bent = landmarks + np.c_[rng.normal(0, 2, (478, 2)), np.zeros(478)]
    fitter.set_model(with_neutral(fitter, bent))
    assert fitter.solve(bent, fitter.start(bent), iterations=6).error < 1e-3


def test_identity_needs_a_frame(average):
    with pytest.raises(ValueError, match="at least one"):
        fit_identity(average, GUESS, [])


def test_the_calibrator_waits_a_second_and_refines_only_for_new_views(average):
    person, rng = person_of(average, 7), np.random.default_rng(8)
    calibrator = IdentityCalibrator(average, GUESS)
    fitter = FaceFitter(average, GUESS)
    found = []
    frontal = (np.eye(3), np.array([0.0, -0.01, -0.66]))
    for index in range(150):
        # Still for three seconds, then looking around.
        landmarks = picture(person, GUESS, rng, frontal if index < 90 else None)
        fit = fitter.solve(landmarks, fitter.start(landmarks), iterations=3)
        if calibrator.add(Observation(landmarks), fit, index * 33_333_334) is not None:
            found.append(index)
    assert found[0] == 30  # one second after the first frame
    assert found[-1] > 90  # and again when the head had turned
    assert len(found) <= 4  # at doubling intervals only
    assert calibrator.identity is not None
