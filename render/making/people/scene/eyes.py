"""Eyes of a path-traced person: balls with cornea and iris, the tears along the lids, and the caruncles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.making.items import Assets
from render.making.people.person import Eyes
from render.making.people.scene.body import Body, PosedBody
from render.making.people.scene.eyeballs import PICTURE_PUPIL, PICTURE_WIDE_PUPIL, Eyeball, Revolution
from render.making.people.scene.lids import Lids
from render.making.people.scene.surface import Material, Surface

Array = NDArray[np.float64]

# The film of tears between lid and ball: how far it climbs the lid, and how far it reaches over the ball.
_TEARS_UP_M = 0.3e-3
_TEARS_OUT_M = {"upper": 0.25e-3, "lower": 0.5e-3}
_CARUNCLE_M = np.array([2.3e-3, 1.6e-3, 0.9e-3])  # radii
_CARUNCLE_RINGS, _CARUNCLE_SEGMENTS = 5, 12


def eye_surfaces(eyes: Eyes, body: Body, assets: Assets) -> dict[str, Surface]:
    """What `eye_vertices` moves, by name."""
    picture = assets.file(f"eyes/materials/{eyes.picture}.png")
    white = Material("eyeball", {"redness": eyes.redness}, picture)
    iris = Material(
        "iris",
        {"brightness": eyes.iris_brightness, "saturation": eyes.iris_saturation, "hue": eyes.iris_hue},
        picture,
    )
    pupil = PICTURE_WIDE_PUPIL.get(eyes.picture, PICTURE_PUPIL)
    rim = len(body.lids["left"].rim.outer)
    tears = Material("tears", {})
    flesh = Material("flesh", {"red": 0.6, "green": 0.31, "blue": 0.28, "roughness": 0.25, "depth_mm": 1.2})
    return {
        "eyeballs": _both([ball.shell() for ball in body.balls.values()], white),
        "irises": _both([ball.iris_disc(pupil) for ball in body.balls.values()], iris),
        "tears": _twice(_quads(3, rim), 3 * rim, tears),
        "caruncles": _twice(_ball_polygons(), len(_unit_ball()), flesh),
    }


def eye_vertices(posed: PosedBody) -> dict[str, Array]:
    """Vertices of each surface [V, 3], metres: the left eye's and then the right one's."""
    balls = posed.body.balls
    lids = posed.body.lids
    wet = [_tear_points(posed, side, lids[side], ball) for side, ball in balls.items()]
    corners = [_caruncle_points(posed, side, lids[side], ball) for side, ball in balls.items()]
    return {
        "eyeballs": posed.on_eyes({side: ball.shell().vertices for side, ball in balls.items()}),
        "irises": posed.on_eyes({side: ball.iris_disc().vertices for side, ball in balls.items()}),
        "tears": posed.turn.of_head(np.concatenate(wet)),
        "caruncles": posed.turn.of_head(np.concatenate(corners)),
    }


def _tear_points(posed: PosedBody, side: str, lids: Lids, ball: Eyeball) -> Array:
    """Three rows of points along the rim: on the lid, in the hollow between, on the ball."""
    axis = posed.pose.eye_turn(side)[:, 2]
    inner, outer = (posed.acting[rows] - lids.centre for rows in (lids.rim.inner, lids.rim.outer))
    near, far = (ball.clearance(points, axis) for points in (inner, outer))
    share = np.clip((_TEARS_UP_M - near) / np.maximum(far - near, 1e-6), 0, 1)
    on_lid = inner + share[:, None] * (outer - inner)
    inwards = on_lid.mean(0) - on_lid
    out = _unit(on_lid)
    inwards = _unit(inwards - (inwards * out).sum(1, keepdims=True) * out)
    upper = np.isin(lids.rim.outer, lids.upper_rows)
    reach = np.where(upper, _TEARS_OUT_M["upper"], _TEARS_OUT_M["lower"])[:, None]

    def above_ball(points: Array, height: float) -> Array:
        return points + (height - ball.clearance(points, axis))[:, None] * _unit(points)

    on_ball = above_ball(on_lid + reach * inwards, -0.02e-3)
    hollow = above_ball(on_lid + 0.3 * reach * inwards, 0.1e-3)
    return lids.centre + np.concatenate([on_lid - 0.1e-3 * inwards, hollow, on_ball])


def _caruncle_points(posed: PosedBody, side: str, lids: Lids, ball: Eyeball) -> Array:
    """A drop of flesh in the corner at the nose."""
    rim = posed.acting[lids.rim.middle] - lids.centre
    nose = -1.0 if side == "left" else 1.0
    corner = rim[np.argsort(nose * rim[:, 0])[-3:]].mean(0)
    towards = _unit((rim.mean(0) - corner)[None])[0]
    middle = corner + 0.9e-3 * towards
    out = middle / np.linalg.norm(middle)
    middle = middle - (ball.clearance(middle[None], posed.pose.eye_turn(side)[:, 2])[0] + 0.2e-3) * out
    along = _unit((towards - (towards @ out) * out)[None])[0]
    frame = np.stack([along, np.cross(out, along), out])
    return np.asarray(lids.centre + middle + (_CARUNCLE_M * _unit_ball()) @ frame)


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


def _unit_ball() -> Array:
    height = np.repeat(np.cos(np.pi * np.arange(1, _CARUNCLE_RINGS) / _CARUNCLE_RINGS), _CARUNCLE_SEGMENTS)
    around = np.tile(2 * np.pi * np.arange(_CARUNCLE_SEGMENTS) / _CARUNCLE_SEGMENTS, _CARUNCLE_RINGS - 1)
    flat = np.sqrt(1 - height**2)
    ring = np.c_[flat * np.cos(around), flat * np.sin(around), height]
    return np.concatenate([ring, [[0.0, 0, 1], [0, 0, -1]]])


def _ball_polygons() -> list[list[int]]:
    rows, around = _CARUNCLE_RINGS - 1, _CARUNCLE_SEGMENTS
    top, bottom = rows * around, rows * around + 1
    polygons = _quads(rows, around)
    polygons += [[top, k, (k + 1) % around] for k in range(around)]
    last = (rows - 1) * around
    return polygons + [[bottom, last + (k + 1) % around, last + k] for k in range(around)]


def _quads(rows: int, around: int) -> list[list[int]]:
    """Between closed rows of points, one after the other."""
    following = [(k + 1) % around for k in range(around)]
    return [
        [row * around + k, row * around + j, (row + 1) * around + j, (row + 1) * around + k]
        for row in range(rows - 1)
        for k, j in enumerate(following)
    ]


def _both(parts: list[Revolution], material: Material) -> Surface:
    left, right = parts
    shifted = [[len(left.vertices) + i for i in polygon] for polygon in right.polygons]
    uv = np.concatenate([left.corner_uv, right.corner_uv])
    return Surface.of([*left.polygons, *shifted], uv, material)


def _twice(polygons: list[list[int]], count: int, material: Material) -> Surface:
    both = [*polygons, *([count + i for i in polygon] for polygon in polygons)]
    return Surface.of(both, np.zeros((sum(map(len, both)), 2)), material)
