"""Made-up faces that follow a known response exactly, for tests without a detector."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracking.detect.detection import NUM_LANDMARKS, NUM_SCORES, SCORE_NAMES, Detection
from tracking.face.head_pose import head_pose_model, rotation_of_angles
from tracking.face.response import NUM_POSE_TERMS, DetectorResponse
from tracking.face.signals import NUM_POINTS, POINTS

Array = NDArray[np.float64]

NAMES = ("jawOpen", "mouthSmileLeft", "mouthSmileRight", "browInnerUp", "eyeBlinkLeft", "eyeBlinkRight")
SIZE = 512
FPS = 30.0


def made_up_response(num_units: int, seed: int = 0) -> DetectorResponse:
    """Units that move the points in smooth random ways; the head's angles are measured 10 % short."""
    rng = np.random.default_rng(seed)
    model = head_pose_model()
    points = model.points - model.points[eye_corner_places()].mean(0)
    points /= np.linalg.norm(np.subtract(*model.points[eye_corner_places()[[0, 3]]]))
    moved = rng.normal(size=(num_units, NUM_POINTS, 3)) * 0.05
    moved[:, model.rigid] = 0  # the frame itself must not move
    pose = np.zeros((NUM_POSE_TERMS, 3))
    pose[:3] = 9 * np.eye(3)
    return DetectorResponse(
        neutral_points=points,
        unit_points=moved,
        unit_reach=np.full(num_units, 2.0),
        pose_points=np.zeros((NUM_POSE_TERMS, NUM_POINTS, 3)),
        neutral_angles=np.zeros(3),
        unit_angles=rng.normal(size=(num_units, 3)),
        pose_angles=pose,
        shift_angles=np.zeros((3, 3)),
        eye_distance=np.array(0.09),
        signature=np.zeros(1),
    )


def eye_corner_places() -> NDArray[np.intp]:
    return np.array([POINTS.index(i) for i in (33, 133, 362, 263)])


def detection_of(
    points: Array, angles: Array, index: int, scores: dict[str, float] | None = None
) -> Detection:
    """The detection of a face whose head frame shows `points` [P, 3] at head angles [3] degrees."""
    rotation = rotation_of_angles(angles)
    landmarks = np.zeros((NUM_LANDMARKS, 3))
    landmarks[list(POINTS)] = (points @ rotation.T * 150) * (1.0, -1.0, -1.0) + (SIZE / 2, SIZE / 2, 0)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    values = np.zeros(NUM_SCORES, np.float32)
    for name, score in (scores or {}).items():
        values[SCORE_NAMES.index(name)] = score
    return Detection(
        landmarks=landmarks.astype(np.float32),
        scores=values,
        head_matrix=matrix.astype(np.float32),
        found=True,
        capture_ns=round(index * 1e9 / FPS),
        index=index,
        width=SIZE,
        height=SIZE,
    )
