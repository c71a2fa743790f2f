"""The reference renderer against closed forms and its own finite differences."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from bench.scenes import ellipsoid_head, head_camera
from render.camera import Camera
from render.gaussians import Gaussians
from render.reference.renderer import ReferenceRenderer
from render.sh import SH_C0
from render.splatting import LOW_PASS_PX2

FIELDS = ("means", "quats", "log_scales", "logit_opacities", "sh", "sh_quats")


def one_gaussian(**changes: Any) -> Gaussians:
    """A round one of 2 cm at the origin, half opaque, grey 0.8."""
    scene = Gaussians(
        means=torch.zeros(1, 3),
        quats=torch.tensor([[1.0, 0, 0, 0]]),
        log_scales=torch.full((1, 3), math.log(0.02)),
        logit_opacities=torch.zeros(1),
        sh=torch.full((1, 1, 3), 0.3 / SH_C0),
        antialiased=False,
    )
    return replace(scene, **changes)


FRONT = Camera.look_at((0, 0, 1), (0, 0, 0), width=65, height=65, vertical_fov_deg=30)


def test_one_gaussian_is_a_gaussian() -> None:
    out = ReferenceRenderer().render(one_gaussian(), FRONT)
    variance = (0.02 * FRONT.fx) ** 2 + LOW_PASS_PX2
    offset = torch.arange(65) + 0.5 - 32.5
    alpha = 0.5 * torch.exp(-0.5 * (offset[:, None] ** 2 + offset**2) / variance)
    expected = torch.where(alpha >= 1 / 255, alpha, 0.0)
    assert torch.allclose(out.alpha, expected, atol=1e-5)
    assert torch.allclose(out.rgb, 0.8 * expected[..., None].expand(-1, -1, 3), atol=1e-5)
    assert torch.allclose(out.depth[expected > 0], torch.tensor(1.0), atol=1e-5)
    assert (out.depth[expected == 0] == 0).all()


def test_a_tilted_surfel_has_the_depth_and_normal_of_its_plane() -> None:
    """Perspective and all: the ray through each pixel must meet the plane where the depth says."""
    turn = math.radians(50)
    scene = one_gaussian(
        quats=torch.tensor([[math.cos(turn / 2), 0, math.sin(turn / 2), 0]]),
        log_scales=torch.full((1, 2), math.log(0.05)),
        logit_opacities=torch.full((1,), 6.0),
    )
    out = ReferenceRenderer().render(scene, FRONT)
    normal = torch.tensor([-math.sin(turn), 0, -math.cos(turn)]) * torch.tensor([-1, 1, 1])  # camera axes
    ys, xs = torch.nonzero(out.alpha > 0.3, as_tuple=True)
    assert len(ys) > 50
    rays = torch.stack(
        [(xs + 0.5 - FRONT.cx) / FRONT.fx, (ys + 0.5 - FRONT.cy) / FRONT.fy, torch.ones(len(xs))], 1
    )
    on_plane = ((rays * out.depth[ys, xs][:, None] - torch.tensor([0, 0, 1.0])) * normal).sum(1)
    assert on_plane.abs().max() < 1e-4  # metres; float32
    drawn = out.normal[ys, xs] / out.alpha[ys, xs][:, None]
    assert torch.allclose(drawn, normal.expand_as(drawn), atol=1e-4)


def test_two_layers_blend_front_to_back() -> None:
    means = torch.tensor([[0.0, 0, -0.1], [0, 0, 0.1]])  # the second is nearer
    scene = one_gaussian(
        means=means,
        quats=one_gaussian().quats.expand(2, 4),
        log_scales=torch.full((2, 3), math.log(10.0)),
        logit_opacities=torch.tensor([2.0, 0.0]),
        sh=(torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]) - 0.5)[:, None] / SH_C0,
    )
    out = ReferenceRenderer().render(scene, FRONT, torch.tensor([0.0, 0, 1.0]))
    back = torch.tensor(2.0).sigmoid()
    expected = torch.tensor([0.5 * back, 0.5, 0.5 * (1 - back)])
    assert torch.allclose(out.rgb[32, 32], expected, atol=1e-5)
    assert math.isclose(out.depth[32, 32], (0.5 * 0.9 + 0.5 * back * 1.1) / (0.5 + 0.5 * back), abs_tol=1e-5)
    assert math.isclose(out.distortion[32, 32], 0.5 * (0.5 * back) * 0.2**2, rel_tol=1e-4)


def test_overlapping_surfels_of_one_slanted_plane_have_no_distortion() -> None:
    turn = math.radians(50)
    rotation = torch.tensor([[math.cos(turn / 2), 0, math.sin(turn / 2), 0]])
    along = torch.tensor([[math.cos(turn), 0.0, -math.sin(turn)]])  # in the plane, and away from the camera
    scene = one_gaussian(
        means=along * torch.linspace(-0.03, 0.03, 7)[:, None],
        quats=rotation.expand(7, 4),
        log_scales=torch.full((7, 2), math.log(0.02)),
        logit_opacities=torch.full((7,), -1.0),
        sh=torch.zeros(7, 1, 3),
    )
    distortion = ReferenceRenderer().render(scene, FRONT).distortion
    apart = ReferenceRenderer().render(
        replace(scene, means=scene.means + torch.tensor([[0, 0, 0.01]]) * (torch.arange(7) % 2)[:, None]),
        FRONT,
    )
    assert distortion[32, 32].abs() < 1e-9  # m^2: a hundredth of a millimetre, squared; float32
    assert apart.distortion[32, 32] > 1e-6


def test_tiles_and_batches_do_not_show() -> None:
    scene, camera = ellipsoid_head(400), head_camera(50, 40)
    one = ReferenceRenderer(tile_px=64, max_splats=10_000).render(scene, camera)
    many = ReferenceRenderer(tile_px=7, max_splats=13).render(scene, camera)
    assert torch.allclose(one.rgb, many.rgb, atol=2e-6)  # sums in another grouping
    assert torch.allclose(one.normal, many.normal, atol=2e-6)


@pytest.mark.parametrize("surfel", [False, True], ids=["3d", "2d"])
@pytest.mark.parametrize("antialiased", [False, True], ids=["plain", "antialiased"])
def test_gradients_are_the_finite_differences(surfel: bool, antialiased: bool) -> None:
    """Of a random weighting of every output, along random directions, in float64.

    A central difference over 1e-6 is exact to about 1e-6 of the value, unless a pixel crosses alpha = 1/255
    within the step; the seed is one where none does.
    """
    scene = ellipsoid_head(12, seed=3, surfel=surfel, sh_degree=2, antialiased=antialiased)
    camera = head_camera(20, 16, yaw_deg=15)
    random = torch.Generator().manual_seed(1)
    weights = torch.randn(16, 20, 9, generator=random, dtype=torch.float64)
    weights[:, :, 8] *= 1e4  # m^2
    leaves = {name: getattr(scene, name).double().requires_grad_() for name in FIELDS}

    def loss(**values: torch.Tensor) -> torch.Tensor:
        out = ReferenceRenderer().render(replace(scene, **values), camera)
        maps = torch.stack([out.alpha, out.depth, out.distortion], 2)
        return (torch.cat([out.rgb, out.normal, maps], 2) * weights).sum()

    loss(**leaves).backward()
    for name, leaf in leaves.items():
        direction = torch.randn(leaf.shape, generator=random, dtype=torch.float64)
        step = 1e-6 * direction
        with torch.no_grad():
            higher = loss(**(leaves | {name: leaf + step}))
            lower = loss(**(leaves | {name: leaf - step}))
        numeric = float(higher - lower) / 2e-6
        assert leaf.grad is not None
        analytic = float((leaf.grad * direction).sum())
        assert analytic != 0
        assert math.isclose(analytic, numeric, rel_tol=1e-4, abs_tol=1e-5), name


@pytest.mark.parametrize("surfel", [False, True], ids=["3d", "2d"])
def test_the_gradient_of_screen_means_moves_whole_splats(surfel: bool) -> None:
    """Moving the principal point moves every screen mean alike, and leaves the splats' shapes as they are."""
    scene = ellipsoid_head(12, seed=3, surfel=surfel)
    scene = replace(scene, **{name: getattr(scene, name).double() for name in FIELDS[:5]})
    scene = replace(scene, means=scene.means.requires_grad_())
    camera = head_camera(20, 16, yaw_deg=15)
    weights = torch.randn(16, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def render(shift: float) -> Any:
        return ReferenceRenderer().render(scene, replace(camera, cx=camera.cx + shift))

    out = render(0.0)
    out.means_px.retain_grad()
    (out.alpha * weights).sum().backward()
    higher, lower = ((render(s).alpha.detach() * weights).sum() for s in (1e-6, -1e-6))
    numeric = float(higher - lower) / 2e-6
    assert abs(numeric) > 1e-3
    assert math.isclose(float(out.means_px.grad[:, 0].sum()), numeric, rel_tol=1e-4)


def test_screen_means_of_what_is_not_drawn_are_zero() -> None:
    means = torch.tensor([[0.0, 0, 0], [0, 0, 2.0], [math.nan, 0, 0], [5.0, 0, 0]])
    scene = one_gaussian(
        means=means,
        quats=one_gaussian().quats.expand(4, 4),
        log_scales=torch.full((4, 3), -4.0),
        logit_opacities=torch.zeros(4),
        sh=torch.zeros(4, 1, 3),
    )
    means_px = ReferenceRenderer().render(scene, FRONT).means_px
    assert torch.allclose(means_px[0], torch.tensor([32.5, 32.5]))
    assert (means_px[1:3] == 0).all()  # behind the camera, not a number
    assert means_px[3, 0] > 65  # beside the picture, but it has a place


def test_hostile_values_give_finite_gradients() -> None:
    scene = ellipsoid_head(20, seed=5)
    means = scene.means.clone()
    means[0] = math.nan
    log_scales = scene.log_scales.clone()
    log_scales[1] = -math.inf
    scene = replace(scene, means=means.requires_grad_(), log_scales=log_scales.requires_grad_())
    ReferenceRenderer().render(scene, head_camera(20, 16)).rgb.sum().backward()
    assert scene.means.grad is not None
    assert scene.means.grad.isfinite().all()
