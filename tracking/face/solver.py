"""Unit weights of an avatar from a person's face: bounded, damped least squares on its response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render.rigs.units import Unit
from tracking.face.response import DetectorResponse
from tracking.face.signals import LIP_GAP_ROWS, NUM_POINT_ROWS, NUM_ROWS, lid_gap, rows_of
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
_GAZE_TRUST = 30.0  # of a known gaze, in units of what the detector sees of the eyes' turns
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
        self.limits = limits
        self._config = config if config is not None else SolverConfig()
        self._shuts_lids = np.array([name.startswith(("eyeBlink", "eyeSquint")) for name in names])
        self._looks_up = looks_up(names)
        self.unit_rows = rows_of(response.unit_points)  # [E, R]
        self.one_sidedness = one_sidedness(names)  # [E, E]
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
        self._hessian = self._jacobian @ self._jacobian.T
        self._hessian += np.diag(np.r_[config.damping * self.limits.damping, rigid])
        self._hessian[:num_units, :num_units] += self._coupling
        gaze = np.r_[self._looks_up, np.zeros(_NUM_RIGID)]
        trust = _GAZE_TRUST * float((self.unit_rows[self._looks_up != 0] ** 2).sum()) / 4
        self._gaze_aim = trust * gaze
        self._gaze_hessian = self._hessian + trust * np.outer(gaze, gaze)
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

    def solve(self, rows: Array, gaze_up: float | None = None) -> Array:
        """The weights [E] for rows [R] (see `rows`), where the eyes may be known to look up so far."""
        return self._solve(rows, gaze_up, self._start)[: len(self.unit_rows)]

    def solve_many(self, rows: Array, gaze_up: Array | None = None) -> Array:
        """The weights [T, E] of consecutive frames; each starts where the one before ended: fewer steps."""
        value, weights = self._start, np.zeros((len(rows), len(self.unit_rows)))
        for i, frame in enumerate(rows):
            value = self._solve(frame, None if gaze_up is None else gaze_up[i], value)
            weights[i] = value[: len(self.unit_rows)]
        return weights

    def _solve(self, rows: Array, gaze_up: float | None, start: Array) -> Array:
        aim, hessian = self._jacobian @ rows, self._hessian
        if gaze_up is not None:
            aim, hessian = aim + gaze_up * self._gaze_aim, self._gaze_hessian
        return bounded_minimum(
            hessian,
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
