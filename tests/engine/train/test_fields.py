"""The signed distance field's parts: derivatives, distances to meshes, pretraining, volume rendering."""

from __future__ import annotations

import math

import pytest
import torch

from engine.train.fields.grid import GridConfig, HashGrid
from engine.train.fields.mesh_distance import nearest_triangles, signed_distance
from engine.train.fields.pretrain import PretrainConfig, pretrain, sample_surface
from engine.train.fields.sdf import SdfConfig, SignedDistanceField
from engine.train.fields.volume import render_rays

SMALL = GridConfig(num_levels=4, log2_entries=10, coarsest=4, finest=32)


@pytest.fixture
def grid() -> HashGrid:
    torch.manual_seed(0)
    grid = HashGrid(SMALL)
    with torch.no_grad():
        grid.table.uniform_(-1, 1)
    return grid


def sphere(radius: float = 0.1, rings: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """A closed latitude-longitude sphere around the origin, outward faces."""
    u = torch.linspace(0, 2 * math.pi, 2 * rings + 1)[:-1]
    v = torch.linspace(0, math.pi, rings + 1)
    vv, uu = torch.meshgrid(v, u, indexing="ij")
    points = torch.stack([vv.sin() * uu.cos(), vv.cos(), vv.sin() * uu.sin()], -1).reshape(-1, 3) * radius
    columns = len(u)
    faces = []
    for i in range(rings):
        for j in range(columns):
            a, b = i * columns + j, i * columns + (j + 1) % columns
            c, d = a + columns, b + columns
            faces += [(a, b, c), (b, d, c)]
    kept = [f for f in faces if triangle_area(points, f) > 1e-10]
    return points, torch.tensor(kept)


def triangle_area(points: torch.Tensor, face: tuple[int, int, int]) -> float:
    a, b, c = points[list(face)]
    return 0.5 * float(torch.linalg.cross(b - a, c - a).norm())


def test_grid_kernels_agree_with_plain_torch(grid: HashGrid) -> None:
    points = torch.rand(64, 3)
    for got, wanted in zip(grid(points, 2), grid.reference(points.double(), 2), strict=True):
        # float32 sums of 27 terms; second derivatives are 32^2 times the features
        assert (got - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_grid_gradients_agree_with_plain_torch(grid: HashGrid) -> None:
    points = torch.rand(32, 3).requires_grad_()
    features, jacobian, _ = grid(points, 1)
    weights = torch.randn_like(features), torch.randn_like(jacobian) * 0.1
    total = (features * weights[0]).sum() + (jacobian * weights[1]).sum()
    got = torch.autograd.grad(total, (points, grid.table))
    double = points.detach().double().requires_grad_()
    features, jacobian, _ = grid.reference(double, 1)
    total = (features * weights[0]).sum() + (jacobian * weights[1]).sum()
    for mine, wanted in zip(got, torch.autograd.grad(total, (double, grid.table)), strict=True):
        assert (mine - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_grid_is_smooth_across_cells(grid: HashGrid) -> None:
    at = torch.tensor([[8 / 32, 0.3, 0.4]])  # a cell's face of the finest level
    step = torch.tensor([[1e-5, 0, 0]])
    before, after = grid.reference((at - step).double(), 1), grid.reference((at + step).double(), 1)
    # first derivatives continue: they change by the second (about 32^2) times the step, not by a jump
    assert (before[1] - after[1]).abs().max() < 32**2 * 2e-5 * 4


def test_hessian_of_the_field_by_finite_differences() -> None:
    torch.manual_seed(1)
    field = SignedDistanceField(SdfConfig(grid=SMALL), torch.zeros(3), 0.2)
    with torch.no_grad():
        field.grid.table.uniform_(-0.3, 0.3)
    points = (torch.rand(20, 3) - 0.5) * 0.3
    # Away from cell faces, across which second derivatives jump (they are those of quadratic pieces).
    cells = (0.5 * (field.normalised(points) + 1))[:, None] * field.grid.resolutions[:, None]
    points = points[((cells - cells.round()).abs() > 0.06).all(2).all(1)]
    assert len(points) >= 3
    sample = field(points, 2)
    h = 1e-4
    for axis in range(3):
        step = torch.zeros(3)
        step[axis] = h
        ahead, behind = field(points + step, 1), field(points - step, 1)
        slope = (ahead.distance - behind.distance) / (2 * h)
        # float32 distances of 0.1 m carry 1e-8 m, over 2e-4 m: 1e-4; the cubic term adds as much
        assert torch.allclose(sample.gradient[:, axis], slope, atol=5e-3)
        bend = (ahead.gradient - behind.gradient) / (2 * h)
        scale = sample.hessian.abs().max()
        assert (sample.hessian[:, axis] - bend).abs().max() < 0.02 * scale


def test_signed_distance_to_a_sphere() -> None:
    vertices, faces = sphere(0.1, rings=32)
    points = (
        torch.nn.functional.normalize(torch.randn(200, 3), dim=1) * torch.linspace(0.02, 0.2, 200)[:, None]
    )
    distance = signed_distance(points, vertices, faces)
    # the facets of 32 rings lie up to r (1 - cos(pi / 64)) = 0.12 mm inside the sphere, twice that diagonally
    assert (distance - (points.norm(dim=1) - 0.1)).abs().max() < 4e-4


def test_nearest_triangle_is_the_nearest() -> None:
    vertices, faces = sphere(0.1)
    points, _ = sample_surface(vertices, faces, 50, torch.Generator().manual_seed(0))
    _, distance = nearest_triangles(points, vertices, faces)
    assert distance.max() < 1e-6  # float32 coordinates of 0.1 m


def pretrained_sphere() -> SignedDistanceField:
    torch.manual_seed(0)
    vertices, faces = sphere(0.1)
    field = SignedDistanceField(SdfConfig(grid=SMALL), torch.zeros(3), 0.2)
    error = pretrain(field, vertices, faces, PretrainConfig(steps=400, num_points=4000, batch=1500))
    assert error < 1.5e-3
    return field


def test_a_pretrained_sphere_has_its_curvature_and_can_be_marched() -> None:
    field = pretrained_sphere()
    points = torch.nn.functional.normalize(torch.randn(300, 3), dim=1) * 0.1
    sample = field(points, 1)
    assert float(sample.distance.detach().abs().mean()) < 2e-3
    curvatures, directions = field.principal_curvatures(points)
    # a fit to facets: the median over the sphere is 1 / 0.1 m, single points are not
    assert 6 < float(curvatures.median()) < 14
    tangent = (directions * torch.nn.functional.normalize(sample.gradient, dim=1)[:, None]).sum(-1)
    assert tangent.abs().max() < 1e-3
    directions = torch.nn.functional.normalize(torch.randn(50, 3), dim=1)
    seen = render_rays(
        field,
        lambda p, d, s: torch.full_like(p, 0.25),
        -0.13 * directions,
        directions,
        torch.zeros(50),
        torch.full((50,), 0.06),
        num_samples=48,
    )
    assert float(seen.alpha.detach().min()) > 0.95
    assert (seen.rgb / seen.alpha[:, None] - 0.25).abs().max() < 1e-4
    assert (seen.depth - 0.03).abs().mean() < 3e-3  # the field's own error, and a sample's length
