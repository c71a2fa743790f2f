"""Gaussians that no picture shows take their neighbours' colours."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from engine.train.data.views import Picture, View
from engine.train.results.unseen import recoloured, shown_px
from render.avatars.avatar import Avatar
from render.avatars.library import open_avatar
from render.camera import Camera
from render.rotations import quaternion_to_matrix
from render.sh import SH_C0

SIZE = 48


@pytest.fixture(scope="module")
def vera() -> Avatar:
    return open_avatar("vera")


@pytest.fixture(scope="module")
def front(vera: Avatar) -> View:
    picture = Picture(torch.zeros(SIZE, SIZE, 3), torch.zeros(SIZE, SIZE))
    return View(
        "front", vera.default_camera(SIZE, SIZE), vera.rig.neutral_params(), 0, "train", lambda: picture
    )


def test_what_fills_a_picture_adds_up_to_it(vera: Avatar, front: View) -> None:
    from render.cpu.renderer import CpuRenderer

    shown = shown_px(vera, [front])
    posed = vera.pose(front.params)
    away = torch.nn.functional.normalize(posed.means - front.camera.position(), dim=1)
    facing = (quaternion_to_matrix(posed.quats)[..., :, 2] * away).sum(1).abs()
    covered = CpuRenderer(SIZE, SIZE).render(posed, front.camera).alpha.sum()
    assert float((shown / facing.clamp_min(1e-3)).sum()) == pytest.approx(float(covered), rel=0.02)


def test_only_the_unshown_change_and_they_turn_to_their_own_kind(vera: Avatar, front: View) -> None:
    count = vera.gaussians.num_gaussians
    shown = shown_px(vera, [front])
    hidden = shown <= shown.sort().values[count // 10]
    left = vera.pose(front.params).means[:, 0] < 0
    red, blue = (torch.tensor(c) for c in ((0.8, 0.1, 0.1), (0.1, 0.1, 0.8)))
    colours = torch.where(left[:, None], red, blue)
    colours = torch.where(hidden[:, None], torch.ones(3), colours)  # white, which nobody sees
    sh = torch.zeros_like(vera.gaussians.sh)
    sh[:, 0] = (colours - 0.5) / SH_C0
    painted = vera.replace(gaussians=replace(vera.gaussians, sh=sh), deformation=None)
    others = torch.zeros(count, dtype=torch.bool)
    others[::7] = True  # of no kind
    result = recoloured(painted, [front], [left & ~others, ~left & ~others])
    after = result.gaussians.sh[:, 0] * SH_C0 + 0.5
    assert hidden.sum() > 4000
    shown_best = shown > shown.median()
    assert torch.equal(result.gaussians.sh[shown_best], sh[shown_best])
    assert torch.equal(result.gaussians.sh[others], sh[others])
    for kind, colour in ((left, red), (~left, blue)):
        torch.testing.assert_close(
            after[hidden & kind & ~others],
            colour.expand(int((hidden & kind & ~others).sum()), 3),
            atol=0.02,
            rtol=0,
        )


def test_where_nothing_is_shown_nothing_changes(vera: Avatar, front: View) -> None:
    elsewhere = Camera.look_at((0, 0, 1.0), (0, 0, 5.0), width=SIZE, height=SIZE, vertical_fov_deg=20)
    every = torch.ones(vera.gaussians.num_gaussians, dtype=torch.bool)
    result = recoloured(vera, [replace(front, camera=elsewhere)], [every])
    assert torch.equal(result.gaussians.sh, vera.gaussians.sh)
