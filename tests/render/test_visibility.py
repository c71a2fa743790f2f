"""How much Gaussians give to a picture, and avatars with some of them left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from render.camera import Camera
from render.gaussians import Gaussians
from render.library import open_avatar
from render.persona.contribution import largest_weights
from render.persona.visibility import keep_gaussians
from render.reference import ReferenceRenderer
from render.sh import SH_C0

CAMERA = Camera.look_at((0, 0, 1), (0, 0, 0), width=48, height=32, vertical_fov_deg=20)


def _scene(num: int) -> Gaussians:
    """Overlapping splats, many nearly opaque, so that some are hidden; the last is behind the camera."""
    rng = torch.Generator().manual_seed(5)
    means = (torch.rand(num, 3, generator=rng) - 0.5) * torch.tensor([0.4, 0.3, 0.3])
    means[-1, 2] = 2.0
    return Gaussians(
        means=means,
        quats=torch.randn(num, 4, generator=rng),
        log_scales=torch.rand(num, 3, generator=rng) * 1.5 - 3.5,
        logit_opacities=torch.randn(num, generator=rng) * 3 + 2,
        sh=torch.zeros(num, 1, 3),
        antialiased=True,
    )


def test_weights_are_those_of_the_reference() -> None:
    """Drawn white among black ones, a Gaussian gives a picture of its weights."""
    gaussians = _scene(60)
    weights = largest_weights(gaussians, CAMERA, least=1 / 1024)
    renderer = ReferenceRenderer()
    for i in range(60):
        sh = torch.full((60, 1, 3), -0.5 / SH_C0)
        sh[i] = 0.5 / SH_C0
        picture = renderer.render(replace(gaussians, sh=sh), CAMERA).rgb
        # The kernel's exp2 is good to 3e-6; what lies behind less light than `least` is not measured.
        assert float(picture.max()) == pytest.approx(
            float(weights[i]), abs=1e-4 if weights[i] > 2e-3 else 2e-3
        )
    assert (weights < 2e-3).sum() >= 3, "nothing is hidden"
    assert weights[-1] == 0


def test_a_picture_of_parts_of_tiles_is_refused() -> None:
    with pytest.raises(ValueError, match="whole tiles, 50x32"):
        largest_weights(_scene(3), CAMERA.resized(50, 32), least=1 / 255)


def test_what_is_kept_is_posed_as_before() -> None:
    """Places, colours and expressions: every Gaussian keeps its triangle and its deltas."""
    avatar = open_avatar("vera")
    keep = np.random.default_rng(1).random(avatar.gaussians.num_gaussians) < 0.7
    kept = keep_gaussians(avatar, keep)
    units = torch.zeros(avatar.rig.num_expressions)
    for name in ("mouthSmileLeft", "jawOpen", "eyeBlinkRight"):
        units[avatar.rig.expression_names.index(name)] = 0.8
    params = avatar.params_from_units(units, torch.tensor([0.1, 0.3, 0.0]), torch.zeros(3))
    with torch.inference_mode():
        before, after = avatar.pose(params), kept.pose(params)
    stay = torch.from_numpy(keep)
    for name in ("means", "quats", "log_scales", "logit_opacities", "sh"):
        torch.testing.assert_close(getattr(after, name), getattr(before, name)[stay])
