"""Lids: how far they cover the iris at rest, that they follow the gaze, shut, and ride over the cornea.

MakeHuman's units move lids in straight lines and as far on every face. Here lids turn about the eye, by
angles that differ from column to column, and what would cut into the ball is lifted off it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from render.making import makehuman
from render.making.people.scene.eyeballs import Eyeball

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

# Edges of the left lids' rims on the base mesh: on the ball, along the rim's middle, and where skin begins.
_RIMS = {"inner": (7747, 7748), "middle": (13352, 13353), "outer": (6784, 6785)}
_REACH_M = 0.032  # nothing farther from an eye's centre is of its lids
_SKIN_M = 1.2e-3  # thickness of a lid over the eye, where at rest it is as thick
_THINNEST_M = 0.6e-3  # of any lid: MakeHuman's small eyes have balls that come through
_EDGE_M = 0.1e-3  # how far outside the eye the rim's middle row lies at least
_SEALED_M = 0.35e-3  # how deep the inner rim lies in the eye: no gap shows
_OVERLAP_DEG = 2.0  # of shut lids
_CORNER_M = 4.5e-3  # so near its corners an eye shuts as MakeHuman has it
_LOWER_REACH_M = 11e-3  # the lower lid's skin follows its rim as far down
# Shares of the eye's turn that upper and lower lid follow beyond MakeHuman's units, whose upper lids make .39
# of it downwards and .18 upwards.
_FOLLOW_DOWN = (0.45, 0.25)
_FOLLOW_UP = (0.37, 0.0)


@dataclass(frozen=True)
class Rim:
    """Vertices along a rim, from one corner of the eye round to it again."""

    inner: Rows
    middle: Rows
    outer: Rows


@cache
def rims() -> dict[str, Rim]:
    """The rims of the `left` and `right` lids on the base mesh; 28 vertices each."""
    left = {name: _edge_loop(*edge) for name, edge in _RIMS.items()}
    vertices = makehuman.base_obj().vertices
    mirrored = cKDTree(vertices).query(vertices * [-1.0, 1, 1])[1]
    return {
        "left": Rim(**left),
        "right": Rim(**{name: mirrored[rows] for name, rows in left.items()}),
    }


def _edge_loop(first: int, second: int) -> Rows:
    """The closed row of edges that goes on straight through vertices of four edges."""
    base = makehuman.base_obj()
    neighbours, polygons_of = defaultdict(set), defaultdict(set)
    for number, (polygon, group) in enumerate(zip(base.polygons, base.groups, strict=True)):
        if group == "body":
            for a, b in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
                neighbours[a].add(b)
                neighbours[b].add(a)
                polygons_of[frozenset((a, b))].add(number)
    loop = [first, second]
    while True:
        before, here = loop[-2:]
        beside = polygons_of[frozenset((before, here))]
        (following,) = (
            v for v in neighbours[here] if v != before and not polygons_of[frozenset((here, v))] & beside
        )
        if following == first:
            return np.array(loop)
        loop.append(following)


@dataclass(frozen=True)
class Opening:
    """Height of both lids' rims over columns: elevations about the eye, degrees, at ascending x."""

    x: Array
    upper: Array
    lower: Array

    def excess(self) -> Array:
        """Degrees by which the upper lid has gone beyond where it shuts; negative where a gap is left.

        In the corners, where one lid goes over into the other, it may go as far as it likes.
        """
        across = np.abs(2 * (self.x - self.x.min()) / np.ptp(self.x) - 1)
        excess = self.lower - _OVERLAP_DEG - self.upper
        return np.where(excess > 0, excess * _smooth((1 - across) / 0.3), excess)


class Lids:
    """The lids of one eye on one body; N vertices of the base mesh. Call `resting` first."""

    def __init__(self, side: str, rest: Array, centre: Array, ball: Eyeball, blink: Array) -> None:
        """`blink` [N, 3] is how a shut eye's unit moves the mesh."""
        self.centre, self.ball, self.rim = centre, ball, rims()[side]
        about = rest - centre
        near = np.linalg.norm(about, axis=1) < _REACH_M
        is_body = np.zeros(len(rest), bool)
        is_body[makehuman.group_vertices("body")] = True
        self._rows = np.flatnonzero(near & is_body & (about[:, 2] > 0))
        self.upper_rows, self.lower_rows = self._split(about)
        self._blink = self._shutting = blink
        self._rest = rest
        self._upper, self._lower = self._fields(about)

    def _split(self, about: Array) -> tuple[Rows, Rows]:
        """The outer rim's upper and lower vertices, corners in both, each by ascending x."""
        loop = self.rim.outer
        x = about[loop, 0]
        first, last = sorted((int(x.argmin()), int(x.argmax())))
        one, other = loop[first : last + 1], np.concatenate([loop[last:], loop[: first + 1]])
        upper, lower = (one, other) if about[one, 1].mean() > about[other, 1].mean() else (other, one)
        return upper[np.argsort(about[upper, 0])], lower[np.argsort(about[lower, 0])]

    def _fields(self, about: Array) -> tuple[Array, Array]:
        """How far each of the rows goes with the upper lid, and with the lower; 1 on the rims."""
        points = about[self._rows]
        rim = self.upper_rows
        moved = -self._blink[:, 1]
        at_rim = np.interp(points[:, 0], about[rim, 0], moved[rim])
        upper = np.clip(moved[self._rows] / np.maximum(at_rim, 2e-3), 0, 1)
        lower_rim = about[self.lower_rows]
        distance = cKDTree(lower_rim).query(points)[0]
        # In the corners MakeHuman's blink moves both lids: there each vertex goes with the nearer rim.
        from_upper = cKDTree(about[rim]).query(points)[0]
        upper *= _smooth(2 * distance / np.maximum(distance + from_upper, 1e-9))
        corners = lower_rim[[0, -1], 0]
        across = np.clip((points[:, 0] - corners.mean()) / (0.5 * np.ptp(corners)), -1, 1)
        lower = (1 - across**2) * _smooth(1 - distance / _LOWER_REACH_M)
        return upper, lower * (1 - np.clip(2 * upper, 0, 1))

    def opening(self, points: Array) -> Opening:
        """Between the lids of a body [N, 3]."""
        upper, lower = (points[rows] - self.centre for rows in (self.upper_rows, self.lower_rows))
        x = upper[:, 0]
        lower_at = np.interp(x, lower[:, 0], _elevation(lower))
        return Opening(x, _elevation(upper), lower_at)

    def covers(self, points: Array) -> tuple[float, float]:
        """Metres by which upper and lower lid cover the top and bottom of an iris that looks ahead."""
        upper, lower = (points[rows] - self.centre for rows in (self.upper_rows, self.lower_rows))
        height, depth = (float(np.interp(0.0, rim[:, 0], rim[:, 1])) for rim in (upper, lower))
        return self.ball.iris - height, self.ball.iris + depth

    def resting(self, points: Array, upper_m: float, lower_m: float) -> Array:
        """The body with lids that cover so much of the iris; from then on its rest."""
        for _ in range(4):  # the turn's effect on the middle column is all but linear
            above, below = self.covers(points)
            arm = self.ball.radius + 2e-3
            points = self._turned(
                points, np.degrees((above - upper_m) / arm), -np.degrees((below - lower_m) / arm)
            )
        self._rest = points
        shut = points + self._blink
        for _ in range(4):
            over = self.opening(shut)
            shut = self._turned(shut, self._by_column(shut, over, over.excess()))
        self._shutting = shut - points
        return points

    def acting(self, points: Array, blink: float, gaze_up_deg: float, axis: Array) -> Array:
        """A body [N, 3] with units added, its lids corrected for an eye looking along `axis` [3]."""
        # A shut lid meets the other all along, as far apart as they were.
        points = points + blink * (self._shutting - self._blink)
        share = (1 - min(blink, 1.0)) ** 2
        upper_deg, lower_deg = _following(gaze_up_deg)
        points = self._turned(points, share * upper_deg, share * lower_deg)
        # Whatever units add up to, the upper lid stops at the lower.
        now = self.opening(points)
        crossed = self._turned(points, self._by_column(points, now, np.maximum(now.excess(), 0)))
        return self._off_the_ball(crossed, axis)

    def _by_column(self, points: Array, opening: Opening, values: Array) -> Array:
        """Values at an opening's columns, for each of the rows; towards the corners less, beyond nothing."""
        x = points[self._rows, 0] - self.centre[0]
        from_corner = np.minimum(x - opening.x.min(), opening.x.max() - x)
        return np.interp(x, opening.x, values) * _smooth(from_corner / _CORNER_M)

    def _turned(self, points: Array, upper_deg: float | Array, lower_deg: float = 0.0) -> Array:
        """Lids turned upwards about the axis through the eye from side to side."""
        angle = np.radians(self._upper * upper_deg + self._lower * lower_deg)
        about = points[self._rows] - self.centre
        y, z = about[:, 1], about[:, 2]
        about[:, 1], about[:, 2] = (
            y * np.cos(angle) + z * np.sin(angle),
            z * np.cos(angle) - y * np.sin(angle),
        )
        result = points.copy()
        result[self._rows] = self.centre + about
        return result

    @property
    def skin(self) -> Rows:
        """Vertices that lie on the eye at rest: outside its ball, the rim's inner and middle rows not."""
        was = self.ball.clearance(self._rest[self._rows] - self.centre, np.array([0.0, 0, 1]))
        outside = (was > _THINNEST_M) & ~np.isin(self._rows, [self.rim.inner, self.rim.middle])
        return self._rows[outside | np.isin(self._rows, self.rim.outer)]

    def _off_the_ball(self, points: Array, axis: Array) -> Array:
        """Lids' skin and the rims' middle outside the eye, the rims' inner edge in it."""
        result = points.copy()
        ahead = np.array([0.0, 0, 1])
        skin = self.skin
        least = np.clip(self.ball.clearance(self._rest[skin] - self.centre, ahead), _THINNEST_M, _SKIN_M)
        lift = least - self.ball.clearance(points[skin] - self.centre, axis)
        _move_out(result, skin, self.centre, np.maximum(lift, 0))
        edge = _EDGE_M - self.ball.clearance(points[self.rim.middle] - self.centre, axis)
        _move_out(result, self.rim.middle, self.centre, np.maximum(edge, 0))
        sink = self.ball.clearance(points[self.rim.inner] - self.centre, axis) + _SEALED_M
        _move_out(result, self.rim.inner, self.centre, -np.maximum(sink, 0))
        return result


def _move_out(points: Array, rows: Rows, centre: Array, by: Array) -> None:
    away = points[rows] - centre
    points[rows] += by[:, None] * away / np.linalg.norm(away, axis=1, keepdims=True)


def _following(gaze_up_deg: float) -> tuple[float, float]:
    """Degrees by which upper and lower lid follow the gaze beyond what MakeHuman's units do."""
    upper, lower = _FOLLOW_DOWN if gaze_up_deg < 0 else _FOLLOW_UP
    return upper * gaze_up_deg, lower * gaze_up_deg


def _elevation(about: Array) -> Array:
    return np.degrees(np.arctan2(about[:, 1], about[:, 2]))


def _smooth(share: Array) -> Array:
    share = np.clip(share, 0, 1)
    return share * share * (3 - 2 * share)
