"""Eyes and mouth of path-traced people: lids, cornea, gaze, teeth and lips, by their geometry."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from render.making import makehuman
from render.making.items import Assets
from render.making.people.builtin import CAST
from render.making.people.scene.body import Body, Pose, PosedBody
from render.making.people.scene.eyeballs import Eyeball
from render.making.people.scene.eyes import eye_vertices
from render.making.people.scene.mouth import Mouth

pytestmark = pytest.mark.skipif(find_spec("anny") is None, reason="anny is a development dependency")

Array = NDArray[np.float64]
SIDES = ("left", "right")
NAMES = list(CAST)
LOOKS = {
    "ahead": {},
    "aside": {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0},
    "up": {"eyeLookUpLeft": 1.0, "eyeLookUpRight": 1.0},
    "down": {"eyeLookDownLeft": 1.0, "eyeLookDownRight": 1.0},
    "half shut": {"eyeBlinkLeft": 0.5, "eyeBlinkRight": 0.5},
    "shut": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    "shut, looking aside": {
        "eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0, "eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0,
    },
    "shut, looking down": {
        "eyeBlinkLeft": 0.7, "eyeBlinkRight": 0.7, "eyeLookDownLeft": 1.0, "eyeLookDownRight": 1.0,
    },
    "wide": {"eyeWideLeft": 1.0, "eyeWideRight": 1.0},
    "squint": {"eyeSquintLeft": 1.0, "eyeSquintRight": 1.0},
}  # fmt: skip


@pytest.fixture(scope="module")
def bodies() -> dict[str, Body]:
    return {name: Body(person.shape, person.eyes) for name, person in CAST.items()}


@pytest.fixture(scope="module")
def assets(testdata_dir: Path) -> Assets:
    return Assets.open(testdata_dir / "makehuman")


@pytest.fixture(scope="module")
def mouths(bodies: dict[str, Body], assets: Assets) -> dict[str, Mouth]:
    return {name: Mouth(body.rest, assets) for name, body in bodies.items()}


def clearance(posed: PosedBody, side: str, rows: NDArray[np.int64]) -> Array:
    """How far vertices of the lids are outside the eye as it looks now, metres."""
    points = posed.acting[rows] - posed.body.eyes[side]
    return posed.body.balls[side].clearance(points, posed.pose.eye_turn(side)[:, 2])


def test_a_cornea_bulges_over_a_ball_and_an_iris_lies_behind_it() -> None:
    ball = Eyeball(radius=12e-3, iris=5.8e-3, pupil=0.35)
    apex, limbus, side = ball.surface(np.array([0.0, np.arcsin(5.8 / 12), np.pi / 2]))
    assert 0.7e-3 < apex - 12e-3 < 1.4e-3
    assert abs(limbus - 12e-3) < 0.5e-3
    assert side == pytest.approx(12e-3, abs=1e-6)
    disc, shell = ball.iris_disc(), ball.shell()
    assert ball.clearance(disc.vertices, np.array([0.0, 0, 1])).max() < 0
    # The anterior chamber is about 3 mm deep; the pupil is a hole that goes on behind.
    rim = disc.vertices[np.isclose(np.hypot(*disc.vertices[:, :2].T), 0.35 * 5.8e-3)]
    assert 2e-3 < apex - rim[:, 2].max() < 4e-3
    assert disc.vertices[0, 2] < rim[:, 2].min() - 1e-3
    # Surfaces face outwards.
    for mesh in (disc, shell):
        quads = mesh.vertices[[p for p in mesh.polygons if len(p) == 4]]
        normal = np.cross(quads[:, 1] - quads[:, 0], quads[:, 3] - quads[:, 0])
        assert ((normal * quads.mean(1)).sum(1) > 0).mean() > 0.98


@pytest.mark.parametrize("name", NAMES)
def test_lids_at_rest_cover_the_iris_as_described(bodies: dict[str, Body], name: str) -> None:
    upper_mm, lower_mm = CAST[name].eyes.lids_cover_mm
    assert 0.9 <= upper_mm <= 2.0
    assert -0.5 <= lower_mm <= 0.5
    posed = bodies[name].posed(Pose({}))
    for side in SIDES:
        covers = bodies[name].lids[side].covers(posed.acting)
        # What is done to keep lids off the ball may move them by a little.
        assert 1e3 * np.array(covers) == pytest.approx([upper_mm, lower_mm], abs=0.15)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", NAMES)
def test_lids_lie_on_the_eye_whatever_it_does(bodies: dict[str, Body], name: str, look: str) -> None:
    posed = bodies[name].posed(Pose(LOOKS[look]))
    for side in SIDES:
        rim = bodies[name].lids[side].rim
        assert clearance(posed, side, rim.inner).max() < 0, "a gap between lid and ball"
        # The cornea is the thickest part under a lid: nothing of it may come through the skin.
        assert clearance(posed, side, rim.outer).min() > 0.3e-3, "the ball comes through a lid"


@pytest.mark.parametrize("name", NAMES)
def test_the_skin_of_shut_lids_is_outside_the_cornea(bodies: dict[str, Body], name: str) -> None:
    base = makehuman.base_obj()
    for look in ("shut", "shut, looking aside", "half shut"):
        posed = bodies[name].posed(Pose(LOOKS[look]))
        for side in SIDES:
            lids = bodies[name].lids[side]
            skin = set(lids.skin.tolist())
            polygons = np.array([p for p in base.polygons if len(p) == 4 and skin.issuperset(p)])
            middles = posed.acting[polygons].mean(1) - lids.centre
            axis = posed.pose.eye_turn(side)[:, 2]
            assert bodies[name].balls[side].clearance(middles, axis).min() > 0.2e-3, (look, side)


@pytest.mark.parametrize("name", NAMES)
def test_a_blink_shuts_the_lids_all_along(bodies: dict[str, Body], name: str) -> None:
    body = bodies[name]
    for side in SIDES:
        openings = [
            body.lids[side].opening(body.posed(Pose({f"eyeBlink{side.title()}": w})).acting)
            for w in (0.0, 0.5, 1.0)
        ]
        height = [o.upper - o.lower for o in openings]
        x = openings[0].x
        within = (x > x.min() + 3.5e-3) & (x < x.max() - 3.5e-3)  # in its corners flesh fills an eye
        assert within.sum() >= 5
        assert height[2][within].max() < 0.5
        half = height[1][within] / height[0][within]
        assert 0.3 < np.median(half) < 0.7


def test_the_other_eye_stays_open(bodies: dict[str, Body]) -> None:
    body = bodies["vera"]
    winking = body.posed(Pose({"eyeBlinkLeft": 1.0})).acting
    right = body.lids["right"].opening(winking)
    assert (right.upper - right.lower).max() > 25


@pytest.mark.parametrize("look", ["aside", "up", "down"])
def test_eyes_and_irises_turn_with_the_gaze(bodies: dict[str, Body], look: str) -> None:
    body = bodies["vera"]
    head = Rotation.from_euler("y", 20, degrees=True).as_matrix()
    pose = Pose(LOOKS[look], head)
    posed = body.posed(pose)
    irises = eye_vertices(posed)["irises"]
    for side, points in zip(SIDES, np.split(irises, 2), strict=True):
        centre = posed.turn.of_head(body.eyes[side][None])[0]
        sight = points[0] - centre
        ahead = head @ pose.eye_turn(side)[:, 2]
        assert sight / np.linalg.norm(sight) == pytest.approx(ahead, abs=1e-6)
        left_deg, up_deg = pose.gaze_deg(side)
        assert np.hypot(left_deg, up_deg) == pytest.approx(25 if look == "up" else 30)


@pytest.mark.parametrize("name", NAMES)
def test_lids_follow_the_gaze(bodies: dict[str, Body], name: str) -> None:
    body = bodies[name]
    ahead, up, down = (
        body.lids["left"].covers(body.posed(Pose(LOOKS[look])).acting)[0] for look in ("ahead", "up", "down")
    )
    assert up < ahead - 2e-3
    assert down > ahead + 3e-3


@pytest.mark.parametrize("name", NAMES)
def test_upper_teeth_stay_and_lower_ones_follow_the_jaw(
    bodies: dict[str, Body], mouths: dict[str, Mouth], name: str
) -> None:
    body, mouth = bodies[name], mouths[name]
    rest, opened, smiling = (
        mouth.vertices(body.posed(Pose(weights)).acting, 0.0)["teeth"]
        for weights in ({}, {"jawOpen": 1.0}, {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0})
    )
    upper = mouth.upper
    assert opened[upper] == pytest.approx(rest[upper], abs=1e-9)
    assert smiling == pytest.approx(rest, abs=1e-4)
    lower, moved = rest[~upper], opened[~upper]
    front = lower[:, 2] > lower[:, 2].max() - 8e-3
    assert (lower - moved)[front, 1].mean() > 0.02
    # Rigidly: teeth neither grow nor shear.
    assert np.linalg.norm(moved - moved[0], axis=1) == pytest.approx(
        np.linalg.norm(lower - lower[0], axis=1), abs=1e-9
    )


@pytest.mark.parametrize("name", NAMES)
def test_upper_teeth_end_just_below_the_upper_lip_and_behind_it(
    bodies: dict[str, Body], mouths: dict[str, Mouth], name: str
) -> None:
    body, mouth = bodies[name], mouths[name]
    front = mouth.vertices(body.rest, 0.0)["teeth"][mouth.upper & ~mouth.gum]
    lip = body.rest[[466, 467, 509, 468, 474, 520]]  # down the middle of the upper lip, from skin to seam
    assert 0 < lip[:, 1].min() - front[:, 1].min() < 3e-3
    assert 0 < body.rest[[554, 571], 2].min() - front[:, 2].max() < 3e-3


@pytest.mark.parametrize("weights", [{}, {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0}, {"jawOpen": 0.7}])
@pytest.mark.parametrize("name", NAMES)
def test_lips_are_outside_the_teeth(
    bodies: dict[str, Body], mouths: dict[str, Mouth], name: str, weights: dict[str, float]
) -> None:
    mouth = mouths[name]
    acting = bodies[name].posed(Pose(weights)).acting
    before, after = mouth.depth(acting), mouth.depth(mouth.lifted(acting))
    # Where much has to be lifted neighbours share it: what is left is less than a lip's own thickness.
    assert after.max() < 1e-3
    assert after.sum() <= 0.5 * before.sum() + 1e-9


def test_a_tongue_put_out_passes_over_the_lower_teeth(
    bodies: dict[str, Body], mouths: dict[str, Mouth]
) -> None:
    body, mouth = bodies["vera"], mouths["vera"]
    weights = {"jawOpen": 0.4, "tongueOut": 1.0}
    parts = mouth.vertices(mouth.lifted(body.posed(Pose(weights)).acting), 1.0)
    tongue, teeth = parts["tongue"], parts["teeth"][~mouth.upper & ~mouth.gum]
    inside = mouth.vertices(body.posed(Pose({"jawOpen": 0.4})).acting, 0.0)["tongue"]
    assert tongue[:, 2].max() > inside[:, 2].max() + 0.015
    assert tongue[:, 2].max() > teeth[:, 2].max() + 0.01
    over = (np.abs(tongue[:, 0]) < 4e-3) & (np.abs(tongue[:, 2] - teeth[:, 2].max()) < 4e-3)
    assert tongue[over, 1].min() > teeth[np.abs(teeth[:, 0]) < 4e-3, 1].max() - 1e-3


def test_a_face_described_otherwise_has_other_lids() -> None:
    person = CAST["elias"]
    wide = Body(person.shape, replace(person.eyes, lids_cover_mm=(0.0, -1.0)))
    assert wide.lids["left"].covers(wide.rest) == pytest.approx((0.0, -1e-3), abs=1e-5)
