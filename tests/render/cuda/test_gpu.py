"""What only a device can show: `pytest -m gpu`, which runs the suite of all renderers there, too.

compute-sanitizer --tool memcheck python -m pytest -m gpu tests/render
compute-sanitizer --tool racecheck python -m pytest -m gpu tests/render
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from bench.scenes import ellipsoid_head, head_camera
from render.avatars.avatar import Avatar
from render.avatars.library import open_avatar
from render.camera import Camera
from render.cpu.renderer import CpuRenderer
from render.cuda.avatar_renderer import AvatarRenderer
from render.cuda.renderer import CudaRenderer
from render.rigs.params import RigParams
from tests.render.avatars.small_avatars import random_avatar, random_params
from tests.render.cuda.cuda_renderers import need_device
from tests.render.cuda.test_avatar_renderer import psnr

pytestmark = pytest.mark.gpu
COLOUR = (0.8, 0.5, 0.3)


@pytest.fixture(autouse=True)
def device_only() -> None:
    need_device()


@pytest.fixture
def no_waits() -> Iterator[None]:
    """torch raises where it would wait for the device."""
    yield
    torch.cuda.set_sync_debug_mode("default")


def small(seed: int = 2, **options: Any) -> tuple[Avatar, RigParams, Camera]:
    avatar = random_avatar(each=40, **options)
    params = replace(random_params(avatar.rig, seed, angle=0.3), translation=torch.zeros(3))
    return avatar, params, Camera.look_at((0, 0, 6), (0, 0, 0), width=64, height=64, vertical_fov_deg=40)


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_every_binding_is_posed_as_on_the_cpu(axes: int, degree: int) -> None:
    avatar, params, camera = small(degree=degree, axes=axes)
    drawn = AvatarRenderer(avatar, 64, 64, layout="float").draw([params], [camera], COLOUR)[0]
    expected = CpuRenderer(64, 64).render(avatar.pose(params), camera)
    assert np.abs(drawn[..., :3] - expected.rgb.numpy()).max() < 1e-3
    assert np.abs(drawn[..., 3] - expected.alpha.numpy()).max() < 1e-3


@pytest.mark.parametrize("size", [512, 256])
@pytest.mark.parametrize("name", ["vera", "lam"])
def test_avatars_look_the_same(name: str, size: int, request: pytest.FixtureRequest) -> None:
    if name == "vera":
        avatar = open_avatar("vera")
    else:
        from render.importers.lam import import_lam

        avatar = import_lam(request.getfixturevalue("testdata_dir") / "avatars" / "lam_p2-1")
    camera = avatar.default_camera(size, size)
    weights = torch.linspace(0, 0.6, avatar.rig.num_expressions)
    params = avatar.rig.params_from_units(weights, torch.tensor([0.1, 0.3, 0.0]), torch.zeros(3))
    drawn = AvatarRenderer(avatar, size, size).draw([params], [camera], COLOUR)[0]
    expected = CpuRenderer(size, size).render_rgb8(avatar.pose(params), camera, COLOUR)
    assert psnr(drawn, expected) > 50  # the requirement; the emulation has over 70


def test_the_same_bytes_every_time() -> None:
    scene, camera, renderer = ellipsoid_head(60_000), head_camera(512, 512), CudaRenderer(512, 512)
    first = renderer.render_rgb8(scene, camera, COLOUR)
    for _ in range(30):
        assert (renderer.render_rgb8(scene, camera, COLOUR) == first).all()


def test_a_batch_is_a_loop_of_single_pictures() -> None:
    parts = [small(seed, degree=seed % 4) for seed in range(8)]
    avatars, params, cameras = (list(column) for column in zip(*parts, strict=True))
    pictures = AvatarRenderer(avatars, 64, 64, batch=8).draw(params, cameras, COLOUR)
    for i, (avatar, pose, camera) in enumerate(parts):
        assert (pictures[i] == AvatarRenderer(avatar, 64, 64).draw([pose], [camera], COLOUR)[0]).all()


def test_a_started_frame_waits_for_nothing(no_waits: None) -> None:
    avatar, params, camera = small()
    renderer = AvatarRenderer(avatar, 64, 64)
    expected = renderer.draw([params], [camera], COLOUR).copy()
    torch.cuda.set_sync_debug_mode("error")
    pictures = [renderer.launch([params], [camera], COLOUR) for _ in range(10)]
    torch.cuda.set_sync_debug_mode("default")
    assert (pictures[-1].cpu().numpy() == expected).all()


def test_frames_captures_and_renderers_leave_no_memory_behind() -> None:
    avatar, params, camera = small()

    def play() -> None:
        for capacity in (64, 1 << 18):  # one that grows, so that graphs are recorded twice
            renderer = AvatarRenderer(avatar, 64, 64, capacity=capacity)
            for _ in range(20):
                renderer.draw([params], [camera], COLOUR)
            renderer.close()

    play()
    torch.cuda.synchronize()
    allocated, free = torch.cuda.memory_allocated(), torch.cuda.mem_get_info()[0]
    for _ in range(30):
        play()
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() == allocated
    assert (
        free - torch.cuda.mem_get_info()[0] < 8 << 20
    )  # the driver's own rounding; 60 leaked graphs are more


def test_it_draws_what_gsplat_draws() -> None:
    gsplat = pytest.importorskip("gsplat", reason="pip install gsplat")
    scene, camera = ellipsoid_head(20_000).to("cuda"), head_camera(512, 512)
    intrinsics = torch.tensor([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    expected, alpha, _ = gsplat.rasterization(
        scene.means,
        torch.nn.functional.normalize(scene.quats, dim=1),
        scene.scales(),
        scene.opacities(),
        scene.sh,
        camera.world_to_camera[None].cuda(),
        intrinsics[None].cuda(),
        512,
        512,
        sh_degree=0,
        near_plane=0.01,
        rasterize_mode="antialiased",
    )
    drawn = CudaRenderer(512, 512).render(scene, camera)
    # gsplat's own early exit (1e-4), its cut of the box at 3.33 sigma and its tile order differ from ours
    assert psnr(drawn.rgb.cpu().numpy() * 255, expected[0].cpu().numpy() * 255) > 45
    assert (drawn.alpha - alpha[0, ..., 0]).abs().mean() < 2e-3
