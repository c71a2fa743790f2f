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
from tests.render.avatars.small_avatars import random_avatar
from tracking.detect.face_detector import FaceDetector

SIZE = 512


def portrait(avatar):
    rest = avatar.pose(avatar.rig.neutral_params())
    return framing_of(avatar.rig, rest.means, avatar.gaussians.opacities())


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
