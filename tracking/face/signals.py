"""What is compared between a person and an avatar: points in the head's own frame, and rows on them.

The head's frame is MediaPipe's: x to the picture's right, y up, z out of the face, origin between the eyes,
one unit = the distance of the outer corners of the eyes. Points there change with the expression, hardly with
the head's pose, and not with the camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from tracking.detect.detection import Detection
from tracking.face.head_pose import angles_of, assumed_focal_px, head_pose_model, towards_camera

Array = NDArray[np.float64]

# MediaPipe's landmark numbers by the part of the face.
LIPS = (
    61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 146, 91, 181, 84, 17, 314, 405, 321, 375,
    78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 95, 88, 178, 87, 14, 317, 402, 318, 324,
)  # fmt: skip
EYES = (
    33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246,
    263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466,
)  # fmt: skip
BROWS = (
    70, 63, 105, 66, 107, 46, 53, 52, 65, 55, 300, 293, 334, 296, 336, 276, 283, 282, 295, 285,
)  # fmt: skip
JAW = (152, 148, 377, 176, 400, 149, 378, 150, 379, 136, 365, 172, 397, 199, 200, 18, 83, 313, 175)
NOSE = (1, 4, 5, 195, 197, 6, 168, 2, 98, 327, 129, 358, 48, 278, 115, 344)
CHEEKS = (
    50, 280, 205, 425, 187, 411, 123, 352, 101, 330, 36, 266, 117, 346, 234, 454, 127, 356,
    162, 389, 21, 251, 54, 284, 103, 332, 67, 297, 109, 338, 10, 151, 9, 8,
)  # fmt: skip
IRISES = (468, 473)
POINTS = LIPS + EYES + BROWS + JAW + NOSE + CHEEKS + IRISES  # the landmarks that are used, in this order
NUM_POINTS = len(POINTS)
POINTS_NOTE = " ".join(map(str, POINTS))  # what assets that hold something of these points are marked with

# Landmarks of one side and their mirror images; those of neither lie in the middle.
_MIRRORED = (
    (7, 249), (21, 251), (33, 263), (36, 266), (37, 267), (39, 269), (40, 270), (46, 276), (48, 278),
    (50, 280), (52, 282), (53, 283), (54, 284), (55, 285), (61, 291), (63, 293), (65, 295), (66, 296),
    (67, 297), (70, 300), (78, 308), (80, 310), (81, 311), (82, 312), (83, 313), (84, 314), (87, 317),
    (88, 318), (91, 321), (95, 324), (98, 327), (101, 330), (103, 332), (105, 334), (107, 336), (109, 338),
    (115, 344), (117, 346), (123, 352), (127, 356), (129, 358), (133, 362), (136, 365), (144, 373),
    (145, 374), (146, 375), (148, 377), (149, 378), (150, 379), (153, 380), (154, 381), (155, 382),
    (157, 384), (158, 385), (159, 386), (160, 387), (161, 388), (162, 389), (163, 390), (172, 397),
    (173, 398), (176, 400), (178, 402), (181, 405), (185, 409), (187, 411), (191, 415), (205, 425),
    (234, 454), (246, 466), (468, 473),
)  # fmt: skip

_UPPER_LIP, _LOWER_LIP = 13, 14
_MOUTH_CORNERS = (61, 291)
_LID_PAIRS = ((159, 145), (386, 374))  # the middle of the upper and the lower lid of each eye
EYE_CORNERS = (33, 133, 362, 263)
_BROW_ARCS = ((70, 63, 105, 66, 107), (300, 293, 334, 296, 336))
_DEPTH_WEIGHT = 0.35  # of a point's z row: the detector guesses depth from the picture
_PART_WEIGHTS = (
    (LIPS, 1.5),
    (EYES, 1.0),
    (BROWS, 1.5),
    (JAW, 0.7),
    (NOSE, 1.2),
    (CHEEKS, 0.7),
    (IRISES, 1.0),
)

# Distances that matter more than the points they are made of: (upper, lower, axis, weight).
_OPENINGS = (
    (13, 14, 1, 4.0), (82, 87, 1, 3.0), (312, 317, 1, 3.0), (81, 178, 1, 2.0), (311, 402, 1, 2.0),
    (61, 291, 0, 4.0), (78, 308, 0, 2.0),
    (159, 145, 1, 5.0), (158, 153, 1, 4.0), (160, 144, 1, 4.0),
    (386, 374, 1, 5.0), (385, 380, 1, 4.0), (387, 373, 1, 4.0),
)  # fmt: skip

_PLACE = {landmark: place for place, landmark in enumerate(POINTS)}
_MIRROR = dict(_MIRRORED) | {right: left for left, right in _MIRRORED}
MIRRORED_PLACES = np.array([_PLACE[_MIRROR.get(landmark, landmark)] for landmark in POINTS])
NUM_POINT_ROWS = 3 * NUM_POINTS  # rows of single points come first, rows of distances after them
# Rows of distances that measure the same on either side, counted from the first of them.
_SIDES = ((1, 2), (3, 4), (7, 10), (8, 11), (9, 12), (13, 14), (17, 19), (18, 20))
LIP_GAP_ROWS = slice(NUM_POINT_ROWS, NUM_POINT_ROWS + 5)  # the first five of _OPENINGS
_CORNER_PLACES = [_PLACE[corner] for corner in EYE_CORNERS]


def places(landmarks: tuple[int, ...]) -> NDArray[np.intp]:
    """Places of MediaPipe's landmark numbers within POINTS."""
    return np.array([_PLACE[landmark] for landmark in landmarks])


MOUTH_PLACES = places(LIPS + JAW).tolist()
STEADY_PLACES = places(NOSE + EYE_CORNERS).tolist()  # expression hardly moves them


@dataclass(frozen=True, slots=True)
class FaceTrack:
    """The found faces of some frames, T of them."""

    points: Array  # [T, NUM_POINTS, 3] in the head's frame
    angles: Array  # [T, 3] yaw, pitch, roll in degrees, as the detector has them
    scores: Array  # [T, 52] in the order of SCORE_NAMES
    position: Array  # [T, 3] of the point between the eyes: x right, y up from the middle, closeness
    sight: Array  # [T, 3] yaw, pitch, roll in degrees against the line of sight, from the landmarks alone
    towards: Array  # [T, 3] unit vectors from the face to the camera, camera axes: x right, y up, z back

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, chosen: slice | NDArray[np.intp]) -> FaceTrack:
        return FaceTrack(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @classmethod
    def joined(cls, tracks: Sequence[FaceTrack]) -> FaceTrack:
        """All frames of some tracks, one after another."""
        names = [field.name for field in fields(cls)]
        return cls(*(np.concatenate([getattr(track, name) for track in tracks]) for name in names))


def track_of(landmarks: Array, rotations: Array, scores: Array, sizes: Array) -> FaceTrack:
    """The faces of `landmarks` [T, NUM_POINTS, 3] pixels, axes as in `Detection`.

    Head rotations [T, 3, 3], scores [T, 52], picture sizes [T, 2] (width, height).
    """
    upright = landmarks * (1.0, -1.0, -1.0)
    points, unit = in_eye_units(upright @ rotations)
    middle = upright[:, _CORNER_PLACES, :2].mean(1) - sizes * (0.5, -0.5)
    position = np.concatenate([middle / unit[:, None], np.log(unit / sizes[:, 1])[:, None]], 1)
    model = head_pose_model()
    fitted = model.fit(upright)
    in_fit, fitted_unit = in_eye_units(upright @ fitted)
    towards = towards_camera(upright[:, model.rigid], sizes, assumed_focal_px(sizes, fitted_unit))
    sight = model.angles(fitted, in_fit)
    return FaceTrack(points, angles_of(rotations), scores, position, sight, towards)


def in_eye_units(points: Array) -> tuple[Array, Array]:
    """Points [T, NUM_POINTS, 3] about the middle of the eyes in eye units, and that unit's length [T]."""
    corners = points[:, _CORNER_PLACES]
    unit = np.linalg.norm(corners[:, 0] - corners[:, 3], axis=1) + 1e-9
    return (points - corners.mean(1, keepdims=True)) / unit[:, None, None], unit


def track_of_detections(detections: list[Detection]) -> FaceTrack:
    """The faces of detections that were all found."""
    landmarks = np.array([d.landmarks[list(POINTS)] for d in detections], np.float64)
    return track_of(landmarks, rotations_of(detections), *scores_and_sizes(detections))


def scores_and_sizes(detections: list[Detection]) -> tuple[Array, Array]:
    """Scores [T, 52] and picture sizes [T, 2] of detections that were all found."""
    sizes = np.array([(d.width, d.height) for d in detections], np.float64)
    return np.array([d.scores for d in detections], np.float64), sizes


def rotations_of(detections: list[Detection]) -> Array:
    """Head rotations [T, 3, 3] of MediaPipe's matrices, whose scale is taken out."""
    matrices = np.array([d.head_matrix[:3, :3] for d in detections], np.float64)
    return matrices / np.cbrt(np.linalg.det(matrices))[:, None, None]


def rows_of(points: Array) -> Array:
    """The rows [..., R] the solver compares, a linear function of points [..., NUM_POINTS, 3]."""
    flat = points.reshape(*points.shape[:-2], NUM_POINTS * 3)
    return np.concatenate([flat * _POINT_WEIGHTS, flat @ _DISTANCES.T], -1)


def same_on_both_sides(rows: Array) -> Array:
    """Rows [..., R] of distances; what is measured left and right becomes its mean, and points become 0."""
    out = np.array(rows)
    out[..., :NUM_POINT_ROWS] = 0
    for pair in _SIDES:
        chosen = [NUM_POINT_ROWS + row for row in pair]
        out[..., chosen] = rows[..., chosen].mean(-1, keepdims=True)
    return out


def one_sided(moves: Array) -> Array:
    """What moves [..., NUM_POINTS, 3] of points have that their mirror image has not."""
    return 0.5 * (moves - moves[..., MIRRORED_PLACES, :] * (-1.0, 1.0, 1.0))


def lip_gap(points: Array) -> Array:
    """Distance [...] between the lips' inner edges, in eye units."""
    upper, lower = places((_UPPER_LIP, _LOWER_LIP))
    return np.linalg.norm(points[..., upper, :] - points[..., lower, :], axis=-1)


def lid_gap(points: Array) -> Array:
    """Mean distance [...] between the lids of both eyes, in eye units."""
    gaps = []
    for pair in _LID_PAIRS:
        upper, lower = places(pair)
        gaps.append(np.linalg.norm(points[..., upper, :] - points[..., lower, :], axis=-1))
    return np.mean(gaps, axis=0)


def _row_matrix() -> Array:
    """[R, NUM_POINTS * 3]: single points, then openings, brow heights, corner lift and gaze."""
    rows: list[Array] = []

    def row(*terms: tuple[int, int, float]) -> None:
        values = np.zeros((NUM_POINTS, 3))
        for landmark, axis, weight in terms:
            values[_PLACE[landmark], axis] += weight
        rows.append(values.reshape(-1))

    part_of = {landmark: weight for part, weight in _PART_WEIGHTS for landmark in part}
    for landmark in POINTS:
        for axis, scale in enumerate((1.0, 1.0, _DEPTH_WEIGHT)):
            row((landmark, axis, part_of[landmark] * scale))
    for upper, lower, axis, weight in _OPENINGS:
        row((upper, axis, weight), (lower, axis, -weight))
    corners = [(corner, 1, -0.25) for corner in EYE_CORNERS]
    for arc in _BROW_ARCS:
        row(*((i, 1, 6 / len(arc)) for i in arc), *((i, a, 6 * w) for i, a, w in corners))
    row((107, 1, 2.0), (336, 1, 2.0), *((i, a, 4 * w) for i, a, w in corners))
    row(*((i, 1, 3.0) for i in _MOUTH_CORNERS), *((i, 1, -3.0) for i in (_UPPER_LIP, _LOWER_LIP)))
    for iris, (outer, inner) in ((468, (33, 133)), (473, (362, 263))):
        for axis, weight in ((0, 6.0), (1, 3.0)):
            row((iris, axis, weight), (outer, axis, -weight / 2), (inner, axis, -weight / 2))
    return np.array(rows)


_ROWS = _row_matrix()
NUM_ROWS = len(_ROWS)
_POINT_WEIGHTS = np.diag(_ROWS[:NUM_POINT_ROWS]).copy()  # rows of single points are one coordinate each
_DISTANCES = _ROWS[NUM_POINT_ROWS:]
