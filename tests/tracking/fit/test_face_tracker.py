import numpy as np
import pytest

from bench.track import jitter
from render.rigs.head import load_head
from tracking import axis_angle
from tracking.detect.detection import Detection
from tracking.fit.embedding import HEAD_LANDMARKS, LandmarkEmbedding, landmark_model
from tracking.fit.face_fit import FaceFit, FaceFitter, Intrinsics
from tracking.fit.face_tracker import FaceTracker, Steadier, SteadySettings
from tracking.making.rendered_faces import place

WIDTH, HEIGHT = 640, 480


@pytest.fixture(scope="module")
def studio():
    """Landmarks [478, 3] of the average head at a yaw in degrees."""
    model = landmark_model(load_head(), LandmarkEmbedding.load(HEAD_LANDMARKS))
    fitter = FaceFitter(model, Intrinsics.guess(WIDTH, HEIGHT))

    def landmarks(yaw_deg: float) -> np.ndarray:
        rotation = axis_angle.to_matrix(np.array([0.0, np.radians(yaw_deg), 0.0]))
        fit = FaceFit(np.zeros(52), rotation, place(rotation, 0.6), np.zeros(0), np.zeros(0), 0.0)
        points = -fitter.linearise(np.zeros((478, 2)), fit, derivatives=False).residual
        depth = -(model.points @ rotation.T)[:, 2] * fitter.intrinsics.focal_px / 0.6
        return np.c_[points, depth]

    return landmarks


def detection(landmarks, index, found=True):
    return Detection(
        landmarks=landmarks.astype(np.float32),
        scores=np.zeros(52, np.float32),
        head_matrix=np.eye(4, dtype=np.float32),
        found=found,
        capture_ns=index * 33_333_333,
        index=index,
        width=WIDTH,
        height=HEIGHT,
    )


def yaw_deg(fit):
    return float(np.degrees(axis_angle.from_matrix(fit.rotation))[1])


def test_a_still_face_under_noisy_landmarks_stays_still(studio):
    steady, _ = jitter(studio(10.0), WIDTH, HEIGHT, 3.0)
    raw, _ = jitter(studio(10.0), WIDTH, HEIGHT, 3.0, Steadier(SteadySettings(still_share=1.0)))
    assert steady["landmark_px"] <= 0.05  # the bounds asked of the tracker
    assert steady["rotation_deg"] <= 0.1
    assert raw["landmark_px"] > 0.3  # so the noise is there


@pytest.mark.parametrize("noise_px", [0.0, 0.3])
def test_a_turning_head_is_followed_without_delay(studio, noise_px):
    rng = np.random.default_rng(0)
    tracker = FaceTracker(WIDTH, HEIGHT)
    behind = []
    for index in range(25):
        yaw = max(0, index - 5) * 2.0 - 10  # from rest to 60 degrees a second
        landmarks = studio(yaw) + rng.normal(0, noise_px, (478, 3))
        fit = tracker.update(detection(landmarks, index))
        assert fit is not None
        behind.append(yaw - yaw_deg(fit))
    # A frame is two degrees: less than half a frame late while moving, and a frame at most when it begins.
    assert np.abs(behind[10:]).mean() < 1.0
    assert np.abs(behind).max() < 2.5


def test_a_lost_face_is_none_and_the_next_one_starts_afresh(studio):
    tracker = FaceTracker(WIDTH, HEIGHT)
    assert tracker.update(detection(studio(-20.0), 0)) is not None
    assert tracker.update(detection(studio(-20.0), 1, found=False)) is None
    fit = tracker.update(detection(studio(25.0), 2))
    assert fit is not None
    assert yaw_deg(fit) == pytest.approx(25.0, abs=1.5)  # nothing of the old pose is left


def test_the_noise_is_measured(studio):
    steadier = Steadier()
    tracker = FaceTracker(WIDTH, HEIGHT, steadier=steadier)
    rng = np.random.default_rng(1)
    for index in range(40):
        tracker.update(detection(studio(5.0) + rng.normal(0, 2.0, (478, 3)), index))
    assert steadier.noise_px == pytest.approx(2.0, rel=0.15)  # a fit of 58 numbers absorbs a few percent
