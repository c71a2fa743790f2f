"""One suite for every back end: each must draw what the reference draws, and survive what a file may hold."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.scenes import ellipsoid_head, head_camera
from render.camera import Camera
from render.cpu.gradients.renderer import CpuTrainingRenderer
from render.cpu.renderer import CpuRenderer
from render.gaussians import Gaussians
from render.reference.renderer import ReferenceRenderer
from render.renderer import Renderer, RenderOutput
from render.sh import SH_C0
from tests.render.cuda.cuda_renderers import DeviceRenderer, emulated_renderer, need_device

WIDTH, HEIGHT = 96, 80

# A back end joins the suite here; one that needs a device carries its marker.
BACK_ENDS: dict[str, Callable[[int, int], Renderer]] = {
    "cpu": CpuRenderer,
    "cpu training": CpuTrainingRenderer,
    "cuda, emulated": emulated_renderer,
    "cuda": DeviceRenderer,
}
_MARKS = {"cuda": pytest.mark.gpu}


@pytest.fixture(params=[pytest.param(name, marks=_MARKS.get(name, ())) for name in BACK_ENDS])
def make_renderer(request: pytest.FixtureRequest) -> Callable[[int, int], Any]:
    if request.param == "cuda":
        need_device()
    return BACK_ENDS[request.param]


_references: dict[str, RenderOutput] = {}


def reference(scene: Gaussians, camera: Camera, background: Tensor | None = None) -> RenderOutput:
    """The reference's picture, drawn once for all back ends: it takes longer than all of theirs."""
    parts = [*vars(scene).values(), *vars(camera).values(), background]
    arrays = [p.numpy().tobytes() if isinstance(p, Tensor) else repr(p).encode() for p in parts]
    key = hashlib.sha256(b"|".join(arrays)).hexdigest()
    if key not in _references:
        _references[key] = ReferenceRenderer().render(scene, camera, background)
    return _references[key]


def psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10(((a - b) ** 2).mean() + 1e-20))


def assert_same_picture(drawn: Any, expected: Any, least_psnr: float = 70) -> None:
    """float32 in another order of operations, a fast exp (7e-5) and the early exit (transmittance 1/256).

    A splat whose alpha sits on 1/255, or two splats whose depths differ by one rounding, may fall on either
    side: that changes single pixels by up to about 1/255, and the PSNR of a picture hardly at all.
    """
    for a, b in ((drawn.rgb, expected.rgb), (drawn.alpha, expected.alpha)):
        assert a.shape == b.shape
        assert (a - b).abs().max() < 1.5 / 255
        assert psnr(a, b) > least_psnr


@pytest.mark.parametrize("surfel", [False, True], ids=["3d", "2d"])
@pytest.mark.parametrize("antialiased", [False, True], ids=["plain", "antialiased"])
@pytest.mark.parametrize("sh_degree", [0, 1, 2, 3])
def test_draws_what_the_reference_draws(
    make_renderer: Any, surfel: bool, antialiased: bool, sh_degree: int
) -> None:
    scene = ellipsoid_head(1500, surfel=surfel, antialiased=antialiased, sh_degree=sh_degree)
    camera = head_camera(WIDTH, HEIGHT, yaw_deg=20.0)
    expected = reference(scene, camera)
    assert expected.alpha.max() > 0.9
    assert_same_picture(make_renderer(WIDTH, HEIGHT).render(scene, camera), expected)


@pytest.mark.parametrize("surfel", [False, True], ids=["3d", "2d"])
def test_draws_what_the_reference_draws_close_up_and_off_axis(make_renderer: Any, surfel: bool) -> None:
    scene = ellipsoid_head(400, surfel=surfel)
    camera = Camera.look_at(
        (0.03, 0.02, 0.16), (0.08, 0.0, 0.0), width=WIDTH, height=HEIGHT, vertical_fov_deg=70
    )
    camera = replace(camera, cx=30.5, cy=50.25, fx=camera.fx * 1.1)
    expected = reference(scene, camera)
    assert_same_picture(make_renderer(WIDTH, HEIGHT).render(scene, camera), expected)


def test_moving_the_camera_moves_the_highlights(make_renderer: Any) -> None:
    scene = ellipsoid_head(1500, sh_degree=1)
    still = replace(scene, sh=torch.cat([scene.sh[:, :1], torch.zeros_like(scene.sh[:, 1:])], 1))
    camera = head_camera(WIDTH, HEIGHT)
    renderer = make_renderer(WIDTH, HEIGHT)
    assert (renderer.render(scene, camera).rgb - renderer.render(still, camera).rgb).abs().max() > 0.02


@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 33), (15, 16), (100, 31), (130, 70)])
def test_any_size(make_renderer: Any, width: int, height: int) -> None:
    scene = ellipsoid_head(500)
    camera = head_camera(width, height)
    background = torch.tensor([0.2, 0.5, 0.9])
    expected = reference(scene, camera, background)
    drawn = make_renderer(width, height).render(scene, camera, background)
    assert (drawn.rgb - expected.rgb).abs().max() < 1.5 / 255  # as in assert_same_picture


def test_background_picture(make_renderer: Any) -> None:
    scene, camera = ellipsoid_head(500), head_camera(WIDTH, HEIGHT)
    picture = torch.rand(HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(0))
    expected = reference(scene, camera, picture)
    drawn = make_renderer(WIDTH, HEIGHT).render(scene, camera, picture)
    assert (drawn.rgb - expected.rgb).abs().max() < 1.5 / 255
    corner = drawn.rgb[0, 0]
    assert torch.equal(corner, picture[0, 0])  # nothing covers the corner


def test_no_gaussians_is_background(make_renderer: Any) -> None:
    empty = ellipsoid_head(0)
    drawn = make_renderer(WIDTH, HEIGHT).render(
        empty, head_camera(WIDTH, HEIGHT), torch.tensor([0.1, 0.2, 0.3])
    )
    assert torch.equal(drawn.rgb, torch.tensor([0.1, 0.2, 0.3]).expand(HEIGHT, WIDTH, 3))
    assert (drawn.alpha == 0).all()


# --- hostile scenes ---

BAD_VALUES = {"nan": math.nan, "infinity": math.inf, "minus infinity": -math.inf, "huge": 3e38}
FIELDS = ("means", "quats", "log_scales", "logit_opacities", "sh", "sh_quats")


@pytest.mark.parametrize("surfel", [False, True], ids=["3d", "2d"])
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("bad", BAD_VALUES)
def test_a_bad_number_harms_only_its_gaussian(make_renderer: Any, surfel: bool, field: str, bad: str) -> None:
    scene, camera = ellipsoid_head(300, surfel=surfel, sh_degree=1), head_camera(WIDTH, HEIGHT)
    damaged = getattr(scene, field).clone()
    damaged[::7].reshape(len(damaged[::7]), -1)[:, -1] = BAD_VALUES[bad]
    scene = replace(scene, **{field: damaged})
    drawn = make_renderer(WIDTH, HEIGHT).render(scene, camera)
    assert drawn.rgb.isfinite().all()
    assert drawn.alpha.max() <= 1
    assert drawn.alpha.max() > 0.5  # the others are still there
    if (field, bad) in {("log_scales", "huge"), ("log_scales", "infinity")} or bad == "nan":
        kept = torch.ones(300, dtype=torch.bool)
        kept[::7] = False
        only = Gaussians(**{f: getattr(scene, f)[kept] for f in FIELDS})
        assert torch.equal(drawn.rgb, make_renderer(WIDTH, HEIGHT).render(only, camera).rgb)


@pytest.mark.parametrize("surfel", [False, True], ids=["3d", "2d"])
@pytest.mark.parametrize(
    "name", ["zero scale", "huge scale", "zero quaternion", "on the camera plane", "behind"]
)
def test_degenerate_gaussians_agree_with_the_reference(make_renderer: Any, surfel: bool, name: str) -> None:
    scene, camera = ellipsoid_head(300, surfel=surfel), head_camera(WIDTH, HEIGHT)
    some = torch.zeros(300, dtype=torch.bool)
    some[::5] = True
    if name == "zero scale":
        scene = replace(scene, log_scales=torch.where(some[:, None], -math.inf, scene.log_scales))
    elif name == "huge scale":
        log_scales = torch.where(some[:, None], 4.0, scene.log_scales)  # 55 m
        scene = replace(scene, log_scales=log_scales, logit_opacities=scene.logit_opacities - 3)
    elif name == "zero quaternion":
        scene = replace(scene, quats=torch.where(some[:, None], 0.0, scene.quats))
    elif name == "on the camera plane":
        scene = replace(
            scene, means=torch.where(some[:, None], camera.position() + scene.means[:, :1], scene.means)
        )
    else:
        scene = replace(
            scene, means=torch.where(some[:, None], scene.means + camera.position() * 2, scene.means)
        )
    expected = reference(scene, camera)
    drawn = make_renderer(WIDTH, HEIGHT).render(scene, camera)
    assert drawn.rgb.isfinite().all()
    # Huge ones cover every pixel alike, and so the early exit costs every pixel up to its 1/512 (54 dB).
    assert_same_picture(drawn, expected, least_psnr=54 if name == "huge scale" else 70)


def test_edge_on_surfels(make_renderer: Any) -> None:
    """Seen exactly from the side a surfel is a line; its low-pass disc stays."""
    camera = Camera.look_at((0, 0, 1), (0, 0, 0), width=WIDTH, height=HEIGHT, vertical_fov_deg=30)
    quarter = math.sqrt(0.5)
    scene = Gaussians(
        means=torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0]]),
        quats=torch.tensor([[quarter, 0.0, quarter, 0.0], [quarter, quarter, 0.0, 0.0]]),
        log_scales=torch.full((2, 2), math.log(0.03)),
        logit_opacities=torch.full((2,), 4.0),
        sh=torch.ones(2, 1, 3),
        antialiased=False,
    )
    drawn = make_renderer(WIDTH, HEIGHT).render(scene, camera)
    assert drawn.rgb.isfinite().all()
    assert 0.5 < drawn.alpha.max() <= 1


def test_a_million_gaussians_on_one_pixel(make_renderer: Any) -> None:
    one = ellipsoid_head(1)
    many = Gaussians(
        means=torch.zeros(1_000_000, 3),
        quats=one.quats.expand(1_000_000, 4).contiguous(),
        log_scales=torch.full((1_000_000, 3), math.log(1e-3)),
        logit_opacities=torch.full((1_000_000,), -4.0),
        sh=torch.full((1_000_000, 1, 3), 0.3 / SH_C0),
        antialiased=False,
    )
    drawn = make_renderer(31, 31).render(many, head_camera(31, 31))
    assert drawn.rgb.isfinite().all()
    assert drawn.alpha[15, 15] > 0.99
    # Equal colours: whatever the order, the pixel has their colour times its alpha.
    assert (drawn.rgb[15, 15] - 0.8 * drawn.alpha[15, 15]).abs().max() < 1e-3  # float32 sums of many terms


def test_the_nearer_gaussian_hides_the_farther(make_renderer: Any) -> None:
    """Whatever their order in the arrays, and whatever lies far behind."""
    camera = Camera.look_at((0, 0, 1), (0, 0, 0), width=32, height=32, vertical_fov_deg=30)
    z = torch.tensor([-0.1, 0.2, 0.1, -1e6])
    scene = Gaussians(
        means=torch.stack([torch.zeros(4), torch.zeros(4), z], 1),
        quats=torch.tensor([[1.0, 0, 0, 0]]).expand(4, 4).contiguous(),
        log_scales=torch.full((4, 3), math.log(0.3)),
        logit_opacities=torch.full((4,), 20.0),
        sh=((torch.eye(4)[:, :3] - 0.5) / SH_C0)[:, None].contiguous(),
        antialiased=False,
    )
    centre = make_renderer(32, 32).render(scene, camera).rgb[16, 16]
    assert torch.allclose(centre, torch.tensor([0.0, 1.0, 0.0]), atol=2e-3)  # ALPHA_MAX lets 0.1 % through


@pytest.mark.parametrize("antialiased", [False, True])
def test_low_pass_keeps_the_weight_of_small_gaussians_only_when_compensated(
    make_renderer: Any, antialiased: bool
) -> None:
    """The covered area of a Gaussian of 0.2 px must shrink with the square of the distance."""
    scene = replace(ellipsoid_head(1), means=torch.zeros(1, 3), logit_opacities=torch.tensor([1.5]))
    scene = replace(scene, log_scales=torch.full((1, 3), math.log(0.0018)), antialiased=antialiased)
    near, far = (
        Camera.look_at((0, 0, distance), (0, 0, 0), width=33, height=33, vertical_fov_deg=20)
        for distance in (0.8, 1.6)
    )
    renderer = make_renderer(33, 33)
    covered = [float(renderer.render(scene, camera).alpha.sum()) for camera in (near, far)]
    if antialiased:
        # 4 but for the tails below 1/255 and the pixel grid, which cost the fainter one more
        assert 3.5 < covered[0] / covered[1] < 5.5
    else:
        assert covered[0] / covered[1] < 2  # the plain dilation: far lashes are too heavy


def test_wrong_camera_size_is_refused(make_renderer: Any) -> None:
    with pytest.raises(ValueError, match="96x80"):
        make_renderer(WIDTH, HEIGHT).render(ellipsoid_head(1), head_camera(WIDTH, HEIGHT + 1))


def test_lam_head(make_renderer: Any, testdata_dir: Any) -> None:
    from render.importers.lam import import_lam

    avatar = import_lam(testdata_dir / "avatars" / "lam_p2-1")
    scene = avatar.pose(avatar.rig.neutral_params())
    camera = avatar.default_camera(128, 128)
    expected = reference(scene, camera)
    drawn = make_renderer(128, 128).render(scene, camera)
    assert (drawn.rgb - expected.rgb).abs().max() < 2.5 / 255  # several rim pixels may meet in one, see above
    assert psnr(drawn.rgb, expected.rgb) > 65
