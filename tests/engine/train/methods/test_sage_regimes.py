"""One picture's missing side, and pretrained networks from files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.errors import UsageError
from engine.train.data.views import Dataset, Picture, View
from engine.train.methods.sage.config import SageConfig
from engine.train.methods.sage.priors import Enhancer, NetworkDeformation, RigDeformation, ViewGenerator
from engine.train.methods.sage.protocol import ARMS, FIGURES, summary, table
from engine.train.methods.sage.regimes import complete, mirrored, mirrored_params
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
    dataset = Dataset(rig, (view,))
    assert len(complete(dataset, SageConfig(regime="monocular")).views) == 1
    completed = complete(dataset, SageConfig(regime="oneshot"))
    assert [v.name for v in completed.views] == ["one", "one.mirrored"]
    weight = completed.weights["one.mirrored"]
    # Seen from the side, about a third of the mirrored head is new.
    assert 0.02 < float(weight.mean()) < 0.6


def prior_file(path: Path, rig: Rig, last: int = 3) -> Path:
    tensors = {
        "layers.0.weight": torch.randn(8, 3 + rig.num_expressions) * 0.1,
        "layers.0.bias": torch.zeros(8),
        "layers.1.weight": torch.zeros(last, 8),
        "layers.1.bias": torch.full((last,), 0.004),
    }
    save_file(tensors, path)
    return path


def test_a_deformation_prior_adds_its_offsets(rig: Rig, view: View, tmp_path: Path) -> None:
    prior = NetworkDeformation(prior_file(tmp_path / "prior.safetensors", rig), rig.num_expressions)
    face = torch.arange(0, 4000, 200)
    points = rig(view.params).vertices[rig.faces[face]].mean(1)
    directions = torch.nn.functional.normalize(torch.randn(len(face), 3), dim=1)
    plain = RigDeformation().to_rest(rig, view.params, face, points, directions)
    moved = prior.to_rest(rig, view.params, face, points, directions)
    assert torch.allclose(moved[0], plain[0] + 0.004, atol=1e-6)
    assert torch.equal(moved[1], plain[1])


def test_unusable_priors_are_named(rig: Rig, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        NetworkDeformation(tmp_path / "none.safetensors", 52)
    with pytest.raises(UsageError, match="gives 5 numbers"):
        NetworkDeformation(prior_file(tmp_path / "wide.safetensors", rig, last=5), rig.num_expressions)
    with pytest.raises(UsageError, match="layer 0 must take"):
        NetworkDeformation(prior_file(tmp_path / "other.safetensors", rig), 10)
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
    config = SageConfig(
        regime="oneshot", enhancer=str(tmp_path / "enhance.pt2"), view_generator=str(tmp_path / "views.pt2")
    )
    completed = complete(Dataset(rig, (view,)), config)
    assert len(completed.views) == 7
    assert not completed.weights
    assert torch.allclose(completed.views[0].read().rgb, view.read().rgb, atol=1e-6)
    pseudo = completed.views[1]
    assert pseudo.read().rgb.shape == (SIZE, SIZE, 3)
    distance = (pseudo.camera.position() - view.camera.position()).norm()
    assert 0.3 < float(distance) < 1.2  # 60 degrees around a head at a metre
    with pytest.raises(UsageError, match="does not take pictures of 24x48"):
        ViewGenerator(tmp_path / "views.pt2")(view.read().rgb[:, : SIZE // 2], [view.camera] * 6)


def test_the_protocols_summary_pairs_people() -> None:
    base = dict.fromkeys(FIGURES, 20.0)
    people = []
    for person in range(3):
        rows = {arm: {figure: value + person for figure, value in base.items()} for arm in ARMS}
        rows["without phase two"]["reenactment_psnr"] -= 1.0 + 0.5 * person
        rows["bare phase one"]["reenactment_psnr"] -= 2.0
        people.append(rows)
    result = summary(people)
    gain = result["arms"]["without phase two"]["reenactment_psnr_gain"]
    assert gain["mean"] == pytest.approx(1.5)
    assert gain["spread"] == pytest.approx(0.5)  # of the differences, not of the people
    assert result["phase_two_gains_enough"]
    assert result["novel_view_loss_is_small"]
    assert "+1.50 ± 0.50 dB" in table(result)
    assert "bare phase one: +2.00 dB" in table(result)


def test_a_mirror_needs_a_rig_with_sides(rig: Rig, view: View) -> None:
    nameless = replace(rig, expression_names=tuple(f"mode{i}" for i in range(rig.num_expressions)))
    completed = complete(Dataset(nameless, (view,)), SageConfig(regime="oneshot"))
    assert len(completed.views) == 1
