"""The parts of the comparison with gsplat that need no device, against gsplat's own torch code."""

from __future__ import annotations

import math

import pytest
import torch

from bench.gsplat_methods import TILE, fixed_pairs, intrinsics, scales_3d, to_bytes
from bench.scenes import ellipsoid_head, head_camera

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
