"""People for the path tracer: what hangs on MakeHuman's mesh, how it moves, and which pictures are drawn."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from render.camera import Camera
from render.making import make_head, makehuman
from render.making.items import Assets
from render.making.makehuman import MakeHumanDataError
from render.making.people.builtin import CAST, VERA
from render.making.people.head import build_head
from render.making.people.scene.anybody import anybody
from render.making.people.scene.blender import BlenderError
from render.making.people.scene.body import LOWER_LIP_EDGE, UPPER_LIP_EDGE, Body, Pose, unit_delta
from render.making.people.scene.film import perform, places_of
from render.making.people.scene.lighting import STUDIO, random_lighting
from render.making.people.scene.model import PersonModel
from render.making.people.scene.pictures import over
from render.making.people.scene.renders import Exposure, Renders

FOLDER = Path(os.environ.get("VISAVIS_TESTDATA", "")) / "makehuman"
pytestmark = pytest.mark.skipif(find_spec("anny") is None, reason="anny is a development dependency")
needs_assets = pytest.mark.skipif(
    "VISAVIS_TESTDATA" not in os.environ, reason="MakeHuman's assets are in VISAVIS_TESTDATA"
)
TURN = Rotation.from_euler("YXZ", (25, -10, 5), degrees=True).as_matrix()

# Answers as Blender's process does, and writes what it was asked for as the picture.
FAKE_BLENDER = """#!{python}
import io, json, struct, sys
import numpy as np
from PIL import Image
print("blender of the test", flush=True)
while header := sys.stdin.buffer.read(8):
    data = sys.stdin.buffer.read(struct.unpack("<q", header)[0])
    message = json.loads(str(np.load(io.BytesIO(data))["json"]))
    if message["kind"] == "picture":
        if message["samples"] == 666:
            sys.exit("out of memory")
        if message["samples"] == 777:  # as on a full disk
            open(message["path"], "wb").write(b"\\x89PNG")
            print("done", flush=True)
            continue
        size = message["camera"]["width"], message["camera"]["height"]
        Image.new("RGBA", size, (200, 100, 50, 255)).save(message["path"], "PNG")
        with open(sys.argv[0] + ".log", "a") as log:
            log.write("drawn\\n")
    print("done", flush=True)
"""


@pytest.fixture(scope="module")
def model() -> PersonModel:
    return PersonModel(VERA, Assets.open(FOLDER))


@pytest.fixture
def fake_blender(tmp_path: Path) -> Path:
    path = tmp_path / "blender"
    path.write_text(FAKE_BLENDER.format(python=sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def _exposure(samples: int = 4) -> Exposure:
    camera = Camera.orbit((0, 0.06, 0.1), distance_m=1, width=32, height=24, vertical_fov_deg=20)
    return Exposure(camera, samples=samples)


def test_triangles_are_the_quads_of_the_base_mesh() -> None:
    base, mesh = makehuman.base_obj(), makehuman.base_mesh()
    assert {len(polygon) for polygon in base.polygons} == {4}
    assert len(mesh.faces) == 2 * len(base.polygons)
    first, second = mesh.faces[0], mesh.faces[1]
    assert [*first, second[2]] == base.polygons[0]
    np.testing.assert_array_equal(mesh.uv[0], base.uv[base.uv_polygons[0][:3]])


def test_the_body_is_the_rig_s_head() -> None:
    """At rest and acting, vertex by vertex; but the lids, which lie on the ball, and eyeballs, which turn."""
    body, head, top = Body(VERA.shape, VERA.eyes), build_head(VERA.shape), make_head.topology()
    eyes = np.stack([*body.eyes.values()])
    away = np.linalg.norm(head.vertices[:, None] - eyes, axis=2).min(1) > 0.03
    weights = {"mouthSmileLeft": 0.7, "jawOpen": 0.4, "browInnerUp": 1.0, "eyeLookDownLeft": 0.5}
    rest = head.posed({"jawOpen": -body.jaw_ajar})
    np.testing.assert_allclose(body.rest[top.source_vertices][away], rest[away], atol=6e-4)
    acting = body.posed(Pose(weights)).skin[top.source_vertices]
    expected = head.posed({**weights, "jawOpen": weights["jawOpen"] - body.jaw_ajar})
    np.testing.assert_allclose(acting[away], expected[away], atol=6e-4)
    assert np.abs(acting - expected).max() < 4e-3


def test_lips_meet_at_rest() -> None:
    for person in CAST.values():
        body = Body(person.shape, person.eyes)
        upper, lower = (body.rest[list(rows), 1] for rows in (UPPER_LIP_EDGE, LOWER_LIP_EDGE))
        assert 0 < 1e3 * (lower.max() - upper.min()) < 2.5, person.name
        assert 0 < body.jaw_ajar < 0.08


def test_eyeballs_turn_instead_of_being_moved_by_units() -> None:
    top = make_head.topology()
    assert not unit_delta("eyeLookDownLeft")[top.source_vertices][top.group("left_eye")].any()


def test_a_turn_moves_the_skull_whole_and_the_shoulders_not_at_all() -> None:
    body = Body(VERA.shape, VERA.eyes)
    posed = body.posed(Pose({}, TURN))
    moved = np.linalg.norm(posed.skin - body.rest, axis=1)
    crown, hand = body.rest[:, 1].argmax(), np.abs(body.rest[:, 0]).argmax()
    assert moved[hand] == 0
    placed = posed.turn.placement @ np.r_[body.rest[crown], 1]
    np.testing.assert_allclose(posed.skin[crown], placed[:3], atol=1e-9)
    np.testing.assert_allclose(posed.turn.placement[:3, :3], TURN, atol=1e-9)


@needs_assets
def test_items_move_as_what_they_hang_on(model: PersonModel) -> None:
    rest, turned = model.at(Pose({})), model.at(Pose({"jawOpen": 1.0, "browInnerUp": 1.0}, TURN))
    np.testing.assert_array_equal(rest.vertices["clothes"], turned.vertices["clothes"])
    acting = model.at(Pose({"browInnerUp": 1.0}))
    risen = acting.strands["brows"] - rest.strands["brows"]
    assert risen[..., 1].max() > 4e-3
    back = (turned.placements["hair"][:3, :3].T @ (turned.vertices["eyeballs"].T - _shift(turned))).T
    np.testing.assert_allclose(back, rest.vertices["eyeballs"], atol=1e-6)


def _shift(moment) -> np.ndarray:  # type: ignore[no-untyped-def]
    return np.asarray(moment.placements["hair"][:3, 3:])


@needs_assets
def test_eyes_turn_about_their_middles(model: PersonModel) -> None:
    rest = model.at(Pose({})).vertices["eyeballs"]
    left = {"eyeLookOutLeft": 0.5, "eyeLookInRight": 0.5, "eyeLookUpLeft": 1.0, "eyeLookUpRight": 1.0}
    looking = model.at(Pose(left)).vertices["eyeballs"]
    for side, sign in (("left", 1), ("right", -1)):
        own, centre = rest[:, 0] * sign > 0, model.body.eyes[side]
        np.testing.assert_allclose(
            np.linalg.norm(looking[own] - centre, axis=1),
            np.linalg.norm(rest[own] - centre, axis=1),
            atol=1e-6,
        )
        apex = rest[own][:, 2].argmax()
        towards = looking[own][apex] - centre
        assert np.degrees(np.arctan2(towards[0], towards[2])) == pytest.approx(15, abs=4)
        assert np.degrees(np.arcsin(towards[1] / np.linalg.norm(towards))) == pytest.approx(25, abs=4)


@needs_assets
def test_skin_under_cloth_is_left_out(model: PersonModel) -> None:
    drawn = set(model.surfaces["skin"].corners.tolist())
    body, top = model.body.rest, make_head.topology()
    skin = top.source_vertices[top.group("body")]
    assert int(skin[body[skin, 1].argmax()]) in drawn
    navel = np.linalg.norm(body - (0, body[:, 1].min() * 0.45, 0.1), axis=1).argmin()
    assert int(navel) not in drawn


@needs_assets
def test_assets_are_the_official_ones(tmp_path: Path) -> None:
    with pytest.raises(MakeHumanDataError, match="SHA256SUMS"):
        Assets.open(tmp_path)
    picture = tmp_path / "eyes" / "brown.png"
    picture.parent.mkdir()
    picture.write_bytes(b"eye")
    digest = hashlib.sha256(b"eye").hexdigest()
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  eyes/brown.png\n{digest}  eyes/blue.png\n")
    assets = Assets.open(tmp_path)
    assert assets.file("eyes/brown.png") == picture
    picture.write_bytes(b"another")
    with pytest.raises(MakeHumanDataError, match="not the official file"):
        assets.file("eyes/brown.png")
    with pytest.raises(MakeHumanDataError, match="is missing"):
        assets.file("eyes/blue.png")
    with pytest.raises(MakeHumanDataError, match="not among"):
        assets.file("eyes/red.png")


def test_without_a_folder_the_next_step_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISAVIS_MAKEHUMAN", raising=False)
    with pytest.raises(MakeHumanDataError, match="--makehuman DIR"):
        Assets.open()


@needs_assets
def test_a_picture_is_drawn_once(model: PersonModel, fake_blender: Path, tmp_path: Path) -> None:
    log = Path(f"{fake_blender}.log")
    smile = Pose({"mouthSmileLeft": 1.0})
    with Renders(tmp_path / "renders", fake_blender) as renders:
        first = renders.picture(model, model.at(Pose({})), _exposure())
        again = renders.picture(model, model.at(Pose({})), _exposure())
        other = renders.picture(model, model.at(smile), _exposure())
        finer = renders.picture(model, model.at(Pose({})), _exposure(samples=5))
        dimmed = replace(_exposure(), lighting=STUDIO.dimmed(0.5))
        darker = renders.picture(model, model.at(Pose({})), dimmed)
    assert first == again
    assert len({first, other, finer, darker}) == 4
    assert log.read_text().count("drawn") == 4
    with Renders(tmp_path / "renders", Path("/no/blender")) as renders:
        assert renders.picture(model, model.at(smile), _exposure()) == other
    assert over(first, (0.0, 0.0, 0.0)).shape == (24, 32, 3)
    assert sorted(p.name for p in (tmp_path / "renders").iterdir()) == sorted(
        p.name for p in (first, other, finer, darker)
    )


@needs_assets
def test_a_blender_that_stops_is_told_in_one_line(
    model: PersonModel, fake_blender: Path, tmp_path: Path
) -> None:
    with (
        Renders(tmp_path / "renders", fake_blender) as renders,
        pytest.raises(BlenderError, match="Blender stopped: out of memory"),
    ):
        renders.picture(model, model.at(Pose({})), _exposure(samples=666))


@needs_assets
def test_half_a_picture_is_not_taken_for_one(model: PersonModel, tmp_path: Path, fake_blender: Path) -> None:
    folder = tmp_path / "pictures"
    with Renders(folder, fake_blender) as renders, pytest.raises(BlenderError, match="disk full"):
        renders.picture(model, model.at(Pose({})), _exposure(samples=777))
    assert not list(folder.iterdir())


@needs_assets
def test_without_blender_the_next_step_is_named(model: PersonModel, tmp_path: Path) -> None:
    for python in (Path("/no/such/python"), Path(sys.executable)):
        with Renders(tmp_path, python) as renders, pytest.raises(BlenderError, match=r"bpy==4\.5\.15"):
            renders.picture(model, model.at(Pose({})), _exposure())


def test_a_performance_rests_first_and_stays_a_face() -> None:
    performance = perform(4.0, 25, seed=5)
    still = np.arange(100) / 25 < 0.4
    assert np.abs(performance.head_ypr_deg[still]).max() < 1e-9
    assert performance.weights[still].max() < 0.05
    assert performance.weights.min() >= 0
    assert performance.weights.max() <= 1
    assert np.abs(performance.head_ypr_deg).max(0) == pytest.approx((20, 11, 8), abs=1.5)
    np.testing.assert_array_equal(perform(4.0, 25, seed=5).weights, performance.weights)
    assert (perform(4.0, 25, seed=6).weights != performance.weights).any()


def test_places_of_the_face_go_where_units_move_them() -> None:
    names = ("jawOpen", "browInnerUp", "mouthSmileLeft", "eyeBlinkLeft")
    regions, basis = places_of(Body(VERA.shape, VERA.eyes), names)
    assert basis.shape == (4, len(regions), 3)
    jaw, brow, smile, blink = basis
    assert blink[regions.index("lidLeft"), 1] < -2
    assert abs(blink[regions.index("lidRight")]).max() < 0.01
    assert jaw[regions.index("chin"), 1] < -10
    assert abs(jaw[regions.index("browInnerLeft")]).max() < 0.5
    assert brow[regions.index("browInnerRight"), 1] > 4
    assert np.linalg.norm(smile[regions.index("cornerLeft")]) > 5
    assert np.linalg.norm(smile[regions.index("cornerRight")]) < 2


def test_people_drawn_at_random_are_the_same_every_time() -> None:
    assert anybody(7) == anybody(7)
    assert len({anybody(seed).shape.targets["macrodetails/asian-female-young"] for seed in range(6)}) == 6
    assert random_lighting(np.random.default_rng(1)) == random_lighting(np.random.default_rng(1))


@needs_assets
@pytest.mark.skipif("VISAVIS_BLENDER" not in os.environ, reason="Blender is a package for Python 3.11 alone")
def test_blender_draws_a_face(model: PersonModel, tmp_path: Path) -> None:
    x, y, z = model.body.eye_midpoint
    camera = Camera.look_at((x, y, z + 1), (x, y, z), width=48, height=48, vertical_fov_deg=20)
    with Renders(tmp_path) as renders:
        path = renders.picture(model, model.at(Pose({})), Exposure(camera, samples=1))
    drawn = over(path, (0.0, 0.0, 1.0)).astype(float)
    between_eyes, corner = drawn[22:28, 22:26].mean((0, 1)), drawn[:3, :3].mean((0, 1))
    assert corner[2] > 200, "what is no person is transparent"
    assert between_eyes[0] > between_eyes[1] > between_eyes[2] > 20, "skin"
