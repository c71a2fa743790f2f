"""The CUDA back end on a real card; imports only what such a machine surely has."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.backends import cuda_refusal, open_backend
from render.avatars.library import open_avatar
from render.cpu.backend import CpuBackend


@pytest.mark.gpu
def test_a_real_card_draws_its_first_picture() -> None:
    assert cuda_refusal() is None
    backend = open_backend("cuda")
    avatar = open_avatar("vera")
    camera, drawer = avatar.default_camera(256, 256), backend.drawer(256, 256)
    params = avatar.rig.neutral_params().replace(translation=torch.tensor([0.01, 0.0, 0.0]))
    ours = drawer.render_rgb8(backend.pose(avatar, params), camera, (0.2, 0.5, 0.8)).astype(int)
    theirs = (
        CpuBackend().drawer(256, 256).render_rgb8(CpuBackend().pose(avatar, params), camera, (0.2, 0.5, 0.8))
    )
    drawer.close()
    # 50 dB is what issue 4 asks for: float32 in another order, a fast exp and the early exit stay above it
    assert np.mean((ours - theirs) ** 2) < 255**2 / 10**5
