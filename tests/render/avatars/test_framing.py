"""The default view: the whole face where no joint of the neck lies below it, whatever floats about."""

import dataclasses

import numpy as np
import pytest
import torch

from capture.frame import Frame
from render.avatars.framing import framing_of
from render.cpu.renderer import CpuRenderer
from render.gaussians import Gaussians
from render.importers.gaussian_avatars import import_gaussian_avatars
from render.importers.ply import still_rig
from tests.render.avatars.small_avatars import random_avatar
from tracking.detect.face_detector import FaceDetector

SIZE = 512


def portrait(avatar):
    rest = avatar.pose(avatar.rig.neutral_params())
    return framing_of(avatar.rig, rest.means, avatar.gaussians.opacities(), rest.scales())


@pytest.fixture(scope="module")
def avatars(proof_files):
    return {
        "flame": import_gaussian_avatars(proof_files.flame_ply, proof_files.flame),
        "smplx": import_gaussian_avatars(proof_files.smplx_ply, proof_files.smplx, kind="smplx"),
    }


@pytest.mark.parametrize("yaw", [-30, 0, 30])
@pytest.mark.parametrize("kind", ["flame", "smplx"])
def test_the_detector_finds_a_model_s_head_in_its_default_view(avatars, models_dir, kind, yaw):
    avatar = avatars[kind]
    posed, camera = avatar.pose(avatar.rig.neutral_params()), avatar.default_camera(SIZE, SIZE, yaw_deg=yaw)
    rgb = CpuRenderer(SIZE, SIZE).render_rgb8(posed, camera, (0.8, 0.8, 0.8))
    with FaceDetector(mode="image") as detector:
        found = detector.detect(Frame(rgb, 0, 0))
    assert found.found
    low, high = found.landmarks[:, :2].min(0), found.landmarks[:, :2].max(0)
    assert (low > 0.05 * SIZE).all()
    assert (high < 0.95 * SIZE).all()
    assert high[1] - low[1] > 0.4 * SIZE  # the face fills the picture


def test_what_floats_about_a_head_does_not_move_its_view(avatars):
    flame = avatars["flame"]
    plain, rng = portrait(flame), torch.Generator().manual_seed(0)
    count = flame.gaussians.num_gaussians // 10
    means = flame.gaussians.means.clone()
    means[:count] += torch.randn(count, 3, generator=rng) * 1000  # in scales of triangles: metres away
    far = flame.replace(gaussians=dataclasses.replace(flame.gaussians, means=means))
    moved = portrait(far)
    assert np.allclose(moved.target, plain.target, atol=0.01)
    assert moved.distance_m == pytest.approx(plain.distance_m, rel=0.03)


def test_a_rig_with_neck_and_head_is_framed_above_its_neck():
    avatar = random_avatar()
    neck = float(avatar.rig.joints_template[avatar.rig.joint_names.index("neck"), 1])
    g: Gaussians = avatar.pose(avatar.rig.neutral_params())
    points = g.means[(avatar.gaussians.opacities() > 0.3) & (g.means[:, 1] > neck)]
    low, high = torch.quantile(points, torch.tensor([0.005, 0.995]), dim=0)
    assert portrait(avatar).target == pytest.approx(((low + high) / 2).tolist())


def bare_head(count=1200, seed=0):
    """Means [N, 3], opacities [N] and scales [N, 3] on an egg 26 cm high, of the sizes that a capture has."""
    rng = torch.Generator().manual_seed(seed)
    means = torch.nn.functional.normalize(torch.randn(count, 3, generator=rng), dim=1)
    scales = (torch.randn(count, 3, generator=rng) * 0.7 - 5.5).exp()
    opacities = torch.rand(count, generator=rng)
    return means * torch.tensor([0.09, 0.13, 0.1]) + torch.tensor([0.3, -1.0, 2.0]), opacities, scales


def test_bare_gaussians_fill_the_picture():
    framing = framing_of(still_rig(), *bare_head())
    assert framing.target == pytest.approx((0.3, -1.0, 2.0), abs=0.005)
    height = 0.26 / (2 * framing.distance_m * np.tan(np.radians(framing.vertical_fov_deg / 2)))
    assert 0.8 < height < 0.92


@pytest.mark.parametrize("size", [0.005, 0.1, 5.0, 5000.0])
@pytest.mark.parametrize("distance", [2.0, 30.0, 1000.0])
def test_fifty_floaters_do_not_shrink_bare_gaussians(distance, size):
    """`distance` in heads; `size` in metres, from that of the head's own Gaussians to that of the sky's."""
    means, opacities, scales = bare_head()
    plain = framing_of(still_rig(), means, opacities, scales)
    rng = torch.Generator().manual_seed(1)
    away = torch.nn.functional.normalize(torch.randn(50, 3, generator=rng), dim=1) * 0.26 * distance
    means, opacities, scales = means.clone(), opacities.clone(), scales.clone()
    means[:50] = means[50:].mean(0) + away * (1 + torch.rand(50, 1, generator=rng))
    opacities[:50], scales[:50] = 0.9, size
    moved = framing_of(still_rig(), means, opacities, scales)
    assert moved.target == pytest.approx(plain.target, abs=0.02)
    assert moved.distance_m == pytest.approx(plain.distance_m, rel=0.1)


def test_floaters_on_one_side_do_not_pull_the_picture_there():
    means, opacities, scales = bare_head()
    plain = framing_of(still_rig(), means, opacities, scales)
    means[:50] += torch.tensor([300.0, 0.0, 0.0])
    moved = framing_of(still_rig(), means, opacities, scales)
    assert moved.target == pytest.approx(plain.target, abs=0.02)
    assert moved.distance_m == pytest.approx(plain.distance_m, rel=0.05)


def test_what_is_hardly_there_does_not_count():
    means, opacities, scales = bare_head()
    plain = framing_of(still_rig(), means, opacities, scales)
    haze = means.repeat(2, 1) + torch.tensor([0.0, 2.0, 0.0])
    faint = framing_of(
        still_rig(),
        torch.cat([means, haze]),
        torch.cat([opacities, torch.full((len(haze),), 0.002)]),
        torch.cat([scales, scales.repeat(2, 1)]),
    )
    assert faint.target == pytest.approx(plain.target, abs=0.02)
    assert faint.distance_m == pytest.approx(plain.distance_m, rel=0.05)


@pytest.mark.parametrize("count", [0, 1])
def test_next_to_nothing_has_a_view(count):
    framing = framing_of(still_rig(), torch.ones(count, 3), torch.ones(count), torch.ones(count, 3))
    assert framing.distance_m > 0
    assert np.isfinite(framing.target).all()


def test_floaters_about_a_rig_with_a_neck_do_not_shrink_its_head():
    avatar = random_avatar(each=100)
    rest = avatar.pose(avatar.rig.neutral_params())
    plain = framing_of(avatar.rig, rest.means, avatar.gaussians.opacities())
    means = rest.means.clone()
    means[:20] += 1000.0
    moved = framing_of(avatar.rig, means, avatar.gaussians.opacities())
    assert moved.distance_m == pytest.approx(plain.distance_m, rel=0.1)
