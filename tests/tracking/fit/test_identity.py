import numpy as np
import pytest

from render.rigs.head import load_head
from tests.tracking.fit.random_faces import combined_units, error_of, random_pose
from tracking.fit.embedding import HEAD_LANDMARKS, LandmarkEmbedding, landmark_model
from tracking.fit.face_fit import FaceFit, FaceFitter, Intrinsics
from tracking.fit.identity import fit_identity

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
    units = 0.6 * combined_units(rng, person.unit_names)
    fit = FaceFit(units, rotation, translation, np.zeros(0), 0.0)
    points = -fitter.linearise(np.zeros((478, 2)), fit, derivatives=False).residual
    depth = -(person.points @ rotation.T)[:, 2] * camera.focal_px / -translation[2]
    return np.c_[points + rng.normal(0, 0.5, points.shape), depth - depth.mean()]


def error_on(model, camera, frames):
    fitter = FaceFitter(model, camera)
    return float(np.mean([error_of(fitter.solve(f, fitter.start(f), iterations=6)) for f in frames]))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_persons_shape_is_found_and_fits_frames_it_was_not_found_on(average, seed):
    person, rng = person_of(average, seed), np.random.default_rng(10 + seed)
    frames = [picture(person, GUESS, rng) for _ in range(16)]
    unseen = [picture(person, GUESS, rng) for _ in range(6)]
    identity, fits = fit_identity(average, GUESS, frames)
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
    observations = [picture(person, truth, rng) for _ in range(16)]
    identity, _ = fit_identity(average, GUESS, observations)
    found = identity.intrinsics.focal_px / GUESS.focal_px
    # The perspective of a face is weak: a third of the way, in the logarithm, is what the prior lets pass.
    assert abs(np.log(found / ratio)) < 0.75 * abs(np.log(ratio))


def test_identity_needs_a_frame(average):
    with pytest.raises(ValueError, match="at least one"):
        fit_identity(average, GUESS, [])
