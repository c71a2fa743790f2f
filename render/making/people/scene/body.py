"""A person's whole body on MakeHuman's base mesh, in the rig's frame: face units, gaze and the head's turn.

Metres; x to the person's left, y up, z out of the face.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from render.making import make_head, makehuman
from render.making.items import Item
from render.making.people.person import Eyes, Shape
from render.making.people.scene.eyeballs import Eyeball
from render.making.people.scene.lids import Lids
from render.making.people.shoot import turn_of
from render.rigs.articulation import EYE_TURNS, NECK_AND_HEAD

Array = NDArray[np.float64]

SIDES = {"left": "l", "right": "r"}
# Of the base mesh, in the middle: the rows where lips meet, and what subdivision takes off both.
UPPER_LIP_EDGE, LOWER_LIP_EDGE = (474, 520, 537), (493, 523, 540)
_ROUNDED_OFF_M = 1.4e-3


@dataclass(frozen=True)
class Pose:
    """What a head does."""

    weights: Mapping[str, float]  # of face units, by name; eyes turn with the eyeLook units
    head: Array | None = None  # [3, 3] turn of the head from level; None: level

    def gaze_deg(self, side: str) -> tuple[float, float]:
        """Where an eye looks: to the person's left, and up."""
        angles = [0.0, 0.0]
        for turn in EYE_TURNS:
            if turn.joint == f"{side}_eye":
                angles[turn.axis] += turn.degrees * self.weights.get(turn.unit, 0.0)
        return angles[1], -angles[0]

    def eye_turn(self, side: str) -> Array:
        """An eye's turn from straight ahead, [3, 3]."""
        return turn_of(self.gaze_deg(side)).as_matrix()


@dataclass(frozen=True)
class HeadTurn:
    """The head's turn, shared out to the neck's joint and the skull's as the rig has it."""

    matrix: Array  # [3, 3]
    neck: Array  # [3]
    skull: Array  # [3]

    def _share(self, joint: str) -> Array:
        rotation = Rotation.from_matrix(self.matrix).as_rotvec()
        return Rotation.from_rotvec(dict(NECK_AND_HEAD)[joint] * rotation).as_matrix()

    def of_neck(self, points: Array) -> Array:
        return (points - self.neck) @ self._share("neck").T + self.neck

    def of_head(self, points: Array) -> Array:
        return self.of_neck((points - self.skull) @ self._share("head").T + self.skull)

    @property
    def placement(self) -> Array:
        """The same for what is rigid with the head, [4, 4]."""
        matrix = np.eye(4)
        matrix[:3, :3] = self._share("neck") @ self._share("head")
        matrix[:3, 3] = self.of_head(np.zeros((1, 3)))[0]
        return matrix


class Body:
    """One shape of MakeHuman's base mesh; N vertices."""

    def __init__(self, shape: Shape, eyes: Eyes) -> None:
        targets = shape.targets or make_head.AVERAGE_ADULT
        self.rest = make_head.placed_body(makehuman.combine_targets(targets))
        self.neck, self.skull = (self._joint(name) for name in ("joint-neck", "joint-head"))
        self.eyes: dict[str, Array] = {}
        self.balls: dict[str, Eyeball] = {}
        self.lids: dict[str, Lids] = {}
        for side, letter in SIDES.items():
            self.eyes[side], radius = make_head.fit_sphere(self.rest[_ball(letter)])
            self.balls[side] = Eyeball(
                radius, 1e-3 * eyes.iris_mm, eyes.pupil, turn_deg=0.0 if side == "left" else 130.0
            )
            self.lids[side] = Lids(
                side, self.rest, self.eyes[side], self.balls[side], unit_delta(f"eyeBlink{side.title()}")
            )
            self.rest = self.lids[side].resting(self.rest, *(1e-3 * cover for cover in eyes.lids_cover_mm))
        self.jaw_ajar = self._jaw_ajar()  # of the unit jawOpen, which the person at rest has less of
        self.rest -= self.jaw_ajar * unit_delta("jawOpen")

    @property
    def eye_midpoint(self) -> Array:
        return np.asarray(np.mean([*self.eyes.values()], 0))

    def posed(self, pose: Pose) -> PosedBody:
        """The body with its face acting and its head turned."""
        acting = self.rest.copy()
        for name, weight in pose.weights.items():
            if weight:
                acting += weight * unit_delta(name)
        for side, lids in self.lids.items():
            blink = pose.weights.get(f"eyeBlink{side.title()}", 0.0)
            acting = lids.acting(acting, blink, pose.gaze_deg(side)[1], pose.eye_turn(side)[:, 2])
        turn = HeadTurn(np.eye(3) if pose.head is None else pose.head, self.neck, self.skull)
        return PosedBody(self, acting, turn, pose)

    def _jaw_ajar(self) -> float:
        """By how much of jawOpen a rounded mesh's lips lie apart in the middle, as MakeHuman's do."""
        upper, lower = self.rest[list(UPPER_LIP_EDGE), 1].min(), self.rest[list(LOWER_LIP_EDGE), 1].max()
        apart = upper - lower + _ROUNDED_OFF_M
        return float(max(apart, 0.0) / -unit_delta("jawOpen")[list(LOWER_LIP_EDGE), 1].mean())

    def _joint(self, name: str) -> Array:
        return np.asarray(self.rest[makehuman.joint_cube(name)].mean(0))


@dataclass(frozen=True)
class PosedBody:
    """A body that acts: what it and everything on it are then."""

    body: Body
    acting: Array  # [N, 3] before the head turns
    turn: HeadTurn
    pose: Pose

    @property
    def skin(self) -> Array:
        """The base mesh's vertices [N, 3]."""
        shares, moved = _bend_shares(), self.acting
        return np.asarray(
            shares[:, :1] * moved
            + shares[:, 1:2] * self.turn.of_neck(moved)
            + shares[:, 2:] * self.turn.of_head(moved)
        )

    def clothes(self, item: Item) -> Array:
        """Vertices [K, 3] of what hangs on the shoulders: it neither follows the face nor the head."""
        rest = 10 * self.body.rest  # items' offsets are in decimetres
        return 0.1 * item.fitted(rest)

    def on_eyes(self, points: Mapping[str, Array]) -> Array:
        """Vertices of the left eye and then the right, given about each eye's centre as it looks ahead."""
        turned = [
            points[side] @ self.pose.eye_turn(side).T + centre for side, centre in self.body.eyes.items()
        ]
        return self.turn.of_head(np.concatenate(turned))


@cache
def unit_delta(name: str) -> Array:
    """Metres [N, 3] by which a face unit of 1 moves the base mesh; eyeballs turn instead."""
    delta = 0.1 * make_head.lower_arms(makehuman.face_unit(name), is_delta=True)
    delta *= make_head.UNIT_GAIN.get(name, 1.0)
    if name.startswith("eyeLook"):
        delta[np.concatenate([_ball(letter) for letter in SIDES.values()])] = 0
    return delta


def _ball(letter: str) -> NDArray[np.int64]:
    return makehuman.group_vertices(f"helper-{letter}-eye")


@cache
def _bend_shares() -> Array:
    """How far each vertex follows the shoulders, the neck's share of a turn, and all of it; [N, 3]."""
    shares = make_head.bend_shares()
    return np.asarray(shares / np.maximum(shares.sum(1, keepdims=True), 1e-9))
