"""The face of a person at rest, estimated from frames in which it never needs to be at rest as a whole."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tracking.detect.detection import score_columns
from tracking.face.resting import resting_faces
from tracking.face.signals import BROWS, EYES, IRISES, JAW, LIPS, FaceTrack, lip_gap, places
from tracking.face.solver import ExpressionSolver, Neutral

Array = NDArray[np.float64]

_ROUNDS = 4
_STEP = 0.7  # of the correction that a round finds; whole steps swing
_MAX_FRAMES = 80  # solved in a round
_SHUT_LIPS = 0.004  # eye units between shut lips, as the detector sees them
_YAW_COST = 0.01  # of a degree of yaw, in units of a score
_LONGEST_STEP_S = 0.2  # between frames of one look at a face


def estimate_neutral(
    solver: ExpressionSolver,
    track: FaceTrack,
    jaw_unit: int | None,
    seconds: float,
    rounds: int = _ROUNDS,
    max_frames: int = _MAX_FRAMES,
) -> Neutral:
    """The neutral of the person in `track` (at least one frame); leaves the solver set to it.

    The frames were seen for `seconds`: a face that was seen briefly, or always alike, need never have been at
    rest, and what no resting face looks like is taken for expression (`tracking.face.resting`).
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
    jaw_points = None if jaw_unit is None else solver.response.unit_points[jaw_unit]
    neutral = _plausible(with_shut_lips(neutral, jaw_points), track, seconds)
    neutral = with_shut_lips(neutral, jaw_points)
    solver.set_neutral(neutral)
    if solver.reading is not None:
        played = solver.solve_many(solver.rows(some.points, some.angles)) * solver.unit_gains
        neutral = replace(neutral, scores=solver.reading.rest_scores(some, played))
        solver.set_neutral(neutral)
    return neutral


def _plausible(neutral: Neutral, track: FaceTrack, seconds: float) -> Neutral:
    prior = resting_faces()
    upright, rotation = prior.upright(track)
    expressions = prior.expressions(upright)
    expected = prior.expected(upright, expressions)
    believed = prior.believed(neutral.points @ rotation, expected, expressions, seconds)
    return Neutral(believed @ rotation.T, neutral.angles)


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
    return track.scores[:, score_columns(*starts)].sum(1)


def with_shut_lips(neutral: Neutral, jaw_points: Array | None) -> Neutral:
    """`neutral` with the lips shut by the jaw, which moves points by `jaw_points` [P, 3]; itself without."""
    if jaw_points is None:
        return neutral
    amounts = np.linspace(0, 1, 101)
    gaps = lip_gap(neutral.points - amounts[:, None, None] * jaw_points)
    best = amounts[np.argmin(np.abs(gaps - _SHUT_LIPS))]
    return Neutral(neutral.points - best * jaw_points, neutral.angles)


@dataclass(frozen=True, slots=True)
class LiveNeutralConfig:
    """When a live driver measures the person's neutral face again, and how it goes over to it."""

    at_frames: tuple[int, ...] = (1, 8, 15, 30, 60, 90, 180, 300, 900)
    window: int = 300  # frames it is measured from
    rounds: int = 2
    max_frames: int = 24
    ease_s: float = 0.4  # from one neutral to the next: a better one must not be a jump of the face


class LiveNeutral:
    """The neutral of a person who is watched live, better with every measurement.

    It keeps a solver set to it. Everything is a function of the frames and their times.
    """

    def __init__(
        self, solver: ExpressionSolver, jaw_unit: int | None, config: LiveNeutralConfig | None = None
    ) -> None:
        self._solver, self._jaw = solver, jaw_unit
        self._config = config if config is not None else LiveNeutralConfig()
        self.restart()

    def restart(self) -> None:
        """Forget the person; the next frame's face is taken at once."""
        self.remeasure()
        self._from: Neutral | None = None
        self._to: Neutral | None = None
        self._begin_s = 0.0

    def remeasure(self) -> None:
        """Measure anew from the frames that follow; what is known holds until then."""
        self._seen: list[tuple[FaceTrack, float]] = []
        self._num_seen = 0
        self._last_s: float | None = None

    def update(self, track: FaceTrack, time_s: float) -> FaceTrack | None:
        """Take in the newest found frame, a track of one.

        Returns the frames that were measured from, when it was time to measure.
        """
        seconds = 0.0 if self._last_s is None else min(max(time_s - self._last_s, 0.0), _LONGEST_STEP_S)
        self._last_s = time_s
        self._seen = [*self._seen[-self._config.window + 1 :], (track, seconds)]
        self._num_seen += 1
        past = None
        if self._num_seen in self._config.at_frames:
            past = FaceTrack.joined([track for track, _ in self._seen])
            self._from, self._begin_s = self._solver.neutral if self._to is not None else None, time_s
            self._to = estimate_neutral(
                self._solver,
                past,
                self._jaw,
                sum(seconds for _, seconds in self._seen),
                self._config.rounds,
                self._config.max_frames,
            )
        self._ease(time_s)
        return past

    def _ease(self, time_s: float) -> None:
        if self._from is None or self._to is None:
            return
        share = float(np.clip((time_s - self._begin_s) / self._config.ease_s, 0.0, 1.0))
        share *= share * (3 - 2 * share)
        self._solver.set_neutral(_between(self._from, self._to, share))
        if share == 1.0:
            self._from = None


def _between(one: Neutral, other: Neutral, share: float) -> Neutral:
    scores = None
    if one.scores is not None and other.scores is not None:
        scores = one.scores + share * (other.scores - one.scores)
    return Neutral(
        one.points + share * (other.points - one.points),
        one.angles + share * (other.angles - one.angles),
        scores,
    )
