"""One picture's missing side: mirrored, or made by networks from files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from engine.errors import UsageError
from engine.train.data.completion import enhanced, mirrored, mirrored_params, seen_around
from engine.train.data.exported import Enhancer, ViewGenerator
from engine.train.data.views import Picture, View
from render.camera import Camera
from render.rigs.head import load_head
from render.rigs.rig import Rig

SIZE = 48


@pytest.fixture(scope="module")
def rig() -> Rig:
    head = load_head()
    return head.with_shape(torch.zeros(head.num_shapes))


@pytest.fixture
def view(rig: Rig) -> View:
    camera = Camera.look_at((0.5, 0.1, 0.9), (0, 0, 0), width=SIZE, height=SIZE, vertical_fov_deg=22)
    params = rig.neutral_params()
    expression = params.expression.clone()
    for name, weight in (("mouthSmileLeft", 0.8), ("eyeLookOutLeft", 0.5), ("jawRight", 0.3)):
        expression[rig.expression_names.index(name)] = weight
    pose = params.pose.clone()
    pose[2] = torch.tensor([0.1, 0.3, -0.2])
    params = params.replace(expression=expression, pose=pose, translation=torch.tensor([0.01, 0.02, 0.0]))
    picture = Picture(torch.rand(SIZE, SIZE, 3), torch.ones(SIZE, SIZE))
    return View("one", camera, params, 0, "train", lambda: picture)


def test_a_mirrored_view_shows_the_mirrored_head(rig: Rig, view: View) -> None:
    other = mirrored(view, rig)

    def in_picture(v: View) -> Tensor:
        points = rig(v.params).vertices @ v.camera.world_to_camera[:3, :3].T + v.camera.world_to_camera[:3, 3]
        return points[:, :2] / points[:, 2:] * v.camera.fx + torch.tensor([v.camera.cx, v.camera.cy])

    here, there = in_picture(view), in_picture(other)
    flipped = torch.stack([SIZE - there[:, 0], there[:, 1]], 1)
    # The mesh is symmetric but for its vertices' order: compare the clouds, not the rows.
    nearest = torch.cdist(here[::7], flipped).amin(1)
    assert nearest.max() < 0.5  # pixels of a 48-pixel picture; MakeHuman's mesh is symmetric within 1 mm
    assert torch.equal(other.read().rgb, view.read().rgb.flip(1))
    twice = mirrored_params(mirrored_params(view.params, rig), rig)
    assert torch.allclose(twice.expression, view.params.expression)
    assert torch.allclose(twice.pose, view.params.pose)


def test_one_picture_gets_its_mirror_image_where_it_shows_nothing(rig: Rig, view: View) -> None:
    completed = seen_around((view,), rig)
    assert [v.name for v in completed.views] == ["one", "one.mirrored"]
    weight = completed.weights["one.mirrored"]
    # Seen from the side, about a third of the mirrored head is new.
    assert 0.02 < float(weight.mean()) < 0.6


def test_unusable_programs_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        Enhancer(tmp_path / "none.pt2")
    (tmp_path / "text.pt2").write_text("no archive")
    with pytest.raises(UsageError, match=r"not a program of torch\.export"):
        ViewGenerator(tmp_path / "text.pt2")


class Doubling(nn.Module):
    def forward(self, rgb: Tensor) -> Tensor:
        return nn.functional.interpolate(rgb, scale_factor=2.0, mode="nearest")


class Imagining(nn.Module):
    def forward(self, rgb: Tensor, matrices: Tensor, intrinsics: Tensor) -> Tensor:
        mask = torch.ones_like(rgb[:, :1])
        tint = torch.sigmoid(matrices[:, 0, 3] + intrinsics[:, 0] * 0)[:, None, None, None]
        return torch.cat([rgb, mask], 1) * tint


def test_exported_networks_are_used(rig: Rig, view: View, tmp_path: Path) -> None:
    picture = view.read().rgb.permute(2, 0, 1)[None]
    torch.export.save(torch.export.export(Doubling(), (picture,)), tmp_path / "enhance.pt2")
    arguments = (picture, torch.rand(6, 4, 4), torch.rand(6, 4))
    torch.export.save(torch.export.export(Imagining(), arguments), tmp_path / "views.pt2")
    completed = seen_around(enhanced((view,), tmp_path / "enhance.pt2"), rig, tmp_path / "views.pt2")
    assert len(completed.views) == 7
    assert not completed.weights
    assert torch.allclose(completed.views[0].read().rgb, view.read().rgb, atol=1e-6)
    pseudo = completed.views[1]
    assert pseudo.read().rgb.shape == (SIZE, SIZE, 3)
    distance = (pseudo.camera.position() - view.camera.position()).norm()
    assert 0.3 < float(distance) < 1.2  # 60 degrees around a head at a metre
    with pytest.raises(UsageError, match="does not take pictures of 24x48"):
        ViewGenerator(tmp_path / "views.pt2")(view.read().rgb[:, : SIZE // 2], [view.camera] * 6)


def test_a_mirror_needs_a_rig_with_sides(rig: Rig, view: View) -> None:
    nameless = replace(rig, expression_names=tuple(f"mode{i}" for i in range(rig.num_expressions)))
    assert len(seen_around((view,), nameless).views) == 1
