"""What a unit of a rig may do: its bounds, its damping, and the units it moves along with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from render.rigs.units import Unit
from tracking.face.signals import BROWS, EYES, IRISES, NUM_POINT_ROWS, NUM_POINTS, one_sided, places, rows_of

Array = NDArray[np.float64]

# Upper bounds of ARKit's units by the start of their names, first match wins. Weights above 1 are what an
# avatar needs that moves less than the person; 0 leaves a unit out, because the detector cannot see it
# (tongueOut, cheekPuff). mouthClose works against jawOpen; a little of it shuts lips that rest apart.
_UPPER = (
    (("tongueOut", "cheekPuff", "cheekSquint", "jawForward"), 0.0),
    (("mouthClose",), 0.5),
    (("brow", "eyeWide"), 2.0),
    (("mouth", "jawLeft", "jawRight", "eyeLook"), 1.3),
    (("",), 1.0),
)
# Damping relative to the solver's own: units that look alike to the detector share the work more evenly.
_DAMPING = (
    (
        (
            "noseSneer", "mouthLeft", "mouthRight", "mouthShrug", "mouthRoll", "mouthPress", "mouthFunnel",
            "jawLeft", "jawRight",
        ),
        3.0,
    ),
    (("eyeLook", "brow", "eyeBlink"), 0.24),
    (("eye",), 0.6),
    (("jawOpen",), 0.4),
    (("",), 1.0),
)  # fmt: skip
MODES_USED = 50  # components of a face model that are driven; later ones are below what the detector sees
_MODE_DAMPING = 0.25


@dataclass(frozen=True)
class UnitLimits:
    """Bounds and relative damping of a rig's units, each [E]."""

    lower: Array
    upper: Array
    damping: Array

    def within(self, reach: Array) -> UnitLimits:
        """These limits, where each unit also stays within +-reach [E]."""
        return replace(self, lower=np.maximum(self.lower, -reach), upper=np.minimum(self.upper, reach))

    def reaching(self, known: NDArray[np.bool_]) -> UnitLimits:
        """These limits, where units known by other means [E] may move though points do not show them."""
        return replace(self, upper=np.where(known & (self.upper == 0), 1.0, self.upper))

    @property
    def used(self) -> NDArray[np.bool_]:
        return self.upper > self.lower


def unit_limits(units: Sequence[Unit], modes_used: int = MODES_USED) -> UnitLimits:
    """The limits of a rig's units: by their names, or of a face model's components by their order."""
    modes = [unit.name for unit in units if unit.signed][:modes_used]
    lower = [unit.lower * (unit.name in modes) if unit.signed else 0.0 for unit in units]
    upper = [
        unit.upper * (unit.name in modes) if unit.signed else _first(_UPPER, unit.name) for unit in units
    ]
    damping = [_MODE_DAMPING if unit.signed else _first(_DAMPING, unit.name) for unit in units]
    return UnitLimits(np.array(lower), np.array(upper), np.array(damping))


# What couples units in the solver: the square of the difference of a pair, or of the sum of opposites, costs
# this much, in units of what the detector sees of them. A mouth that is visibly askew moves the detector's
# points a fifth as far, so that their noise, played in full, would be a crooked mouth; winks it sees well.
_PAIR_COSTS = ((("eyeLook",), 0.0), (("eyeBlink",), 0.1), (("brow",), 0.4), (("",), 1.0))
_OPPOSITE_COST = 0.06
_OPPOSITES = (
    ("browDownLeft", "browOuterUpLeft"),
    ("browDownRight", "browOuterUpRight"),
    ("mouthSmileLeft", "mouthFrownLeft"),
    ("mouthSmileRight", "mouthFrownRight"),
    ("mouthLeft", "mouthRight"),
    ("jawLeft", "jawRight"),
    ("eyeWideLeft", "eyeBlinkLeft"),
    ("eyeWideRight", "eyeBlinkRight"),
    ("eyeLookInLeft", "eyeLookOutLeft"),
    ("eyeLookInRight", "eyeLookOutRight"),
    ("eyeLookUpLeft", "eyeLookDownLeft"),
    ("eyeLookUpRight", "eyeLookDownRight"),
)
# The same for a face model's components, by the part of the face whose points are not alike on both sides.
_CROOKED_COST = 2.0
_PART_COSTS = np.ones(NUM_POINTS)
_PART_COSTS[places(BROWS)] = 0.6
_PART_COSTS[places(EYES)] = 0.3
_PART_COSTS[places(IRISES)] = 0.0
# Both eyes look at one thing: the difference of their turns, to the side and up.
_GAZE_COST = 3.0
_GAZE_DIFFERENCES: tuple[dict[str, float], ...] = (
    {"eyeLookOutLeft": 1, "eyeLookInLeft": -1, "eyeLookInRight": -1, "eyeLookOutRight": 1},
    {"eyeLookUpLeft": 1, "eyeLookDownLeft": -1, "eyeLookUpRight": -1, "eyeLookDownRight": 1},
)


def unit_coupling(names: Sequence[str], seen: Array) -> Array:
    """The matrix [E, E] of the costs that tie units of one face together.

    `seen` [E] is the squared length of the rows that a unit moves.
    """
    matrix = np.zeros((len(names), len(names)))

    def add(cost: float, terms: dict[str, float]) -> None:
        if all(name in names for name in terms):
            direction = np.array([terms.get(name, 0.0) for name in names])
            matrix[:] += cost * seen[direction != 0].mean() * np.outer(direction, direction)

    for group in joint_units(names):
        if len(group) == 2:
            one, other = (names[row] for row in group)
            add(_first(_PAIR_COSTS, one), {one: 1.0, other: -1.0})
    for one, other in _OPPOSITES:
        add(_OPPOSITE_COST, {one: 1.0, other: 1.0})
    for terms in _GAZE_DIFFERENCES:
        add(_GAZE_COST, terms)
    return matrix


def looks_up(names: Sequence[str]) -> Array:
    """[E]: times the weights, how far both eyes look up."""
    signs = {"eyeLookUp": 0.5, "eyeLookDown": -0.5}
    return np.array([next((s for start, s in signs.items() if n.startswith(start)), 0.0) for n in names])


def crookedness(units: Sequence[Unit], unit_points: Array) -> Array:
    """The matrix [E, E] of the costs of crooked faces that components of a face model make together.

    They have no sides that could be paired; what `unit_points` [E, P, 3] the detector sees of them has.
    """
    signed = np.array([unit.signed for unit in units])
    crooked = one_sided(unit_points) * _PART_COSTS[:, None] * signed[:, None, None]
    rows = rows_of(crooked)[:, :NUM_POINT_ROWS]
    return _CROOKED_COST * rows @ rows.T


def one_sidedness(names: Sequence[str]) -> Array:
    """The matrix [E, E] that takes weights to their one-sided part: half the difference of left and right.

    Gaze has none: eyes that look to a side are not one-sided.
    """
    matrix = np.zeros((len(names), len(names)))
    sideways = [("jawLeft", "jawRight"), ("mouthLeft", "mouthRight")]
    pairs = [tuple(names[row] for row in group) for group in joint_units(names) if len(group) == 2]
    for one, other in [*pairs, *sideways]:
        if one in names and other in names and not one.startswith("eyeLook"):
            rows = [names.index(one), names.index(other)]
            matrix[np.ix_(rows, rows)] = [[0.5, -0.5], [-0.5, 0.5]]
    return matrix


def joint_units(names: Sequence[str]) -> list[tuple[int, ...]]:
    """Units that move together in an ordinary face: left and right, both eyes to one side, and singles."""
    groups: list[tuple[int, ...]] = []
    taken: set[int] = set()
    for row, name in enumerate(names):
        if row in taken:
            continue
        other = _partner(name)
        group = (row, names.index(other)) if other in names else (row,)
        groups.append(group)
        taken.update(group)
    return groups


def _partner(name: str) -> str | None:
    """The unit that an ordinary face moves along with this one."""
    if name.startswith(("jawLeft", "jawRight", "mouthLeft", "mouthRight")):
        return None
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(side):
            stem = name.removesuffix(side)
            # Eyes look the same way: one turns out where the other turns in.
            crossed = {"eyeLookOut": "eyeLookIn", "eyeLookIn": "eyeLookOut"}
            return crossed.get(stem, stem) + other
    return None


def _first(table: Sequence[tuple[tuple[str, ...], float]], name: str) -> float:
    return next(value for starts, value in table if name.startswith(starts))
