"""The parts of the comparison with gsplat that need no device, against gsplat's own torch code."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from bench.cuda.agreement import psnr_db
from bench.cuda.gsplat_methods import (
    TILE,
    GsplatCaptured,
    GsplatEager,
    fixed_pairs,
    intrinsics,
    scales_3d,
    to_bytes,
)
from bench.cuda.rigged_scenes import random_poses, rigged_head
from bench.scenes import ellipsoid_head, head_camera
from render.cuda.avatar_renderer import AvatarRenderer
from render.gsplat.kernels import gsplat_refusal

oracle = pytest.importorskip("gsplat.cuda._torch_impl", reason="pip install gsplat")

WIDTH, HEIGHT = 100, 70
ACROSS, DOWN = math.ceil(WIDTH / TILE), math.ceil(HEIGHT / TILE)


def splats(num: int = 400) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Screen means around and beyond the picture, radii with zeros among them, depths."""
    random = torch.Generator().manual_seed(0)
    means = torch.rand(num, 2, generator=random) * torch.tensor([WIDTH + 60.0, HEIGHT + 60.0]) - 30
    radii = torch.randint(0, 30, (num, 2), generator=random)
    return means, radii, torch.rand(num, generator=random) + 0.5


@pytest.mark.parametrize("spare", [0, 1, 500])
def test_pairs_of_a_fixed_length_are_gsplats(spare: int) -> None:
    means, radii, depths = splats()
    _, keys, ids = oracle._isect_tiles(means[None], radii[None], depths[None], TILE, ACROSS, DOWN)
    num = len(keys)
    our_keys, our_ids, total = fixed_pairs(means, radii, depths, ACROSS, DOWN, num + spare)
    assert int(total) == num > 1000
    assert torch.equal(our_keys[:num], keys)
    assert torch.equal(our_ids[:num], ids)
    assert (our_keys[num:] >> 32 == ACROSS * DOWN).all()  # the row of tiles below the picture
    assert (our_ids[num:] == 0).all()  # a place that exists
    offsets = oracle._isect_offset_encode(keys, 1, ACROSS, DOWN)[0]
    ours = oracle._isect_offset_encode(our_keys, 1, ACROSS, DOWN + 1)[0]
    assert torch.equal(ours[:DOWN], offsets)
    assert (ours[DOWN:] == num).all() or spare


def test_what_does_not_fit_is_counted_and_left_out() -> None:
    means, radii, depths = splats()
    _, ids, total = fixed_pairs(means, radii, depths, ACROSS, DOWN, 100)
    assert ids.shape == (100,)
    assert int(total) > 100
    assert ids.max() < len(means)


def test_nothing_to_draw() -> None:
    means, radii, depths = splats(10)
    keys, ids, total = fixed_pairs(means, torch.zeros_like(radii), depths, ACROSS, DOWN, 64)
    assert int(total) == 0
    assert (keys >> 32 == ACROSS * DOWN).all()
    assert (ids == 0).all()


def test_arguments_have_gsplats_shapes() -> None:
    camera = head_camera(96, 80)
    means = torch.tensor([[0.01, 0.02, 0.0, 1.0]]) @ camera.world_to_camera.T
    x, y, z = (intrinsics(camera) @ means[0, :3]).tolist()
    assert x / z == pytest.approx(camera.cx + camera.fx * float(means[0, 0] / means[0, 2]))
    assert y / z == pytest.approx(camera.cy + camera.fy * float(means[0, 1] / means[0, 2]))
    assert scales_3d(ellipsoid_head(5)).shape == (5, 3)
    surfels = ellipsoid_head(5, surfel=True)
    assert torch.equal(scales_3d(surfels)[:, :2], surfels.scales())
    assert to_bytes(torch.tensor([-1.0, 0.5, 2.0])).tolist() == [0, 128, 255]


@pytest.mark.gpu
@pytest.mark.parametrize("surfel", [False, True], ids=["3d", "2d"])
def test_ours_and_gsplats_pictures_are_one(surfel: bool) -> None:
    reason = gsplat_refusal()
    if reason is not None:
        pytest.skip(reason)
    avatar = rigged_head(5000, surfel=surfel)
    if surfel:  # gsplat's surfels know no opacity that shrinks with the footprint
        avatar = avatar.replace(gaussians=replace(avatar.gaussians, antialiased=False))
    camera, background = avatar.default_camera(256, 192, yaw_deg=20.0), (0.2, 0.5, 0.9)
    (params,) = random_poses(avatar.rig, 1)
    eager = GsplatEager(avatar, camera, 1, background)([params])[0].cpu().numpy()
    captured = GsplatCaptured(avatar, camera, params, background)
    in_a_graph = captured([params])[0].cpu().numpy()
    assert not captured.over_capacity
    renderer = AvatarRenderer(avatar, 256, 192)
    ours = renderer.draw([params], [camera], background)[0].copy()
    renderer.close()
    assert psnr_db(eager, in_a_graph) > 60  # the same kernels; ties of depth may fall otherwise
    # gsplat cuts every Gaussian at three sigmas, ours where it falls below 1/255: rims differ by a few steps
    assert psnr_db(ours, eager) > 40
