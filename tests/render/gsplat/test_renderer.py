"""What gsplat is given, drawn by its own torch code where it has some; on a GPU, what its kernels draw.

Its compiled kernels are never touched without a GPU: their build would start and fail.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.scenes import ellipsoid_head, head_camera
from render.gaussians import Gaussians
from render.gsplat import renderer as gsplat_renderer
from render.gsplat.kernels import GsplatError, gsplat_refusal
from render.gsplat.renderer import GsplatRenderer
from render.reference.renderer import ReferenceRenderer
from render.renderer import Renderer, RenderOutput
from render.splatting import ALPHA_MAX, ALPHA_MIN
from render.training_renderer import training_renderer

FIELDS = ("means", "quats", "log_scales", "logit_opacities", "sh", "sh_quats")
CAMERA = head_camera(50, 35, yaw_deg=20)
MAPS = ("rgb", "alpha", "depth", "normal", "distortion")


def blend(
    distances: Tensor, values: Tensor, opacities: Tensor, offsets: Tensor, members: Tensor, shape: Any
) -> tuple[Tensor, Tensor]:
    """gsplat's `accumulate` over its tile lists: [1, H, W, channels] and [1, H, W, 1] from rho [H * W, N]."""
    width, height, tile = shape
    listed = torch.zeros(height, width, len(opacities), dtype=torch.bool)
    order = torch.full((height, width, len(opacities)), len(members))
    ends = torch.cat([offsets.flatten()[1:], torch.tensor([len(members)])])
    for number, (start, end) in enumerate(zip(offsets.flatten(), ends, strict=True)):
        row, column = divmod(number, offsets.shape[2])
        part = slice(row * tile, (row + 1) * tile), slice(column * tile, (column + 1) * tile)
        listed[part[0], part[1], members[start:end].long()] = True
        order[part[0], part[1], members[start:end].long()] = torch.arange(int(end - start))
    alpha = (opacities * torch.exp(-0.5 * distances)).clamp_max(ALPHA_MAX)
    alpha = torch.where(listed.reshape(height * width, -1) & (alpha >= ALPHA_MIN), alpha, 0)
    order = order.reshape(height * width, -1).argsort(dim=1, stable=True)
    alpha = alpha.gather(1, order)
    through = torch.cat([torch.ones_like(alpha[:, :1]), (1 - alpha).cumprod(1)], 1)
    weights = torch.zeros_like(alpha).scatter(1, order, through[:, :-1] * alpha)
    picture = (weights @ values).reshape(1, height, width, -1)
    return picture, (1 - through[:, -1]).reshape(1, height, width, 1)


def pixels(width: int, height: int) -> Tensor:
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([xs, ys], 2).reshape(-1, 1, 2) + 0.5


def rasterize_to_pixels(
    means2d: Tensor, conics: Tensor, colors: Tensor, opacities: Tensor, width: int, height: int, tile: int,
    offsets: Tensor, members: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """sigma = (a dx^2 + c dy^2) / 2 + b dx dy, as gsplat's `accumulate` has it."""
    dx, dy = (pixels(width, height) - means2d[0]).unbind(2)
    a, b, c = conics[0].unbind(1)
    rho = a * dx * dx + c * dy * dy + 2 * b * dx * dy
    return blend(rho, colors[0], opacities[0], offsets, members, (width, height, tile))


def rasterize_to_pixels_2dgs(
    means2d: Tensor, ray_transforms: Tensor, colors: Tensor, opacities: Tensor, normals: Tensor,
    densify: Tensor, width: int, height: int, tile: int, offsets: Tensor, members: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    """As gsplat's `accumulate_2dgs` has it, which needs nerfacc."""
    assert normals.shape[2] == 3
    assert densify.shape == means2d.shape
    at, rows = pixels(width, height), ray_transforms[0]
    h_u = -rows[:, 0] + rows[:, 2] * at[..., :1]
    h_v = -rows[:, 1] + rows[:, 2] * at[..., 1:]
    point = torch.linalg.cross(h_u, h_v)
    in_plane = (point[..., 0] / point[..., 2]) ** 2 + (point[..., 1] / point[..., 2]) ** 2
    on_screen = 2 * ((at - means2d[0]) ** 2).sum(2)
    rho = torch.minimum(in_plane, on_screen)
    return *blend(rho, colors[0], opacities[0], offsets, members, (width, height, tile)), None, None, None


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> GsplatRenderer:
    """The renderer with gsplat's torch code in place of its kernels."""
    code = pytest.importorskip("gsplat.cuda._torch_impl", reason="pip install gsplat")
    package = SimpleNamespace(
        isect_tiles=code._isect_tiles,
        isect_offset_encode=code._isect_offset_encode,
        rasterize_to_pixels=rasterize_to_pixels,
        rasterize_to_pixels_2dgs=rasterize_to_pixels_2dgs,
    )
    monkeypatch.setattr(gsplat_renderer, "load_gsplat", lambda: package)
    return GsplatRenderer("cpu")


def drawn(
    renderer: Renderer, scene: Gaussians, maps: tuple[str, ...], device: str = "cpu"
) -> tuple[RenderOutput, dict[str, Tensor]]:
    """A picture, and the gradients of a random weighting of `maps`."""
    leaves = {name: getattr(scene, name).detach().to(device).clone().requires_grad_() for name in FIELDS}
    background = torch.tensor([0.2, 0.5, 0.9], device=device)
    out = renderer.render(replace(scene, **leaves), CAMERA, background)
    assert out.means_px is not None
    out.means_px.retain_grad()
    random = torch.Generator().manual_seed(0)
    total = out.rgb.new_zeros(())
    for name in maps:
        picture = getattr(out, name)
        total = total + (picture * torch.randn(picture.shape, generator=random).to(device)).sum()
    total.backward()
    tensors = leaves | {"means_px": out.means_px}
    return out, {n: t.grad.cpu() for n, t in tensors.items() if t.grad is not None}


def assert_parity(renderer: Renderer, surfel: bool, antialiased: bool, device: str = "cpu") -> None:
    """A surfel's depth is that of its mean with gsplat: its depth and distortion are not compared.

    The other tolerances: float32, and on a GPU gsplat's end of a pixel at a transmittance of 1e-4.
    """
    scene = ellipsoid_head(60, surfel=surfel, antialiased=antialiased, sh_degree=1)
    maps = ("rgb", "alpha", "normal") if surfel else MAPS
    found, gradients = drawn(renderer, scene, maps, device)
    expected, expected_gradients = drawn(ReferenceRenderer(), scene, maps)
    for name in maps:
        a, b = getattr(found, name).cpu(), getattr(expected, name)
        assert (a - b).abs().max() < (5e-6 if name == "distortion" else 3e-4), name
    assert found.depth is not None
    assert expected.depth is not None
    there = expected.alpha > 0.5
    size = 3.4 * float(
        scene.scales().max()
    )  # a visible point of a splat lies that near its mean: alpha 1/255
    assert (found.depth.cpu() - expected.depth)[there].abs().max() < size
    assert gradients.keys() == expected_gradients.keys()
    for name, value in expected_gradients.items():
        assert value.norm() > 0
        assert (gradients[name] - value).norm() < 2e-3 * value.norm(), name


@pytest.mark.parametrize("surfel", [False, True], ids=["3d", "2d"])
@pytest.mark.parametrize("antialiased", [False, True], ids=["plain", "antialiased"])
def test_what_gsplat_is_given_is_the_references_picture(
    on_cpu: GsplatRenderer, surfel: bool, antialiased: bool
) -> None:
    assert_parity(on_cpu, surfel, antialiased)


@pytest.mark.gpu
@pytest.mark.parametrize("surfel", [False, True], ids=["3d", "2d"])
@pytest.mark.parametrize("antialiased", [False, True], ids=["plain", "antialiased"])
def test_gsplats_kernels_draw_the_references_picture(surfel: bool, antialiased: bool) -> None:
    reason = gsplat_refusal()
    if reason is not None:
        pytest.skip(reason)
    assert_parity(GsplatRenderer(), surfel, antialiased, "cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("surfel", [False, True], ids=["3d", "2d"])
def test_gsplat_draws_no_gaussians_as_background(surfel: bool) -> None:
    reason = gsplat_refusal()
    if reason is not None:
        pytest.skip(reason)
    blue = torch.tensor([0.0, 0.0, 1.0], device="cuda")
    out = GsplatRenderer().render(ellipsoid_head(0, surfel=surfel).to("cuda"), CAMERA, blue)
    assert (out.rgb == blue).all()


def test_nothing_visible_is_background_and_has_gradients(on_cpu: GsplatRenderer) -> None:
    scene = ellipsoid_head(5)
    means = (scene.means + 2 * CAMERA.position()).requires_grad_()
    out = on_cpu.render(replace(scene, means=means), CAMERA, torch.tensor([0.0, 0.0, 1.0]))
    assert (out.rgb == torch.tensor([0.0, 0.0, 1.0])).all()
    out.rgb.sum().backward()
    assert means.grad is not None
    assert (means.grad == 0).all()


def test_huge_and_far_off_boxes_are_whole_numbers(on_cpu: GsplatRenderer) -> None:
    """Their corners overflow gsplat's int32 radii unless they are limited to the picture."""
    scene = ellipsoid_head(20)
    scene = replace(scene, log_scales=scene.log_scales + 12, logit_opacities=scene.logit_opacities - 2)
    out = on_cpu.render(scene, CAMERA)
    expected = ReferenceRenderer().render(scene, CAMERA)
    assert (out.alpha - expected.alpha).abs().max() < 1e-3


def test_without_a_gpu_it_refuses_in_one_line_and_builds_nothing() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a device")
    with pytest.raises(GsplatError) as failure:
        training_renderer("cuda", 32, 32)
    assert "\n" not in str(failure.value)


def test_gaussians_on_another_device_are_refused(on_cpu: GsplatRenderer) -> None:
    scene = ellipsoid_head(3)
    with pytest.raises(ValueError, match="float64"):
        on_cpu.render(replace(scene, means=scene.means.double()), CAMERA)


def test_the_renderer_of_a_device() -> None:
    from render.cpu.gradients.renderer import CpuTrainingRenderer

    assert isinstance(training_renderer("cpu", 32, 16), CpuTrainingRenderer)
    with pytest.raises(ValueError, match="meta"):
        training_renderer("meta", 32, 32)
