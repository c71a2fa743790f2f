"""Fewer Gaussians for nearly the same picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from render.avatars.avatar import Avatar
from render.avatars.library import open_avatar
from render.avatars.thinning import importance, thinned
from render.cpu.renderer import CpuRenderer
from render.gaussians import Gaussians
from render.motion import Motion


@pytest.fixture(scope="module")
def vera() -> Avatar:
    return open_avatar("vera")


def picture(avatar: Avatar, face: Motion, seen: Avatar) -> np.ndarray:
    renderer = CpuRenderer(256, 256)
    try:
        with torch.inference_mode():
            posed = avatar.pose(avatar.params(face))
            return renderer.render_rgb8(posed, seen.default_camera(256, 256), (0.8, 0.8, 0.8)).astype(float)
    finally:
        renderer.close()


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((one - other) ** 2)))


def test_with_seven_tenths_of_the_gaussians_it_looks_nearly_the_same(vera: Avatar) -> None:
    shown = importance(vera)
    thin = thinned(vera, 0.7, shown)
    assert thin.gaussians.num_gaussians == round(0.7 * vera.gaussians.num_gaussians)
    for face in ({}, {"jawOpen": 0.6}, {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0, "mouthPucker": 0.8}):
        motion = Motion.of(face, (0.05, 0.2, 0.0))
        # leaving out as many by chance costs 15 dB and more
        assert psnr(picture(vera, motion, vera), picture(thin, motion, vera)) > 36
    assert thin.default_camera(64, 64).world_to_camera.equal(vera.default_camera(64, 64).world_to_camera)


def test_what_is_hidden_goes_first(vera: Avatar) -> None:
    """Gaussians moved under the skin count less than before."""
    g = vera.gaussians
    hidden = torch.arange(0, g.num_gaussians, 50)
    means = g.means.clone()
    means[hidden, 1] -= 6.0  # of the triangle's size along its normal: under skin and hair
    buried = vera.replace(gaussians=replace(g, means=means))
    before, after = importance(vera), importance(buried)
    assert np.median(after[hidden]) < 0.7 * np.median(before[hidden])


def test_every_kind_of_binding_and_deformation_is_cut_alike(vera: Avatar) -> None:
    kept = thinned(vera, 0.5, importance(vera))
    assert sum(binding.num_gaussians for binding in kept.bindings) == kept.gaussians.num_gaussians
    assert kept.deformation is not None
    assert vera.deformation is not None
    assert 0 < len(kept.deformation.indices) < len(vera.deformation.indices)


def test_all_of_them_is_the_avatar_itself(vera: Avatar) -> None:
    assert thinned(vera, 1.0, np.ones(vera.gaussians.num_gaussians, np.float32)) is vera
    with pytest.raises(ValueError, match="above 0"):
        thinned(vera, 0.0, np.ones(vera.gaussians.num_gaussians, np.float32))


def test_runs_on_vertices_and_joints_keep_their_order() -> None:
    from tests.engine.live.fakes import small_avatar

    avatar = small_avatar()
    num = avatar.gaussians.num_gaussians
    shown = np.zeros(num, np.float32)
    shown[[3, num - 1, 7]] = (1, 3, 2)
    thin = thinned(avatar, 3 / num, shown)
    chosen = [3, 7, num - 1]
    assert isinstance(thin.gaussians, Gaussians)
    assert thin.bindings[0].vertex_index.tolist() == avatar.bindings[0].vertex_index[chosen].tolist()  # type: ignore[union-attr]
    assert thin.gaussians.sh.equal(avatar.gaussians.sh[chosen])
