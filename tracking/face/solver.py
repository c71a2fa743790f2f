"""Unit weights of an avatar from a person's face: bounded, damped least squares on its response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render.rigs.units import Unit
from tracking.face.reading import FaceReading, Read, face_reading
from tracking.face.response import DetectorResponse
from tracking.face.signals import LIP_GAP_ROWS, NUM_POINT_ROWS, NUM_ROWS, FaceTrack, lid_gap, rows_of
from tracking.face.units import UnitLimits, crookedness, looks_up, one_sidedness, unit_coupling
from tracking.gauss_newton import bounded_minimum

Array = NDArray[np.float64]

_NUM_RIGID = 7  # turn, shift and scale that take up what is not expression
_MAX_STEPS = 6
_CONVERGED = 1e-3  # of a weight: no one sees a thousandth of an expression
_SHUT_LIDS = 0.033  # distance that the detector still sees between shut lids, eye units
_LID_GAIN_RANGE = (0.6, 1.8)
# The detector follows the brows of filmed people less far than those of rendered ones.
_BROW_GAIN = 0.85
READING_TRUST = 0.7  # of what was read, against rows alone
_GAZE_TRUST = 30.0  # of a gaze up or down that was read, in units of what the points show of it
_LID_GAIN_POWER = 0.6  # 1 shuts the avatar's lids with the person's, and exaggerates how wide eyes open


@dataclass(frozen=True, slots=True)
class SolverConfig:
    """Strengths of the priors, in squared rows (one row is about one eye unit)."""

    # Measured on seven clips: a third of it makes units fight each other, with worse lips; three times as
    # much flattens the expressions.
    damping: float = 0.024
    turn: float = 0.02
    shift: float = 0.02
    scale: float = 0.5


@dataclass(frozen=True)
class Neutral:
    """The face of a person at rest, as the detector sees it."""

    points: Array  # [P, 3] head frame, eye units
    angles: Array  # [3] degrees, of the frames it was taken from
    scores: Array | None = None  # [52]; None where faces are not read


class ExpressionSolver:
    """Finds the weights with which the avatar's detected rows move as the person's have moved from neutral.

    The problem is quadratic, so its matrix is made once per neutral; a frame takes a product and one or two
    small linear solves.
    """

    def __init__(
        self,
        response: DetectorResponse,
        limits: UnitLimits,
        units: Sequence[Unit],
        config: SolverConfig | None = None,
    ) -> None:
        names = [unit.name for unit in units]
        self._lifts_brows = np.array([name.startswith("brow") for name in names], bool)
        self.response = response
        self.reading: FaceReading | None = face_reading().of_units(names)
        self.limits = limits if self.reading is None else limits.reaching(self.reading.known)
        self._config = config if config is not None else SolverConfig()
        self._shuts_lids = np.array([name.startswith(("eyeBlink", "eyeSquint")) for name in names])
        self.unit_rows = rows_of(response.unit_points)  # [E, R]
        self.one_sidedness = one_sidedness(names)  # [E, E]
        # Irises hardly show how far eyes look up, as lids hide them above and below; scores do.
        up = looks_up(names)
        self._gaze = _GAZE_TRUST * (self.unit_rows[up != 0] ** 2).sum() / 4 * np.outer(up, up)
        self._coupling = unit_coupling(names, (self.unit_rows**2).sum(1))
        self._coupling += crookedness(units, response.unit_points)
        self.set_neutral(Neutral(response.neutral_points, response.neutral_angles))

    def set_neutral(self, neutral: Neutral, *, shut_lips: bool = True) -> None:
        """Take another person's, or a better, face at rest.

        `shut_lips` gives the avatar's lips the person's own distance, not the person's change of it: lips
        that touch on the one touch on the other, also where the avatar's rest apart.
        """
        config, num_units = self._config, len(self.unit_rows)
        self.neutral = neutral
        self._person_leak = self.response.leaked_points(neutral.angles)
        self._person_rows = rows_of(neutral.points)
        if shut_lips:
            resting = rows_of(self.response.neutral_points + self._person_leak)
            self._person_rows[LIP_GAP_ROWS] = resting[LIP_GAP_ROWS]
        # [E] how far a person moves by how far the avatar does
        self.unit_gains = 1 + (self._lid_gain() - 1) * self._shuts_lids
        self.unit_gains[self._lifts_brows] *= _BROW_GAIN
        rigid_rows = _rigid_rows(neutral.points)
        self._jacobian = np.concatenate([self.unit_rows * self.unit_gains[:, None], rigid_rows])
        rigid = np.repeat([config.turn, config.shift, config.scale], [3, 3, 1])
        self._prior = np.diag(np.r_[config.damping * self.limits.damping, rigid])
        self._prior[:num_units, :num_units] += self._coupling
        self._hessian = self._jacobian @ self._jacobian.T + self._prior
        self._read_hessian = self._hessian.copy()
        self._read_hessian[:num_units, :num_units] += self._gaze
        free = np.full(_NUM_RIGID, np.inf)
        self._lower = np.r_[self.limits.lower, -free]
        self._upper = np.r_[self.limits.upper, free]
        self._start = np.zeros(num_units + _NUM_RIGID)

    def _lid_gain(self) -> float:
        """How far a person's lids travel, by how far the avatar's do: shut must become shut."""
        person, avatar = (
            float(lid_gap(points)) - _SHUT_LIDS
            for points in (self.neutral.points, self.response.neutral_points)
        )
        return float(np.clip((max(person, 0.0) / max(avatar, 0.01)) ** _LID_GAIN_POWER, *_LID_GAIN_RANGE))

    def rows(self, points: Array, angles: Array) -> Array:
        """How far the rows [..., R] are from the neutral's, without what the head's pose adds."""
        leak = self.response.leaked_points(angles) - self._person_leak
        return rows_of(points - leak) - self._person_rows

    def read(self, track: FaceTrack) -> Read | None:
        """What is read from all that the detector says; None where it cannot be done."""
        neutral = self.neutral
        if self.reading is None or neutral.scores is None:
            return None
        return self.reading.read(track, neutral.points, neutral.scores, neutral.angles)

    def solve(self, rows: Array, read: Read | None = None) -> Array:
        """The weights [E] for rows [R] (see `rows`), and for what was read of the same frame."""
        aim = self._aim(rows, read, READING_TRUST)
        return self._solve(aim, read is not None, self._start)[: len(self.unit_rows)]

    def solve_many(self, rows: Array, read: Read | None = None, trust: float = READING_TRUST) -> Array:
        """The weights [T, E] of consecutive frames; each starts where the one before ended: fewer steps.

        `trust`: of what was read, from 0, where rows alone count, to 1.
        """
        value, weights = self._start, np.zeros((len(rows), len(self.unit_rows)))
        for i, aim in enumerate(self._aim(rows, read, trust)):
            value = self._solve(aim, read is not None, value)
            weights[i] = value[: len(self.unit_rows)]
        return weights

    def _aim(self, rows: Array, read: Read | None, trust: float) -> Array:
        """What the problem's matrix times the weights is to be [..., E + 7].

        What was read is what the face did, however weakly the detector sees that on this avatar: a share of
        the problem has it as its answer.
        """
        aim = rows @ self._jacobian.T
        if read is None:
            return aim
        num_units = read.weights.shape[-1]
        share = trust * read.trust[..., None]
        aim += share * (read.weights @ self._hessian[:num_units] - aim)
        aim[..., :num_units] += read.weights @ self._gaze
        return aim

    def _solve(self, aim: Array, read: bool, start: Array) -> Array:
        return bounded_minimum(
            self._read_hessian if read else self._hessian,
            aim,
            start,
            self._lower,
            self._upper,
            most_steps=_MAX_STEPS,
            converged=_CONVERGED,
        )


def _rigid_rows(points: Array) -> Array:
    """[7, R]: rows of a small turn about each axis, of a shift along each, and of growth. Only single points
    give way to them: openings are expression, however the head is turned."""
    turns = [np.cross(axis, points) for axis in np.eye(3)]
    shifts = [np.broadcast_to(axis, points.shape) for axis in np.eye(3)]
    rows = rows_of(np.array([*turns, *shifts, points]))
    rows[:, NUM_POINT_ROWS:NUM_ROWS] = 0
    return rows
