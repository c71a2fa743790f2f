"""What only the CUDA renderer offers, through the emulation: bytes, capacity, order, bounds."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.scenes import ellipsoid_head, head_camera
from render.camera import Camera
from render.cpu.renderer import CpuRenderer
from render.cuda.device import available, open_device
from render.cuda.renderer import CudaRenderer
from render.gaussians import Gaussians
from render.reference.renderer import ReferenceRenderer
from tests.render.cuda.cuda_renderers import emulated_device, emulated_renderer, need_compiler

WIDTH, HEIGHT = 90, 70  # several tiles, a border on both sides that no tile of 16 fits, no multiple of 4
COLOUR = (0.2, 0.5, 0.9)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def planar(nv12: np.ndarray) -> np.ndarray:
    height = len(nv12) * 2 // 3
    u, v = nv12[height:].reshape(-1, 2).T
    return np.concatenate([nv12[:height].reshape(-1), u, v]).reshape(nv12.shape)


DRAW: dict[str, Callable[..., np.ndarray]] = {
    "rgb8": lambda renderer, *scene: renderer.render_rgb8(*scene),
    "yuv420": lambda renderer, *scene: renderer.render_yuv420(*scene, colorspace="bt601"),
    "nv12": lambda renderer, *scene: planar(renderer.render_nv12(*scene, colorspace="bt601")),
}


@pytest.mark.parametrize("layout", DRAW)
@pytest.mark.parametrize("kind", ["colour", "picture"])
@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (64, 48), (2, 2)], ids=str)
def test_bytes_are_those_of_the_cpu_renderer(
    layout: str, kind: str, size: tuple[int, int], picture: np.ndarray
) -> None:
    scene, camera = ellipsoid_head(800), head_camera(*size)
    background = COLOUR if kind == "colour" else picture[: size[1], : size[0]]
    drawn = DRAW[layout](emulated_renderer(*size), scene, camera, background)
    like_cpu = DRAW["yuv420" if layout == "nv12" else layout]
    expected = like_cpu(CpuRenderer(*size), scene, camera, background)
    difference = np.abs(drawn.astype(int) - expected)
    assert difference.max() <= 2  # a pixel at the rim of several splats, see tests/render/test_renderers.py
    assert (difference > 0).mean() < 0.01  # roundings that fall the other way


def test_bytes_go_into_the_array_given_and_no_other_is_taken() -> None:
    renderer, camera = emulated_renderer(32, 32), head_camera(32, 32)
    out = np.zeros((32, 32, 3), np.uint8)
    assert renderer.render_rgb8(ellipsoid_head(50), camera, COLOUR, out) is out
    assert out.any()
    with pytest.raises(ValueError, match="out must be"):
        renderer.render_rgb8(ellipsoid_head(50), camera, COLOUR, out[::2])


def test_what_does_not_fit_is_refused(picture: np.ndarray) -> None:
    renderer, scene, camera = emulated_renderer(WIDTH, HEIGHT), ellipsoid_head(3), head_camera(WIDTH, HEIGHT)
    with pytest.raises(ValueError, match="background must be"):
        renderer.render_rgb8(scene, camera, picture[1:])
    with pytest.raises(ValueError, match="background must be"):
        renderer.render_rgb8(scene, camera, (0.1, 0.2))
    with pytest.raises(ValueError, match="even sides"):
        emulated_renderer(31, 32).render_yuv420(scene, head_camera(31, 32), COLOUR)
    with pytest.raises(ValueError, match="0x5"):
        emulated_renderer(0, 5)


def test_another_array_is_another_background(picture: np.ndarray) -> None:
    renderer, camera = emulated_renderer(WIDTH, HEIGHT), head_camera(WIDTH, HEIGHT)
    for background in (picture, 255 - picture, picture[:, ::-1]):
        assert (renderer.render_rgb8(ellipsoid_head(0), camera, background) == background).all()


# --- pairs and capacity ---


def test_a_picture_over_capacity_is_drawn_again() -> None:
    scene, camera = ellipsoid_head(800), head_camera(WIDTH, HEIGHT)
    expected = emulated_renderer(WIDTH, HEIGHT).render_rgb8(scene, camera, COLOUR)
    renderer = CudaRenderer(WIDTH, HEIGHT, emulated_device(), capacity=100)
    assert (renderer.render_rgb8(scene, camera, COLOUR) == expected).all()
    seen = renderer.statistics
    assert seen.overflows == 1
    assert seen.frames == 2
    assert seen.pairs <= 0.8 * seen.capacity
    assert (renderer.render_rgb8(scene, camera, COLOUR) == expected).all()
    assert renderer.statistics.frames == 3  # there is room now


def test_pairs_are_tiles_that_boxes_reach() -> None:
    one = replace(ellipsoid_head(1), means=torch.zeros(1, 3), logit_opacities=torch.tensor([2.0]))
    one = replace(one, log_scales=torch.full((1, 3), math.log(0.001)))
    renderer = emulated_renderer(64, 64)
    renderer.render(one, head_camera(64, 64))
    assert renderer.statistics.pairs == 4  # the picture's centre is a corner of four tiles
    renderer.render(replace(one, log_scales=one.log_scales + 9), head_camera(64, 64))
    assert renderer.statistics.pairs == 16


def random_scene(num: int, spread: float, seed: int = 0) -> tuple[Gaussians, Camera]:
    """Faint Gaussians before a camera, so many that the lists of tiles need merging; some at equal depth."""
    g = torch.Generator().manual_seed(seed)
    means = spread * torch.randn(num, 3, generator=g)
    means[::3, 2] = 0.0
    scene = ellipsoid_head(num)
    scene = replace(
        scene,
        means=means,
        log_scales=torch.full((num, 3), math.log(0.02)),
        logit_opacities=torch.full((num,), -4.5),
        sh=torch.randn(num, 1, 3, generator=g),
        antialiased=False,
    )
    return scene, Camera.look_at((0, 0, 1), (0, 0, 0), width=32, height=32, vertical_fov_deg=15)


@pytest.mark.parametrize("num", [2040, 2049, 4096, 9001])
def test_lists_of_any_length_are_in_order(num: int) -> None:
    scene, camera = random_scene(num, 0.002)
    renderer = emulated_renderer(32, 32)
    drawn, expected = renderer.render(scene, camera), ReferenceRenderer().render(scene, camera)
    assert renderer.statistics.pairs == 4 * num
    # what may be left out behind a transmittance of 1/512, in the colours of this scene
    assert (drawn.rgb - expected.rgb).abs().max() < scene.sh.abs().max() / 512 + 1.5 / 255
    assert (drawn.rgb - expected.rgb).pow(2).mean().sqrt() < 1 / 512


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("num", [1500, 9000])
@pytest.mark.parametrize("surfel", [False, True], ids=["3d", "2d"])
def test_the_order_of_threads_and_blocks_does_not_show(order: int, num: int, surfel: bool) -> None:
    scene, camera = random_scene(num, 0.02)
    if surfel:
        scene = replace(scene, log_scales=scene.log_scales[:, :2].contiguous())
    expected = emulated_renderer(32, 32).render(scene, camera)
    drawn = CudaRenderer(32, 32, emulated_device(order)).render(scene, camera)
    assert torch.equal(drawn.rgb, expected.rgb)
    assert torch.equal(drawn.alpha, expected.alpha)


# --- bounds ---

_BOUNDS = """
import torch
from bench.scenes import ellipsoid_head, head_camera
from render.camera import Camera
from render.cuda.renderer import CudaRenderer
from render.cuda.avatar_renderer import AvatarRenderer
from tests.render.cuda.emulation.device import EmulatedDevice, build
from tests.render.avatars.small_avatars import random_avatar, random_params
from tests.render.cuda.test_renderer import random_scene
from dataclasses import replace

device = EmulatedDevice(library=build(("-fsanitize=address,bounds", "-fno-sanitize-recover=bounds", "-g")))
background = torch.zeros(50, 70, 3, dtype=torch.uint8).numpy()
for surfel in (False, True):
    renderer = CudaRenderer(70, 50, device, capacity=512)
    for num in (0, 1, 700):
        scene = ellipsoid_head(num, surfel=surfel, sh_degree=1)
        scene.means[::7] = float("nan")
        for layout in (renderer.render_rgb8, renderer.render_yuv420, renderer.render_nv12):
            layout(scene, head_camera(70, 50), background)
        renderer.render(scene, head_camera(70, 50))
scene, camera = random_scene(5000, 0.01)
CudaRenderer(32, 32, device).render(scene, camera)
for axes in (2, 3):
    avatar = random_avatar(degree=3, axes=axes)
    params = replace(random_params(avatar.rig), translation=torch.zeros(3))
    camera = Camera.look_at((0, 0, 6), (0, 0, 0), width=70, height=50, vertical_fov_deg=40)
    renderer = AvatarRenderer(avatar, 70, 50, batch=2, device=device, capacity=16)
    renderer.draw([params] * 2, [camera] * 2, background)
    assert renderer.statistics.overflows and renderer.statistics.pairs > 16
    renderer.close()
print("in bounds")
"""


def _address_sanitizer() -> str:
    found = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def test_no_kernel_leaves_its_arrays() -> None:
    """As compute-sanitizer's memcheck would say on a device."""
    need_compiler()
    library = _address_sanitizer()
    if "/" not in library:
        pytest.skip("this g++ has no address sanitizer")
    environment = {
        **os.environ,
        "LD_PRELOAD": library,
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONPATH": os.getcwd(),
    }
    ran = subprocess.run([sys.executable, "-c", _BOUNDS], capture_output=True, text=True, env=environment)
    assert "in bounds" in ran.stdout, ran.stderr[-4000:]


# --- without a device ---


def test_without_a_device_the_reason_is_one_line() -> None:
    reason = available()
    if reason is None:
        pytest.skip("this machine has a device")
    assert "\n" not in reason
    with pytest.raises(RuntimeError) as error:
        open_device()
    assert str(error.value) == reason
    with pytest.raises(RuntimeError):
        CudaRenderer(32, 32)
