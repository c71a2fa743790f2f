"""The CPU training renderer's maps and gradients against the reference and its finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.scenes import ellipsoid_head, head_camera
from render.avatars.bindings import TriangleBinding
from render.avatars.library import open_avatar
from render.camera import Camera
from render.cpu.gradients.posing import TrianglePoser
from render.cpu.gradients.renderer import CpuTrainingRenderer
from render.gaussians import Gaussians
from render.motion import Motion
from render.reference.renderer import ReferenceRenderer
from render.renderer import Renderer, RenderOutput

FIELDS = ("means", "quats", "log_scales", "logit_opacities", "sh", "sh_quats")
MAPS = ("rgb", "alpha", "depth", "normal", "distortion")
WIDTH, HEIGHT = 53, 38  # no whole number of tiles
CAMERA = head_camera(WIDTH, HEIGHT, yaw_deg=20)

# Relative to the gradient's length. The renderer ends a block at a transmittance of 1e-4, which leaves out as
# much of what lies behind; its exp2 is right to 3e-6, the rest is float32 rounding.
TOLERANCE = 1e-3

Loss = Callable[[RenderOutput], Tensor]


def weighting(*names: str, seed: int = 0) -> Loss:
    """A loss that weights every pixel of the maps at random, the distortion's m^2 by 1e4."""

    def loss(out: RenderOutput) -> Tensor:
        random = torch.Generator().manual_seed(seed)
        total = out.rgb.new_zeros(())
        for name in MAPS:
            picture = getattr(out, name)
            if name in names:
                weights = torch.randn(picture.shape, generator=random, dtype=torch.float64)
                total = total + (picture * weights.to(picture)).sum() * (1e4 if name == "distortion" else 1)
        return total

    return loss


def gradients(
    renderer: Renderer,
    scene: Gaussians,
    camera: Camera,
    loss: Loss,
    dtype: torch.dtype,
    background: Tensor | None = None,
) -> dict[str, Tensor]:
    """Of every input, of the background and of the screen means; zeros for None."""
    leaves = {
        name: value.detach().to(dtype).clone().requires_grad_()
        for name in FIELDS
        if (value := getattr(scene, name)) is not None
    }
    pose = camera.world_to_camera.to(dtype).clone().requires_grad_()
    behind = None if background is None else background.to(dtype).clone().requires_grad_()
    out = renderer.render(replace(scene, **leaves), replace(camera, world_to_camera=pose), behind)
    assert out.means_px is not None
    out.means_px.retain_grad()
    loss(out).backward()
    tensors = leaves | {"world_to_camera": pose, "means_px": out.means_px}
    if behind is not None:
        tensors["background"] = behind
    return {n: torch.zeros_like(t) if t.grad is None else t.grad.double() for n, t in tensors.items()}


def assert_same_gradients(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float = TOLERANCE
) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].isfinite().all(), name
        assert (found[name] - value).norm() <= tolerance * value.norm() + 1e-6, name


def both(scene: Gaussians, camera: Camera, loss: Loss, background: Tensor | None = None) -> tuple[Any, Any]:
    training = CpuTrainingRenderer(camera.width, camera.height, 2)
    return (
        gradients(training, scene, camera, loss, torch.float32, background),
        gradients(ReferenceRenderer(), scene, camera, loss, torch.float64, background),
    )


def double(scene: Gaussians) -> Gaussians:
    return replace(scene, **{n: v.double() for n in FIELDS if (v := getattr(scene, n)) is not None})


@pytest.mark.parametrize("surfel", [False, True], ids=["3d", "2d"])
@pytest.mark.parametrize("antialiased", [False, True], ids=["plain", "antialiased"])
def test_maps_are_the_references(surfel: bool, antialiased: bool) -> None:
    scene = ellipsoid_head(500, surfel=surfel, antialiased=antialiased, sh_degree=2)
    expected = ReferenceRenderer().render(double(scene), CAMERA)
    drawn = CpuTrainingRenderer(WIDTH, HEIGHT).render(scene, CAMERA)
    for name in MAPS:
        a, b = getattr(drawn, name), getattr(expected, name)
        assert a.shape == b.shape
        # The transmittance left out; squared depths differ by up to (0.2 m)^2, which it multiplies.
        assert (a - b).abs().max() < (5e-6 if name == "distortion" else 2e-4), name
    assert drawn.means_px is not None
    assert expected.means_px is not None
    assert torch.allclose(drawn.means_px.double(), expected.means_px, atol=1e-5)  # pixels, float32


@pytest.mark.parametrize("surfel", [False, True], ids=["3d", "2d"])
@pytest.mark.parametrize(("antialiased", "sh_degree"), [(False, 0), (True, 1), (False, 2), (True, 3)])
def test_all_gradients_are_the_references(surfel: bool, antialiased: bool, sh_degree: int) -> None:
    scene = ellipsoid_head(300, seed=sh_degree, surfel=surfel, antialiased=antialiased, sh_degree=sh_degree)
    found, expected = both(scene, CAMERA, weighting(*MAPS), torch.tensor([0.2, 0.5, 0.9]))
    assert_same_gradients(found, expected)
    assert all(value.norm() > 0 for value in expected.values())


@pytest.mark.parametrize("surfel", [False, True], ids=["3d", "2d"])
@pytest.mark.parametrize("name", MAPS)
def test_gradients_of_one_map_are_the_references(surfel: bool, name: str) -> None:
    """The other maps bring no gradient: not zeros, nothing."""
    found, expected = both(ellipsoid_head(300, surfel=surfel), CAMERA, weighting(name))
    assert_same_gradients(found, expected)


@pytest.mark.parametrize("surfel", [False, True], ids=["3d", "2d"])
@pytest.mark.parametrize("antialiased", [False, True], ids=["plain", "antialiased"])
def test_gradients_are_finite_differences_of_the_reference(surfel: bool, antialiased: bool) -> None:
    """Along random directions, in float64; the seed is one where no pixel crosses alpha = 1/255."""
    scene = double(ellipsoid_head(12, seed=3, surfel=surfel, sh_degree=2, antialiased=antialiased))
    camera, loss = head_camera(20, 16, yaw_deg=15), weighting(*MAPS)
    random = torch.Generator().manual_seed(1)
    found = gradients(CpuTrainingRenderer(20, 16), scene, camera, loss, torch.float32)
    for name in FIELDS:
        value = getattr(scene, name)
        direction = torch.randn(value.shape, generator=random, dtype=torch.float64)
        higher, lower = (
            float(loss(ReferenceRenderer().render(replace(scene, **{name: value + s * direction}), camera)))
            for s in (1e-6, -1e-6)
        )
        analytic, numeric = float((found[name] * direction).sum()), (higher - lower) / 2e-6
        # float32 sums of terms that cancel: relative to the gradient's length, not to the difference
        assert abs(analytic - numeric) < TOLERANCE * float(found[name].norm()), name


@pytest.mark.parametrize("surfel", [False, True], ids=["3d", "2d"])
def test_gradients_close_up_and_off_axis(surfel: bool) -> None:
    """Where the Jacobian is limited, and perspective strong."""
    scene = ellipsoid_head(150, surfel=surfel)
    camera = Camera.look_at(
        (0.03, 0.02, 0.16), (0.08, 0.0, 0.0), width=WIDTH, height=HEIGHT, vertical_fov_deg=70
    )
    camera = replace(camera, cx=17.5, cy=23.25, fx=camera.fx * 1.1)
    assert_same_gradients(*both(scene, camera, weighting(*MAPS)))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 33), (16, 15), (70, 31)])
def test_gradients_at_any_size(width: int, height: int) -> None:
    scene, camera = ellipsoid_head(150, surfel=True), head_camera(width, height)
    assert_same_gradients(*both(scene, camera, weighting(*MAPS)))


def test_gradients_of_a_background_picture() -> None:
    picture = torch.rand(HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(0))
    assert_same_gradients(*both(ellipsoid_head(150), CAMERA, weighting("rgb"), picture))


def test_many_layers_keep_their_gradients() -> None:
    """More splats than a batch on one pixel, opaque ones among them: the walk back must find its way."""
    num = 90
    scene = Gaussians(
        means=torch.stack([torch.zeros(num), torch.zeros(num), torch.linspace(0.1, -0.1, num)], 1),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(num, 1),
        log_scales=torch.full((num, 3), math.log(0.02)),
        logit_opacities=torch.where(torch.arange(num) % 40 == 39, 2.0, -4.0),
        sh=torch.randn(num, 1, 3, generator=torch.Generator().manual_seed(0)),
    )
    assert_same_gradients(*both(scene, head_camera(20, 20), weighting(*MAPS)))


@pytest.mark.parametrize("surfel", [False, True], ids=["3d", "2d"])
def test_without_geometry_the_same_picture_and_gradients(surfel: bool) -> None:
    scene, loss = ellipsoid_head(300, surfel=surfel), weighting("rgb", "alpha")
    whole, short = CpuTrainingRenderer(WIDTH, HEIGHT), CpuTrainingRenderer(WIDTH, HEIGHT, geometry=False)
    a, b = whole.render(scene, CAMERA), short.render(scene, CAMERA)
    assert b.depth is b.normal is b.distortion is None
    assert torch.equal(a.rgb, b.rgb)
    first, second = (gradients(r, scene, CAMERA, loss, torch.float32) for r in (whole, short))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("surfel", [False, True], ids=["3d", "2d"])
def test_the_number_of_threads_changes_no_gradient(surfel: bool) -> None:
    scene, camera = ellipsoid_head(2000, surfel=surfel, sh_degree=1), head_camera(96, 80)
    one, two, five = (
        gradients(CpuTrainingRenderer(96, 80, n), scene, camera, weighting(*MAPS), torch.float32)
        for n in (1, 2, 5)
    )
    for name in one:
        assert torch.equal(one[name], two[name]), name
        assert torch.equal(one[name], five[name]), name


def test_two_views_before_one_backward() -> None:
    """Each picture keeps what its own backward needs."""
    scene, loss = ellipsoid_head(200), weighting(*MAPS)
    cameras = [CAMERA, head_camera(WIDTH, HEIGHT, yaw_deg=-30)]
    renderer = CpuTrainingRenderer(WIDTH, HEIGHT)
    apart = [gradients(renderer, scene, camera, loss, torch.float32)["means"] for camera in cameras]
    means = scene.means.clone().requires_grad_()
    sum(loss(renderer.render(replace(scene, means=means), camera)) for camera in cameras).backward()  # type: ignore[union-attr]
    assert means.grad is not None
    assert torch.allclose(means.grad.double(), apart[0] + apart[1], rtol=1e-5, atol=1e-4)  # float32 sum


def test_only_what_is_asked_for_gets_a_gradient() -> None:
    scene = ellipsoid_head(50)
    scene = replace(scene, logit_opacities=scene.logit_opacities.clone().requires_grad_())
    CpuTrainingRenderer(WIDTH, HEIGHT).render(scene, CAMERA).rgb.sum().backward()
    assert scene.logit_opacities.grad is not None
    assert scene.means.grad is None


# --- hostile scenes ---


@pytest.mark.parametrize("surfel", [False, True], ids=["3d", "2d"])
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 3e38])
def test_a_bad_number_harms_only_its_gradient(surfel: bool, field: str, bad: float) -> None:
    scene = ellipsoid_head(80, surfel=surfel, sh_degree=1)
    damaged = getattr(scene, field).clone()
    damaged[::7].reshape(len(damaged[::7]), -1)[:, -1] = bad
    broken = replace(scene, **{field: damaged})
    renderer, loss = CpuTrainingRenderer(WIDTH, HEIGHT), weighting(*MAPS)
    found = gradients(renderer, broken, CAMERA, loss, torch.float32)
    assert all(value.isfinite().all() for value in found.values())
    assert found["means"][1].norm() > 0
    if math.isnan(bad):
        kept = torch.ones(80, dtype=torch.bool)
        kept[::7] = False
        only = Gaussians(**{name: getattr(scene, name)[kept] for name in FIELDS})
        expected = gradients(renderer, only, CAMERA, loss, torch.float32)
        for name in FIELDS:
            assert torch.equal(found[name][kept], expected[name])
            assert (found[name][~kept] == 0).all()


@pytest.mark.parametrize("surfel", [False, True], ids=["3d", "2d"])
@pytest.mark.parametrize(
    "name", ["zero scale", "huge scale", "zero quaternion", "on the camera plane", "behind", "tiny"]
)
def test_degenerate_gaussians_have_the_references_gradients(surfel: bool, name: str) -> None:
    scene = ellipsoid_head(80, surfel=surfel)
    some = (torch.arange(80) % 5 == 0)[:, None]
    changes: dict[str, dict[str, Tensor]] = {
        "zero scale": {"log_scales": torch.where(some, -math.inf, scene.log_scales)},
        "huge scale": {
            "log_scales": torch.where(some, 4.0, scene.log_scales),  # 55 m
            "logit_opacities": scene.logit_opacities - 3,
        },
        "zero quaternion": {"quats": torch.where(some, 0.0, scene.quats)},
        "on the camera plane": {
            "means": torch.where(some, CAMERA.position() + scene.means[:, :1], scene.means)
        },
        "behind": {"means": torch.where(some, scene.means + CAMERA.position() * 2, scene.means)},
        "tiny": {"log_scales": torch.where(some, -20.0, scene.log_scales)},
    }
    scene = replace(scene, antialiased=False, **changes[name])
    found, expected = both(scene, CAMERA, weighting("rgb", "alpha", "normal"))
    assert_same_gradients(found, expected, tolerance=0.01 if name == "huge scale" else TOLERANCE)


@pytest.mark.parametrize("antialiased", [False, True], ids=["plain", "antialiased"])
@pytest.mark.parametrize("off_deg", [0.0, 1e-3, 0.1, 1.0])
def test_edge_on_surfels_have_finite_gradients(antialiased: bool, off_deg: float) -> None:
    camera = Camera.look_at((0, 0, 1), (0, 0, 0), width=32, height=32, vertical_fov_deg=30)
    half = math.radians(90 - off_deg) / 2
    scene = Gaussians(
        means=torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0]]),
        quats=torch.tensor(
            [[math.cos(half), 0.0, math.sin(half), 0.0], [math.cos(half), math.sin(half), 0, 0]]
        ),
        log_scales=torch.full((2, 2), math.log(0.03)),
        logit_opacities=torch.full((2,), 4.0),
        sh=torch.ones(2, 1, 3),
        antialiased=antialiased,
    )
    found = gradients(CpuTrainingRenderer(32, 32), scene, camera, weighting(*MAPS), torch.float32)
    assert all(value.isfinite().all() for value in found.values())


def test_a_loss_that_is_no_number_is_not_hidden() -> None:
    renderer = CpuTrainingRenderer(WIDTH, HEIGHT)
    found = gradients(
        renderer, ellipsoid_head(50), CAMERA, lambda out: out.rgb.sum() * math.nan, torch.float32
    )
    assert found["means"].isnan().any()
    assert found["logit_opacities"].isnan().any()


def test_no_gaussians() -> None:
    found = gradients(
        CpuTrainingRenderer(WIDTH, HEIGHT), ellipsoid_head(0), CAMERA, weighting(*MAPS), torch.float32
    )
    assert found["means"].shape == (0, 3)
    assert (found["world_to_camera"] == 0).all()


def test_other_types_are_refused_not_converted() -> None:
    with pytest.raises(ValueError, match="float64"):
        CpuTrainingRenderer(WIDTH, HEIGHT).render(double(ellipsoid_head(3)), CAMERA)


def test_a_scene_is_learned_from_its_pictures() -> None:
    """Adam from a disturbed scene, three views: the whole chain, in the direction that helps."""
    target = ellipsoid_head(300, seed=1, surfel=True)
    cameras = [head_camera(48, 48, yaw_deg=yaw) for yaw in (-30, 0, 30)]
    renderer = CpuTrainingRenderer(48, 48)
    pictures = [renderer.render(target, camera).rgb for camera in cameras]
    random = torch.Generator().manual_seed(0)
    sizes = {"means": 3e-3, "quats": 0.2, "log_scales": 0.2, "logit_opacities": 0.5, "sh": 0.3}
    leaves = {
        name: (value + size * torch.randn(value.shape, generator=random)).requires_grad_()
        for name, size in sizes.items()
        if (value := getattr(target, name)) is not None
    }
    optimiser = torch.optim.Adam([{"params": [leaves[n]], "lr": 0.05 * sizes[n]} for n in sizes])
    losses = []
    for _ in range(60):
        scene = replace(target, **leaves)
        drawn = torch.stack([renderer.render(scene, camera).rgb for camera in cameras])
        loss = (drawn - torch.stack(pictures)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]


def test_placing_on_triangles_agrees_with_plain_torch() -> None:
    vera = open_avatar("vera")
    binding = vera.bindings[0]
    assert isinstance(binding, TriangleBinding)
    params = vera.params(Motion.of({"jawOpen": 0.7, "mouthSmileLeft": 0.5}, (0.2, -0.3, 0.1)))
    posed, poser = vera.rig(params), TrianglePoser(vera.rig, binding)
    random = torch.Generator().manual_seed(0)
    results = []
    for pose in (
        lambda local: binding.bound_to(vera.rig)(local, posed, params.expression),
        lambda local: poser(local, poser.frames(posed)),
    ):
        leaves = [getattr(vera.gaussians, name).clone().requires_grad_() for name in FIELDS[:3]]
        placed = pose(replace(vera.gaussians, **dict(zip(FIELDS[:3], leaves, strict=True))))
        outputs = [getattr(placed, name) for name in FIELDS[:3]]
        random.manual_seed(1)
        loss = sum((out * torch.randn(out.shape, generator=random)).sum() for out in outputs)
        results.append((*outputs, placed.sh_quats, *torch.autograd.grad(loss, leaves)))  # type: ignore[arg-type]
    for plain, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=2e-6)
