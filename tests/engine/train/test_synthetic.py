"""Synthetic people: the same from the same seed, exact cameras and geometry, detail no rig expresses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.train.data.dataset import read_dataset
from engine.train.data.views import Dataset
from engine.train.surface.raster import resolve, see
from engine.train.synthetic.capture import make_capture, make_clip
from engine.train.synthetic.expressions import random_expression, unit_vector
from engine.train.synthetic.head import PosedHead, SyntheticHead
from render.camera import Camera
from render.making import make_head
from render.making.people.scene.anybody import anybody
from render.making.people.scene.baking import baked_file
from render.making.people.scene.blender import BlenderError
from render.rigs.head import load_head
from render.rigs.storage import resolve as resolve_rig
from tests.engine.train.baked_people import BOB, SHORT_HAIR

SIZE = 96


@pytest.fixture(scope="module")
def capture(baked_people: Path) -> Dataset:
    return make_capture(
        BOB,
        num_views=3,
        expressions=1,
        views_per_expression=1,
        num_novel_views=1,
        size=SIZE,
        supersampling=2,
        folder=baked_people,
    )


@pytest.fixture(scope="module")
def head(baked_people: Path) -> SyntheticHead:
    return SyntheticHead(anybody(SHORT_HAIR), baked_people)


def front(size: int = SIZE, yaw_deg: float = 0.0) -> Camera:
    return Camera.orbit(
        (0, 0, 0), distance_m=1.15, yaw_deg=yaw_deg, width=size, height=size, vertical_fov_deg=17
    )


def posed(head: SyntheticHead, turn_deg: tuple[float, float, float] = (0, 0, 0), **units: float) -> PosedHead:
    weights = unit_vector(head.rig.expression_names, {k.replace("_", "@"): v for k, v in units.items()})
    turn = torch.tensor(np.radians(turn_deg), dtype=torch.float32)
    return head.pose(head.rig.params_from_units(weights, turn, torch.zeros(3)))


def test_the_protocols_splits_and_moments(capture: Dataset) -> None:
    assert [v.time_index for v in capture.of("train")] == [0, 0, 0]
    assert [v.time_index for v in capture.of("test")] == [0, 1]
    assert len({v.name for v in capture.views}) == 5
    assert not capture.views[0].params.expression.any()
    assert capture.views[-1].params.expression.any()
    assert capture.rig_reference is not None
    rebuilt = resolve_rig(capture.rig_reference, "head")
    assert rebuilt.fingerprint() == capture.rig.fingerprint()


def test_the_same_seed_gives_the_same_pictures(capture: Dataset, baked_people: Path) -> None:
    again = make_capture(
        BOB, num_views=3, expressions=0, num_novel_views=0, size=SIZE, supersampling=2, folder=baked_people
    )
    for ours, theirs in zip(again.views, capture.views, strict=False):
        assert torch.equal(ours.camera.world_to_camera, theirs.camera.world_to_camera)
        # Compiled code may sum in another order from build to build: one step of eight bits.
        assert float((ours.read().rgb - theirs.read().rgb).abs().max()) <= 1.01 / 255


def test_the_rig_lies_within_the_pictured_person(capture: Dataset) -> None:
    """Cameras and parameters fit the pixels: the rig's vertices project into the mask, whatever the view."""
    for view in capture.views:
        vertices = capture.rig(view.params).vertices
        face = vertices[:, 1] > float(capture.rig.joints_template[1, 1])  # above the neck
        seen = vertices[face] @ view.camera.world_to_camera[:3, :3].T + view.camera.world_to_camera[:3, 3]
        x = (view.camera.fx * seen[:, 0] / seen[:, 2] + view.camera.cx).long()
        y = (view.camera.fy * seen[:, 1] / seen[:, 2] + view.camera.cy).long()
        inside = (x >= 0) & (x < SIZE) & (y >= 0) & (y < SIZE)
        assert inside.float().mean() > 0.95
        # Lids and lips at rest differ by less than a pixel here; pixels half covered at the rim are the rest.
        assert view.read().mask[y[inside], x[inside]].gt(0).float().mean() > 0.98


def test_depth_is_that_of_the_surface(capture: Dataset) -> None:
    view = capture.views[1]
    picture = view.read()
    assert picture.depth is not None
    assert picture.normal is not None
    solid = picture.mask > 0.99
    depth = picture.depth[solid]
    assert 0.7 < float(depth.min()) < float(depth.max()) < 1.6
    y, x = torch.nonzero(solid, as_tuple=True)
    camera = view.camera
    ray = torch.stack([(x + 0.5 - camera.cx) / camera.fx, (y + 0.5 - camera.cy) / camera.fy], -1)
    point = torch.cat([ray, torch.ones(len(ray), 1)], 1) * depth[:, None]
    world = (point - camera.world_to_camera[:3, 3]) @ camera.world_to_camera[:3, :3]
    vertices = capture.rig(view.params).vertices
    distance = torch.cdist(world, vertices).min(1).values
    # The rig's vertices lie up to 24 mm apart on the shoulders; hair and cloth lie on top.
    assert float(distance.median()) < 6e-3
    normal = picture.normal[solid]
    assert float((normal.norm(dim=1) - 1).abs().max()) < 5e-3
    towards = (camera.position() - world) / (camera.position() - world).norm(dim=1, keepdim=True)
    assert float(((normal * towards).sum(1) > -0.1).float().mean()) > 0.97


def test_folds_come_with_the_expression(head: SyntheticHead) -> None:
    """Raised brows fold the forehead beyond what the rig's own mesh does, and shade the folds."""
    rest, raised = posed(head), posed(head, browInnerUp=1.0, browOuterUp_=1.0)
    skin = head.mesh.rows["skin"]
    # Where no share of other light comes in: what changes there are folds and blood.
    forehead = np.abs(rest.points[skin] - (0, 0.085, 0.09)).max(1) < 0.02
    assert forehead.sum() > 300
    before, after = rest.colours[skin][forehead], raised.colours[skin][forehead]
    assert float((after / before).min()) < 0.93
    assert float((after / before).max()) < 1.1
    rough = [p.normals[skin][forehead][:, 1].std() for p in (rest, raised)]
    assert rough[1] > 1.2 * rough[0]


def test_what_is_hidden_at_rest_is_lit_when_it_shows(head: SyntheticHead) -> None:
    """An open mouth is not black, and neither are shut lids nor eyes that look aside."""
    camera = Camera.orbit((0, 0, 0.08), distance_m=0.8, width=160, height=160, vertical_fov_deg=12)

    def bright(pose: PosedHead, name: str) -> float:
        part = head.mesh.rows[name]
        ours = np.zeros(len(pose.colours), np.float32)
        ours[part] = 1
        marked = PosedHead(pose.points, pose.normals, np.repeat(ours[:, None], 3, 1), pose.strands)
        shows = head.picture(marked, camera, 1).rgb[..., 0] > 0.9
        assert int(shows.sum()) > 30
        return float(head.picture(pose, camera, 1).rgb.mean(-1)[shows].quantile(0.75))

    assert bright(posed(head, jawOpen=0.7), "tongue") > 0.2
    assert bright(posed(head, jawOpen=0.5, mouthUpperUp_=0.8), "teeth") > 0.35
    assert bright(posed(head, eyeLookOutLeft=0.8, eyeLookInRight=0.8), "eyeballs") > 0.35
    x, y, depth = (head.model.body.eyes["left"] @ camera.world_to_camera[:3, :3].T.numpy()) + (
        camera.world_to_camera[:3, 3].numpy()
    )
    row, column = int(camera.fy * y / depth + camera.cy), int(camera.fx * x / depth + camera.cx)
    lid = head.picture(posed(head, eyeBlink_=1.0), camera, 2).rgb[row - 4 : row, column]
    assert float(lid.mean()) > 0.25


def test_the_body_moves_as_the_rig_does(head: SyntheticHead) -> None:
    """With the head turned, the rounded skin stays on the rig's vertices, all but lids and lips."""
    weights = unit_vector(head.rig.expression_names, {"mouthSmile@": 0.8, "browInnerUp": 1.0})
    turn = torch.tensor(np.radians([8.0, -20.0, 5.0]), dtype=torch.float32)
    params = head.rig.params_from_units(weights, turn, torch.zeros(3))
    vertices = head.rig(params).vertices
    body = torch.from_numpy(make_head.topology().group("body"))
    neutral = head.rig.template
    cheeks = body & (neutral[:, 1] > -0.02) & (neutral[:, 1] < 0.02)
    skin = torch.from_numpy(head.pose(params).points[head.mesh.rows["skin"]])
    distance = torch.cdist(vertices[cheeks], skin).min(1).values
    assert float(distance.quantile(0.5)) < 1.2e-3  # what rounding takes off a quad of 5 mm
    assert float(distance.quantile(0.9)) < 4e-3


def test_light_that_is_not_baked_needs_blender(
    tmp_path: Path, baked_people: Path, monkeypatch: pytest.MonkeyPatch, head: SyntheticHead
) -> None:
    """A person without a file is baked, or it is said how; another mesh's colours are refused."""
    monkeypatch.setenv("VISAVIS_BLENDER", "/no/blender")
    with pytest.raises(BlenderError, match="bpy"):
        SyntheticHead(head.person, tmp_path, head.model)
    assert not list(tmp_path.iterdir())
    of_bob, own = (baked_file(anybody(seed), baked_people) for seed in (BOB, SHORT_HAIR))
    shutil.copy(of_bob, tmp_path / own.name)
    with pytest.raises(BlenderError, match="another mesh"):
        SyntheticHead(head.person, tmp_path, head.model)


def test_a_clip_moves_smoothly_and_holds_out_its_end(baked_people: Path) -> None:
    clip = make_clip(SHORT_HAIR, num_frames=5, size=24, supersampling=1, folder=baked_people)
    assert [v.split for v in clip.views] == ["train"] * 4 + ["test"]
    assert [v.time_index for v in clip.views] == [0, 1, 2, 3, 4]
    assert all(
        torch.equal(v.camera.world_to_camera, clip.views[0].camera.world_to_camera) for v in clip.views
    )
    pose = torch.stack([v.params.pose for v in clip.views])
    assert float(pose.diff(dim=0).abs().max()) > 0


def test_expressions_are_never_empty_nor_beyond_the_units() -> None:
    names = load_head().expression_names
    rng = np.random.default_rng(0)
    faces = torch.stack([random_expression(names, rng) for _ in range(50)])
    assert bool(faces.any(1).all())
    assert 0 <= float(faces.min()) <= float(faces.max()) <= 1
    assert len(torch.unique(faces, dim=0)) > 45
    with pytest.raises(KeyError):
        unit_vector(names, {"smile": 1.0})


def test_rasteriser_on_a_known_triangle() -> None:
    """A right triangle before the camera: coverage is its area, depth and values are linear in space."""
    points = np.array([[0, 0, 1], [8, 0, 2], [0, 8, 2], [0, 0, 3], [8, 0, 3], [0, 8, 3]], np.float32)
    faces = np.array([[3, 4, 5], [0, 1, 2]], np.int32)  # the far one first: depth decides, not order
    samples = see(points, faces, 8, 8, 8)
    values = np.array([[0.0], [1], [1], [9], [9], [9]], np.float32)
    mean, cover = resolve(samples, points, faces, values)
    assert cover.sum() == pytest.approx(32, abs=1)
    # Perspective: at share t of the way in the picture from depth 1 to 2, t / (2 - t) of the way in space.
    # Of the pixel's centre, which lies at (4.5, 0.5): both far corners, of value 1, have their part in it.
    share = (4.5 + 0.5) / 8
    assert mean[0, 4, 0] == pytest.approx(share / (2 - share), abs=0.01)
    assert mean.max() <= 1
    behind = points * np.array([1, 1, -1], np.float32)
    assert (see(behind, faces, 8, 8).triangle == -1).all()


def test_from_the_command_line(tmp_path: Path, baked_people: Path) -> None:
    command = [sys.executable, "-m", "engine.train.synthetic", "-o", str(tmp_path / "d")]
    small = ["--seed", str(SHORT_HAIR), "--clip", "2", "--size", "32", "--baked", str(baked_people)]
    done = subprocess.run([*command, *small], capture_output=True, text=True, env=os.environ, check=True)
    assert "2 views, 2 to train on" in done.stdout
    dataset = read_dataset(tmp_path / "d")
    assert dataset.views[0].read().depth is not None
    again = subprocess.run([*command, *small], capture_output=True, text=True, env=os.environ)
    assert again.returncode == 2
    assert "exists already" in again.stderr
