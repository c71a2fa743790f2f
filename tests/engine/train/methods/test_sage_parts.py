"""SAGE's contributions one by one, on shapes whose answer is known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.errors import UsageError
from engine.train.data.views import Dataset, Picture, View
from engine.train.fields.eigen import symmetric_eigen
from engine.train.methods.sage.config import CorrectionConfig, SageConfig, SurfelConfig
from engine.train.methods.sage.correction import Stretch, correct, principal_stretches, tangent_map
from engine.train.methods.sage.method import training_views
from engine.train.methods.sage.model import SageModel
from engine.train.methods.sage.priors import NetworkDeformation, RigDeformation
from engine.train.methods.sage.rebinding import distance_to_own, rebind
from engine.train.methods.sage.surfel_axes import lower_triangle, surfel_axes, symmetric
from engine.train.methods.sage.warp import surface_rays, to_pose, to_rest
from engine.train.methods.sage.wrinkles import darkening
from engine.train.surface.regions import Regions
from engine.train.surface.surfel_placement import Placement
from render.camera import Camera
from render.rigs.head import load_head
from render.rigs.params import RigParams
from render.rigs.rig import Rig
from render.rotations import axis_angle_to_matrix, quaternion_to_matrix

EYE = torch.eye(3)


@pytest.fixture(scope="module")
def rig() -> Rig:
    head = load_head()
    return head.with_shape(torch.zeros(head.num_shapes))


@pytest.fixture(scope="module")
def regions(rig: Rig) -> Regions:
    return Regions.of(rig)


def unit(*shape: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape), dim=-1)


def test_eigenvectors_rebuild_the_matrix() -> None:
    matrices = torch.randn(100, 3, 3)
    matrices = matrices + matrices.mT
    matrices[0], matrices[1] = EYE, torch.zeros(3, 3)  # repeated eigenvalues
    values, vectors = symmetric_eigen(matrices)
    rebuilt = vectors @ torch.diag_embed(values) @ vectors.mT
    assert (rebuilt - matrices).abs().max() < 5e-6  # float32
    assert (values[:, 1:] >= values[:, :-1]).all()


def test_surfels_of_a_projection_lie_in_its_plane() -> None:
    normals = unit(50, 3)
    hessian = lower_triangle(EYE - normals[:, :, None] * normals[:, None])
    for extra in (0.0, 5.0):  # a multiple of the identity changes nothing
        rotation, log_scales = surfel_axes(hessian + extra * lower_triangle(EYE[None]))
        assert ((rotation[:, :, 2] * normals).sum(1).abs() > 1 - 1e-5).all()
        assert log_scales.abs().max() < 1e-4
        assert (torch.linalg.det(rotation) - 1).abs().max() < 1e-5


def test_surfel_axes_turn_with_the_hessian() -> None:
    hessian = symmetric(torch.randn(20, 6))
    turn = axis_angle_to_matrix(torch.randn(20, 3))
    rotation, scales = surfel_axes(lower_triangle(hessian))
    turned_rotation, turned_scales = surfel_axes(lower_triangle(turn @ hessian @ turn.mT))
    assert (scales - turned_scales).abs().max() < 1e-3
    cosines = ((turn @ rotation) * turned_rotation).sum(1).abs()  # up to sign
    assert (cosines > 1 - 1e-3).all()


def test_gradients_through_repeated_eigenvalues_are_finite() -> None:
    parameters = lower_triangle((EYE - torch.diag(torch.tensor([0.0, 0, 1])))[None]).requires_grad_()
    rotation, _ = surfel_axes(parameters)
    (rotation * torch.randn_like(rotation)).sum().backward()
    assert parameters.grad is not None
    assert parameters.grad.isfinite().all()
    assert parameters.grad.abs().max() < 100
    parameters = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda p: surfel_axes(p)[1], (parameters,), atol=1e-5)


def grid_rig(bend: float = 0.0) -> Rig:
    """A sheet of 1 mm triangles, flat or on a cylinder about y of curvature `bend` (1/metre)."""
    n = 13
    line = torch.linspace(-0.006, 0.006, n)
    y, x = torch.meshgrid(line, line, indexing="ij")
    if bend:
        points = torch.stack([(x * bend).sin() / bend, y, ((x * bend).cos() - 1) / bend], -1)
    else:
        points = torch.stack([x, y, torch.zeros_like(x)], -1)
    faces = []
    for i in range(n - 1):
        for j in range(n - 1):
            a = i * n + j
            faces += [(a, a + 1, a + n + 1), (a, a + n + 1, a + n)]
    count = n * n
    return Rig(
        kind="skin",
        template=points.reshape(-1, 3),
        faces=torch.tensor(faces),
        expression_names=(),
        expression_basis=torch.zeros(0, count * 3),
        joint_names=("root",),
        parents=(-1,),
        joints_template=torch.zeros(1, 3),
        skin_weights=torch.ones(count, 1),
    )


def stretch_of(sheet: Rig, config: CorrectionConfig) -> Stretch:
    everything = torch.ones(len(sheet.faces), dtype=torch.bool)
    return Stretch.around(sheet, torch.arange(len(sheet.faces)), everything, config)


def test_a_similarity_stretches_nothing() -> None:
    stretch = stretch_of(grid_rig(40.0), CorrectionConfig())
    turn = axis_angle_to_matrix(torch.tensor([0.3, -0.7, 0.2]))
    posed = 1.7 * stretch.rig.template @ turn.T + torch.tensor([0.1, 0.2, 0.3])
    assert (stretch.relative(posed) - EYE).abs().max() < 1e-3  # float32 edges of a millimetre


def test_a_known_stretch_is_measured_along_and_across() -> None:
    stretch = stretch_of(grid_rig(), CorrectionConfig())
    posed = stretch.rig.template * torch.tensor([1.6, 0.8, 1.0])
    relative = stretch.relative(posed)
    tangents = EYE[0].expand(len(relative), 3), EYE[1].expand(len(relative), 3)
    maps = tangent_map(relative, *tangents)
    values, angle = principal_stretches(maps)
    # Relative to the similarity of a triangle: only the ratio is left to it, and the product with its scale.
    assert torch.allclose(values[:, 0] / values[:, 1], torch.full((len(values),), 2.0), atol=1e-3)
    axis = torch.stack([angle.cos(), angle.sin()], 1)
    assert (maps @ axis[..., None]).norm(dim=1).squeeze() == pytest.approx(values[:, 0], abs=1e-4)
    from render.rigs.frames import triangle_frames

    scale = triangle_frames(posed, stretch.rig.faces)[1] / stretch.rest_scale
    assert torch.allclose(values[:, 0] * scale, torch.full((len(values),), 1.6), atol=2e-3)


def test_correction_follows_the_law() -> None:
    """s_i' = s_i sigma_i / (1 + w |kappa_i|), the normal kept."""
    config = CorrectionConfig(curvature_weight_m=1e-3, turn=0.0)
    rotations = EYE.expand(1, 3, 3)
    relative = torch.diag(torch.tensor([1.5, 0.9, 1.0]))[None]
    curvatures = torch.tensor([[20.0, -100.0]])
    directions = torch.stack([EYE[1], EYE[0]])[None]  # 20/m along y, -100/m along x
    turned_axes, scales = correct(rotations, torch.zeros(1, 2), relative, curvatures, directions, config)
    assert torch.allclose(scales.exp()[0], torch.tensor([1.5 / 1.1, 0.9 / 1.02]), atol=1e-5)
    assert torch.allclose(turned_axes, rotations, atol=1e-6)


def test_correction_turns_to_the_curvature_only_where_stretched() -> None:
    config = CorrectionConfig(turn=1.0)
    rotations, curvatures = EYE.expand(1, 3, 3), torch.tensor([[0.0, 50.0]])
    at = math.radians(30)
    first = torch.tensor([math.cos(at), math.sin(at), 0.0])
    second = torch.tensor([-math.sin(at), math.cos(at), 0.0])
    directions = torch.stack([second, first])[None]
    still, _ = correct(rotations, torch.zeros(1, 2), EYE[None], curvatures, directions, config)
    assert torch.allclose(still, rotations, atol=1e-6)
    relative = torch.diag(torch.tensor([2.0, 1.0, 1.0]))[None]
    moved, _ = correct(rotations, torch.zeros(1, 2), relative, curvatures, directions, config)
    assert torch.allclose(moved[0, :, 2], EYE[2], atol=1e-6)
    turn = math.degrees(math.atan2(float(moved[0, 1, 0]), float(moved[0, 0, 0])))
    assert turn == pytest.approx(30 / 3, abs=0.1)  # (2 - 1) / (2 + 1) of the way


def test_lonely_triangles_are_left_alone() -> None:
    sheet = grid_rig()
    nobody = torch.zeros(len(sheet.faces), dtype=torch.bool)
    nobody[0] = True
    stretch = Stretch.around(sheet, torch.arange(len(sheet.faces)), nobody, CorrectionConfig())
    assert torch.allclose(stretch.relative(sheet.template * 1.5 + 0.1), EYE.expand(len(sheet.faces), 3, 3))


def smiling_params(rig: Rig) -> RigParams:
    weights = torch.zeros(rig.num_expressions)
    for name in ("mouthSmileLeft", "mouthSmileRight", "jawOpen"):
        weights[rig.expression_names.index(name)] = 0.5
    return rig.neutral_params().replace(expression=weights)


def smiling(rig: Rig) -> torch.Tensor:
    return rig(smiling_params(rig)).vertices


def test_rays_survive_the_way_to_rest_and_back(rig: Rig, regions: Regions) -> None:
    vertices = smiling(rig)
    face = regions.face.nonzero()[:200, 0]
    points, directions = vertices[rig.faces[face]].mean(1) + 0.002 * unit(len(face), 3), unit(len(face), 3)
    back, along = to_rest(rig, vertices, face, points, directions)
    again, toward = to_pose(rig, vertices, face, back, along)
    assert (again - points).abs().max() < 1e-6
    assert (toward - directions).abs().max() < 1e-5


def test_surface_rays_land_on_the_resting_mesh(rig: Rig) -> None:
    vertices = smiling(rig)
    camera = Camera.look_at((0, 0, 1.0), (0, 0, 0), width=64, height=64, vertical_fov_deg=20)
    from engine.train.surface.raster import see

    samples = see(camera.project(vertices).numpy(), rig.faces.int().numpy(), 64, 64)
    rows, columns = torch.from_numpy(samples.triangle >= 0).nonzero(as_tuple=True)
    depth = 1 / torch.from_numpy(samples.inverse_depth)[rows, columns]
    seen = torch.from_numpy(samples.triangle).long()
    rays = surface_rays(camera, rows, columns, depth, seen, lambda *ray: to_rest(rig, vertices, *ray))
    corners = rig.template[rig.faces[rays.face]]
    normal = torch.nn.functional.normalize(
        torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), dim=1
    )
    height = ((rays.origins - corners[:, 0]) * normal).sum(1).abs()
    assert height.max() < 1e-5  # a point of a triangle's plane stays in it


def small_model(rig: Rig, regions: Regions, count: int = 300) -> SageModel:
    torch.manual_seed(0)
    face = regions.visible.nonzero()[torch.randint(int(regions.visible.sum()), (count,)), 0]
    corners = rig.template[rig.faces[face]]
    cross = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = torch.nn.functional.normalize(cross, dim=1)
    placement = Placement(face, corners.mean(1), normals, torch.full((count,), 0.004), torch.rand(count, 3))
    config = SageConfig(surfels=SurfelConfig(count=count), networks=False)
    model = SageModel(rig, regions, placement, torch.zeros(rig.num_expressions, 0), None, config)
    hessian = EYE - normals[:, :, None] * normals[:, None]
    with torch.no_grad():
        model.residual_shape[:, :6] = lower_triangle(hessian)
    return model


def test_rebinding_moves_no_surfel_and_comes_nearer(rig: Rig, regions: Regions) -> None:
    model = small_model(rig, regions)
    assert not rebind(model).any()  # they sit on their triangles
    with torch.no_grad():
        model.local_means += 0.7 * torch.randn_like(model.local_means)
    before, away = model.means(), distance_to_own(model, model.means())
    changed = rebind(model)
    assert changed.sum() > 50
    assert (model.means() - before).abs().max() < 1e-6
    assert (distance_to_own(model, model.means())[changed] < away[changed]).all()


def test_at_rest_surfels_are_where_they_were_placed(rig: Rig, regions: Regions) -> None:
    model = small_model(rig, regions)
    gaussians, attributes = model.pose(rig.neutral_params(), torch.tensor([0.0, 0, 1]))
    assert (gaussians.means - model.means()).abs().max() < 1e-6
    normals = quaternion_to_matrix(gaussians.quats)[:, :, 2]
    assert ((normals * attributes.rotations[:, :, 2]).sum(1) > 1 - 1e-4).all()
    wanted = (model.config.surfels.overlap * model.spacing).log()[:, None]
    assert (gaussians.log_scales - wanted).abs().max() < 1e-3


def test_creases_darken_by_their_depth_and_never_below_the_strength() -> None:
    rest = torch.full((5,), 1e-6)  # a millimetre of spread
    posed = torch.tensor([0.5, 1.0, 4.0, 16.0, 400.0]) * 1e-6
    factor = darkening(rest, posed, 0.2, 1e-3)
    assert factor[0] == 1
    assert factor[1] == 1
    assert (factor[1:].diff() <= 1e-6).all()
    assert float(factor[-1]) == pytest.approx(0.8)


def test_config_refuses_surfels_that_cannot_learn() -> None:
    with pytest.raises(ValueError, match="networks, residuals"):
        replace(SageConfig(), networks=False, residuals=False)


def prior_file(path: Path, rig: Rig, last: int = 3) -> Path:
    tensors = {
        "layers.0.weight": torch.randn(8, 3 + rig.num_expressions) * 0.1,
        "layers.0.bias": torch.zeros(8),
        "layers.1.weight": torch.zeros(last, 8),
        "layers.1.bias": torch.full((last,), 0.004),
    }
    save_file(tensors, path)
    return path


def test_a_deformation_prior_adds_its_offsets(rig: Rig, tmp_path: Path) -> None:
    prior = NetworkDeformation(prior_file(tmp_path / "prior.safetensors", rig), rig.num_expressions)
    face = torch.arange(0, 4000, 200)
    params = smiling_params(rig)
    points = rig(params).vertices[rig.faces[face]].mean(1)
    directions = torch.nn.functional.normalize(torch.randn(len(face), 3), dim=1)
    plain = RigDeformation().to_rest(rig, params, face, points, directions)
    moved = prior.to_rest(rig, params, face, points, directions)
    assert torch.allclose(moved[0], plain[0] + 0.004, atol=1e-6)
    assert torch.equal(moved[1], plain[1])


def test_unusable_priors_are_named(rig: Rig, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        NetworkDeformation(tmp_path / "none.safetensors", 52)
    with pytest.raises(UsageError, match="gives 5 numbers"):
        NetworkDeformation(prior_file(tmp_path / "wide.safetensors", rig, last=5), rig.num_expressions)
    with pytest.raises(UsageError, match="layer 0 must take"):
        NetworkDeformation(prior_file(tmp_path / "other.safetensors", rig), 10)


def test_only_one_picture_is_completed_under_oneshot(rig: Rig) -> None:
    camera = Camera.look_at((0.5, 0.1, 0.9), (0, 0, 0), width=24, height=24, vertical_fov_deg=22)
    picture = Picture(torch.rand(24, 24, 3), torch.ones(24, 24))
    dataset = Dataset(rig, (View("one", camera, rig.neutral_params(), 0, "train", lambda: picture),))
    assert len(training_views(dataset, SageConfig(regime="monocular")).views) == 1
    completed = training_views(dataset, SageConfig(regime="oneshot"))
    assert [view.name for view in completed.views] == ["one", *completed.weights]
