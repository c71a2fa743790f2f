"""The face of a person at rest, estimated from frames in which it never needs to be at rest as a whole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracking.detect.detection import SCORE_NAMES
from tracking.face.signals import BROWS, EYES, IRISES, JAW, LIPS, FaceTrack, lip_gap, places
from tracking.face.solver import ExpressionSolver, Neutral

Array = NDArray[np.float64]

_ROUNDS = 4
_STEP = 0.7  # of the correction that a round finds; whole steps swing
_MAX_FRAMES = 80  # solved in a round
_SHUT_LIPS = 0.004  # eye units between shut lips, as the detector sees them
_YAW_COST = 0.01  # of a degree of yaw, in units of a score


def estimate_neutral(
    solver: ExpressionSolver,
    track: FaceTrack,
    jaw_unit: int | None,
    rounds: int = _ROUNDS,
    max_frames: int = _MAX_FRAMES,
) -> Neutral:
    """The neutral of the person in `track` (at least one frame); leaves the solver set to it.

    Each part of the face starts as the median of the frames in which that part shows the least expression.
    Each round then solves frames from all over the track and takes the median of what no unit explains as
    part of the person. At last the lips are closed by the `jaw_unit`: a person who talks all the time is
    never seen with the lips shut, and the avatar's would stay open.
    """
    neutral = _calm_parts(track)
    chosen = np.unique(np.linspace(0, len(track) - 1, min(len(track), max_frames)).astype(int))
    some = track[chosen]
    for _ in range(rounds):
        solver.set_neutral(neutral, shut_lips=False)
        weights = solver.solve_many(solver.rows(some.points, some.angles))
        leak = solver.response.leaked_points(some.angles) - solver.response.leaked_points(neutral.angles)
        # A smile that is one-sided most of the time is the person's face, or the detector's view of it.
        lasting = np.median(weights @ solver.one_sidedness, 0)
        played = (weights - lasting) * solver.unit_gains
        explained = np.tensordot(played, solver.response.unit_points, 1) + leak
        left = np.median(some.points - explained - neutral.points, 0)
        neutral = Neutral(neutral.points + _STEP * left, neutral.angles)
    if jaw_unit is not None:
        neutral = _with_shut_lips(neutral, solver.response.unit_points[jaw_unit])
    solver.set_neutral(neutral)
    return neutral


def _calm_parts(track: FaceTrack) -> Neutral:
    mouth = _activity(track, "jaw", "mouth")
    brows = _activity(track, "brow")
    lids = _activity(track, "eyeBlink", "eyeWide", "eyeSquint")
    turned = _YAW_COST * np.abs(track.angles[:, 0])

    def calmest(cost: Array, share: float) -> NDArray[np.intp]:
        return np.argsort(cost + turned, kind="stable")[: max(5, int(share * len(track)))]

    whole = calmest(mouth + brows + 0.5 * lids, 0.2)
    points = np.median(track.points[whole], 0)
    for part, frames in (
        (BROWS, calmest(brows + 0.3 * lids, 0.3)),
        (EYES, calmest(lids, 0.4)),
        (LIPS + JAW, calmest(mouth, 0.2)),
        (IRISES, np.arange(len(track))),  # people look at the camera, or at the same place, most of the time
    ):
        rows = places(part)
        points[rows] = np.median(track.points[frames][:, rows], 0)
    return Neutral(points, np.median(track.angles[whole], 0))


def _activity(track: FaceTrack, *starts: str) -> Array:
    columns = [i for i, name in enumerate(SCORE_NAMES) if name.startswith(starts)]
    return track.scores[:, columns].sum(1)


def _with_shut_lips(neutral: Neutral, jaw_points: Array) -> Neutral:
    amounts = np.linspace(0, 1, 101)
    gaps = lip_gap(neutral.points - amounts[:, None, None] * jaw_points)
    best = amounts[np.argmin(np.abs(gaps - _SHUT_LIPS))]
    return Neutral(neutral.points - best * jaw_points, neutral.angles)
