"""Our projection and harmonics against gsplat's own torch code, which runs without a GPU.

Its compiled kernels are never touched: where there is no GPU their build would start and fail.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch

from bench.scenes import ellipsoid_head, head_camera
from render.camera import Camera
from render.gaussians import Gaussians
from render.reference.projection import Splats, project
from render.sh import evaluate_sh

oracle = pytest.importorskip("gsplat.cuda._torch_impl", reason="pip install gsplat")
oracle_2d = pytest.importorskip("gsplat.cuda._torch_impl_2dgs", reason="pip install gsplat")


def double(scene: Gaussians) -> Gaussians:
    names = ("means", "quats", "log_scales", "logit_opacities", "sh")
    return replace(scene, **{name: getattr(scene, name).double() for name in names})


def intrinsics(camera: Camera) -> torch.Tensor:
    return torch.tensor(
        [[[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]]], dtype=torch.float64
    )


def in_order(splats: Splats, camera: Camera, scene: Gaussians) -> torch.Tensor:
    """Index of each splat's Gaussian, found by its depth: float64 depths of random points never coincide."""
    depths = scene.means @ camera.world_to_camera[2, :3].double() + camera.world_to_camera[2, 3]
    return (splats.depths[:, None] - depths).abs().argmin(1)


@pytest.mark.parametrize("off_axis", [False, True])
def test_3d_projection_is_gsplats(off_axis: bool) -> None:
    scene = double(ellipsoid_head(300))
    camera = head_camera(96, 80, yaw_deg=20)
    if off_axis:  # half the head beyond the limit on the Jacobian, and large enough to reach back in
        scene = replace(scene, log_scales=scene.log_scales + 1.5)
        camera = replace(camera, cx=-15.0)
    covariances, _ = oracle._quat_scale_to_covar_preci(scene.quats, scene.scales(), triu=False)
    _, means, depths, conics, shares = oracle._fully_fused_projection(
        scene.means,
        covariances,
        camera.world_to_camera.double()[None],
        intrinsics(camera),
        camera.width,
        camera.height,
        calc_compensations=True,
    )
    splats, _ = project(scene, camera)
    index = in_order(splats, camera, scene)
    assert len(index) > 100
    assert (splats.means_px[:, 0] < -0.15 * camera.width).any() == off_axis
    assert torch.allclose(splats.means_px, means[0, index])
    assert torch.allclose(splats.depths, depths[0, index])
    assert torch.allclose(splats.shapes, conics[0, index], rtol=1e-6)  # gsplat adds less exactly: a c - b^2
    assert torch.allclose(splats.opacities, (scene.opacities() * shares[0])[index], rtol=1e-6)


def test_surfel_homographies_are_gsplats() -> None:
    scene, camera = double(ellipsoid_head(300, surfel=True)), head_camera(96, 80, yaw_deg=20)
    scales = torch.cat([scene.scales(), torch.ones(300, 1, dtype=torch.float64)], 1)
    projected: Any = oracle_2d._fully_fused_projection_2dgs(
        scene.means,
        scene.quats,
        scales,
        camera.world_to_camera.double()[None],
        intrinsics(camera),
        camera.width,
        camera.height,
    )
    transforms, normals = projected[3], projected[4]
    splats, _ = project(scene, camera)
    index = in_order(splats, camera, scene)
    assert len(index) > 200
    assert torch.allclose(splats.shapes, transforms[0, index], rtol=1e-6, atol=1e-9)
    assert torch.allclose(splats.normals, normals[0, index], atol=1e-6)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_harmonics_are_gsplats(degree: int) -> None:
    random = torch.Generator().manual_seed(degree)
    directions = torch.nn.functional.normalize(torch.randn(50, 3, generator=random), dim=1)
    sh = torch.randn(50, (degree + 1) ** 2, 3, generator=random)
    expected = oracle._spherical_harmonics(degree, directions, sh)
    assert torch.allclose(evaluate_sh(sh, directions), expected, atol=1e-6)  # float32
