"""What only the CPU renderer offers: bytes for encoders, threads, a workspace that is kept."""

import math
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from bench.scenes import ellipsoid_head, head_camera
from render.camera import Camera
from render.cpu.renderer import CpuRenderer
from render.gaussians import Gaussians
from render.reference.renderer import ReferenceRenderer

WIDTH, HEIGHT = 90, 70  # several tiles, and a border on both sides that no tile of 16 fits
COLOUR = (0.2, 0.5, 0.9)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def rgb_float(renderer: CpuRenderer, scene: Any, camera: Any, background: Any) -> np.ndarray:
    back = torch.tensor(background) if isinstance(background, tuple) else torch.from_numpy(background) / 255
    return renderer.render(scene, camera, back).rgb.clamp(0, 1).numpy() * 255


@pytest.mark.parametrize("kind", ["colour", "picture"])
def test_rgb8_is_the_rounded_float_picture(kind: str, picture: np.ndarray) -> None:
    scene, camera, renderer = ellipsoid_head(800), head_camera(WIDTH, HEIGHT), CpuRenderer(WIDTH, HEIGHT)
    background = COLOUR if kind == "colour" else picture
    drawn = renderer.render_rgb8(scene, camera, background)
    # half a step of rounding, and float32 sums in another order
    assert np.abs(drawn - rgb_float(renderer, scene, camera, background)).max() < 0.502


@pytest.mark.parametrize("kind", ["colour", "picture"])
@pytest.mark.parametrize("colorspace", ["bt709", "bt601"])
def test_yuv_is_the_rgb_picture(kind: str, colorspace: str, picture: np.ndarray) -> None:
    """Against the definition, in float64: limited range, chroma from the mean of 2x2 pixels."""
    scene, camera, renderer = ellipsoid_head(800), head_camera(WIDTH, HEIGHT), CpuRenderer(WIDTH, HEIGHT)
    background = (
        COLOUR
        if kind == "colour"
        else np.ascontiguousarray(picture.repeat(2, 0).repeat(2, 1)[:HEIGHT, :WIDTH])
    )
    yuv = renderer.render_yuv420(scene, camera, background, colorspace=colorspace)
    rgb = rgb_float(renderer, scene, camera, background)
    red, blue = {"bt709": (0.2126, 0.0722), "bt601": (0.299, 0.114)}[colorspace]
    y = red * rgb[..., 0] + (1 - red - blue) * rgb[..., 1] + blue * rgb[..., 2]
    assert np.abs(yuv[:HEIGHT] - (16 + y * 219 / 255)).max() < 0.502
    mean = rgb.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean((1, 3))
    y = red * mean[..., 0] + (1 - red - blue) * mean[..., 1] + blue * mean[..., 2]
    u = 128 + (mean[..., 2] - y) * 112 / 255 / (1 - blue)
    v = 128 + (mean[..., 0] - y) * 112 / 255 / (1 - red)
    chroma = yuv[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)
    assert np.abs(chroma - np.stack([u, v])).max() < 0.51  # rounding, and float32 means of four


def test_yuv_opens_in_ffmpeg_with_the_right_colours() -> None:
    """Guards the plane order and the matrix: PyAV reads the array as I420 and must get the colour back."""
    import av

    renderer = CpuRenderer(64, 48)
    yuv = renderer.render_yuv420(ellipsoid_head(0), head_camera(64, 48), (0.8, 0.3, 0.1), colorspace="bt601")
    rgb = av.VideoFrame.from_ndarray(yuv, format="yuv420p").to_ndarray(format="rgb24")
    assert (
        np.abs(rgb[20, 20].astype(int) - [204, 77, 26]).max() <= 3
    )  # two 8-bit roundings through the matrix


def test_yuv_needs_even_sides() -> None:
    with pytest.raises(ValueError, match="even sides, got 33x32"):
        CpuRenderer(33, 32).render_yuv420(ellipsoid_head(1), head_camera(33, 32), COLOUR)


@pytest.mark.parametrize("surfel", [False, True])
def test_the_number_of_threads_changes_nothing(surfel: bool) -> None:
    scene, camera = ellipsoid_head(9000, surfel=surfel, sh_degree=1), head_camera(WIDTH, HEIGHT)
    one, two, five = (CpuRenderer(WIDTH, HEIGHT, n).render_rgb8(scene, camera, COLOUR) for n in (1, 2, 5))
    assert (one == two).all()
    assert (one == five).all()


def test_strands_across_many_tiles_lose_no_pixel() -> None:
    """Hair: as thin as a pixel, 150 long, at every angle; only the blocks on their way are looked at."""
    num, size = 60, 160
    random = torch.Generator().manual_seed(1)
    angle = torch.linspace(0, math.pi, num)
    none = torch.zeros(num)
    means = torch.stack([*(0.04 * torch.randn(2, num, generator=random)), none], 1)
    scene = Gaussians(
        means=means,
        quats=torch.stack([(angle / 2).cos(), none, none, (angle / 2).sin()], 1),
        log_scales=torch.tensor([0.04, 3e-4, 3e-4]).log().expand(num, 3).contiguous(),
        logit_opacities=torch.full((num,), -1.0),
        sh=torch.randn(num, 1, 3, generator=random),
        antialiased=False,
    )
    camera = Camera.look_at((0, 0, 1), (0, 0, 0), width=size, height=size, vertical_fov_deg=15)
    expected = ReferenceRenderer().render(scene, camera)
    drawn = CpuRenderer(size, size).render(scene, camera)
    assert (expected.alpha > 0).float().mean() > 0.4
    # a pixel whose alpha sits on 1/255 may fall on either side of it
    assert (drawn.alpha - expected.alpha).abs().max() < 1.5 / 255


def test_splats_at_one_depth_stay_in_the_order_of_their_indices() -> None:
    """Also beyond a group of sixteen and a batch of sixty-four, where the first hides the rest."""
    one = ellipsoid_head(1)
    num = 200
    colours = torch.zeros(num, 1, 3)
    colours[0] = 1.0
    scene = Gaussians(
        means=torch.zeros(num, 3),
        quats=one.quats.expand(num, 4).contiguous(),
        log_scales=torch.full((num, 3), math.log(0.5)),
        logit_opacities=torch.full((num,), 20.0),
        sh=colours,
        antialiased=False,
    )
    drawn = CpuRenderer(32, 32).render(scene, head_camera(32, 32)).rgb[16, 16]
    assert (drawn - (0.5 + 0.28209479)).abs().max() < 2e-3  # ALPHA_MAX lets 0.1 % of the others through


def test_a_larger_and_a_smaller_scene_after_another() -> None:
    """The workspace is kept between frames: nothing of an earlier frame may show."""
    camera, renderer = head_camera(WIDTH, HEIGHT), CpuRenderer(WIDTH, HEIGHT)
    for num in (100, 5000, 700, 0, 6000):
        scene = ellipsoid_head(num, seed=num)
        fresh = CpuRenderer(WIDTH, HEIGHT).render_rgb8(scene, camera, COLOUR)
        assert (renderer.render_rgb8(scene, camera, COLOUR) == fresh).all()


def test_writes_into_the_given_array_and_allocates_nothing_large() -> None:
    import tracemalloc

    scene, camera, renderer = ellipsoid_head(3000), head_camera(WIDTH, HEIGHT), CpuRenderer(WIDTH, HEIGHT)
    out = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    assert renderer.render_rgb8(scene, camera, COLOUR, out) is out
    assert out.any()
    tracemalloc.start()
    try:
        renderer.render_rgb8(scene, camera, COLOUR, out)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16_000  # less than one copy of the picture or of a column of the Gaussians


def test_wrong_out_and_wrong_background_are_refused(picture: np.ndarray) -> None:
    scene, camera, renderer = ellipsoid_head(1), head_camera(WIDTH, HEIGHT), CpuRenderer(WIDTH, HEIGHT)
    with pytest.raises(ValueError, match="out must be"):
        renderer.render_rgb8(scene, camera, COLOUR, np.zeros((HEIGHT, WIDTH, 4), np.uint8))
    with pytest.raises(ValueError, match="background must be"):
        renderer.render_rgb8(scene, camera, picture[1:])
    with pytest.raises(ValueError, match="background must be"):
        renderer.render_rgb8(scene, camera, (0.1, 0.2))


def test_other_types_are_refused_not_converted() -> None:
    scene = ellipsoid_head(3)
    with pytest.raises(ValueError, match="float64"):
        CpuRenderer(32, 32).render(replace(scene, means=scene.means.double()), head_camera(32, 32))


def test_a_read_only_background_is_fine(picture: np.ndarray) -> None:
    fixed = picture.copy()
    fixed.flags.writeable = False
    drawn = CpuRenderer(WIDTH, HEIGHT).render_rgb8(ellipsoid_head(0), head_camera(WIDTH, HEIGHT), fixed)
    assert (drawn == picture).all()


def test_close_ends_the_threads() -> None:
    renderer = CpuRenderer(WIDTH, HEIGHT, num_threads=3)
    before = set(threading.enumerate())
    renderer.render_rgb8(ellipsoid_head(9000), head_camera(WIDTH, HEIGHT), COLOUR)
    started = set(threading.enumerate()) - before
    assert started
    renderer.close()
    assert not any(thread.is_alive() for thread in started)
