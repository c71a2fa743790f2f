"""Measures what ARKit's units mean on a rig of other units, through what the detector sees of either.

A built-in person shows each of ARKit's units; the avatar answers as it would answer that person's face, and
the other way about.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.avatars.avatar import Avatar
from render.avatars.library import DEFAULT_AVATAR, open_avatar
from render.avatars.meanings import UnitMeanings
from render.rigs.units import Unit
from tracking.calibration.stored import response_of
from tracking.face.response import DetectorResponse
from tracking.face.solver import ExpressionSolver, Neutral
from tracking.face.units import unit_limits

Array = NDArray[np.float64]


def measured_meanings(avatar: Avatar, response: DetectorResponse) -> UnitMeanings | None:
    """The meanings for an avatar of a face model's components; None where each has its own name."""
    units = avatar.rig.units
    if not any(unit.signed for unit in units):
        return None
    person = open_avatar(DEFAULT_AVATAR)
    theirs = response_of(person)
    assert theirs is not None, "the built-in people are calibrated"
    of_arkit = _answers(response, units, theirs, person.rig.units, 1.0)
    up, down = (_answers(theirs, person.rig.units, response, units, sign) for sign in (1.0, -1.0))
    return UnitMeanings(person.rig.unit_names, of_arkit, np.stack([up, down]))


def _answers(
    avatar: DetectorResponse,
    units: tuple[Unit, ...],
    person: DetectorResponse,
    acted: tuple[Unit, ...],
    weight: float,
) -> NDArray[np.float32]:
    """The avatar's weights [P, U] for each of a person's P units acted alone; those of one name are one."""
    names = [unit.name for unit in units]
    solver = ExpressionSolver(avatar, unit_limits(units).within(avatar.unit_reach), units)
    # how a unit moves the lips counts here, not where they rest
    solver.set_neutral(Neutral(person.neutral_points, person.neutral_angles), shut_lips=False)
    answers = np.zeros((len(acted), len(units)), np.float32)
    for row, unit in enumerate(acted):
        if unit.name in names:
            answers[row, names.index(unit.name)] = max(weight, 0.0)
        elif weight > 0 or unit.signed:
            points = person.neutral_points + weight * person.unit_points[row]
            answers[row] = solver.solve(solver.rows(points, person.neutral_angles))
    return answers
