"""SAGE away from the CPU's kernels: the same step in plain torch, and nothing left behind on the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.errors import UsageError
from engine.train import kernels
from engine.train.data.views import Dataset
from engine.train.fields.closed_eigen import closed_eigen
from engine.train.fields.eigen import symmetric_eigen
from engine.train.fields.grid import GridConfig, HashGrid
from engine.train.fields.pretrain import PretrainConfig
from engine.train.fields.sdf import SdfConfig
from engine.train.loop.phase import Step
from engine.train.loop.trainer import Trainer, TrainerConfig
from engine.train.methods.sage import method as sage
from engine.train.methods.sage.config import ConsistencyConfig, SageConfig, SurfelConfig
from engine.train.methods.sage.method import Sage
from engine.train.results.bake import bake_loss
from engine.train.surface.depth_buffer import nearest_triangles_seen
from engine.train.surface.regions import triangles_seen
from engine.train.synthetic.capture import make_capture
from render.camera import Camera
from render.gsplat.kernels import GsplatError
from render.rigs.head import load_head
from tests.engine.train.baked_people import SHORT_HAIR

TINY = SageConfig(
    regime="multiview",
    steps=8,
    phase_two_steps=4,
    rays=64,
    field_points=256,
    hidden=16,
    surfels=SurfelConfig(count=800, rebind_every=3),
    consistency=ConsistencyConfig(rays=64),
    sdf=SdfConfig(grid=GridConfig(num_levels=4, log2_entries=11, finest=64)),
    pretrain=PretrainConfig(steps=40, num_points=2000, batch=600),
)


@pytest.fixture(scope="module")
def capture(baked_people: Path) -> Dataset:
    return make_capture(
        SHORT_HAIR,
        num_views=4,
        expressions=1,
        views_per_expression=1,
        num_novel_views=1,
        size=48,
        supersampling=1,
        folder=baked_people,
    )


@pytest.fixture(scope="module")
def started(capture: Dataset) -> Sage:
    """As training begins, but for surfels that are all longer than wide.

    A round one has no axes: the last bit of a feature decides them, and with them their gradients.
    """
    method = Sage(capture, TINY)
    with torch.no_grad():
        method.model.residual_shape.add_(0.2 * torch.randn(method.model.residual_shape.shape))
    return method


@pytest.fixture
def plain_torch(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """A context in which no numba kernel is taken, as on a GPU."""

    @contextmanager
    def context() -> Iterator[None]:
        with monkeypatch.context() as patched:
            patched.setattr(kernels, "take", lambda tensor: False)
            yield

    return context


def step_at(index: int) -> Step:
    return Step(index, 0.0, torch.Generator().manual_seed(1), torch.Generator().manual_seed(2))


def losses_and_gradients(method: Sage, phase: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """One step's terms, and their sum's gradient by group, of a field that trains."""
    chosen, step = method.phases()[phase], step_at(0)
    groups = method.parameters()
    for name, group in groups.items():
        for tensor in group.tensors:
            tensor.grad = None
            tensor.requires_grad_(name not in chosen.frozen)
    terms = dict(chosen.loss(chosen.sample(step, 2), step))
    torch.stack(list(terms.values())).sum().backward()
    gradients = {
        name: torch.cat([t.grad.flatten() for t in group.tensors if t.grad is not None])
        for name, group in groups.items()
        if any(tensor.grad is not None for tensor in group.tensors)
    }
    return {name: term.detach() for name, term in terms.items()}, gradients


@pytest.mark.parametrize("phase", [0, 1])
def test_a_step_without_kernels_is_the_same_step(
    phase: int, started: Sage, plain_torch: Callable[[], Any]
) -> None:
    wanted, wanted_gradients = losses_and_gradients(started, phase)
    with plain_torch():
        got, gradients = losses_and_gradients(started, phase)
    assert got.keys() == wanted.keys()
    assert gradients.keys() == wanted_gradients.keys()
    assert {"means", "networks"} <= gradients.keys()
    assert ("field" in gradients) == (phase == 0)
    for name, term in wanted.items():
        assert float(got[name]) == pytest.approx(float(term), abs=1e-4), name
    for name, gradient in wanted_gradients.items():
        # float32 sums in another order, through eigenvectors that come in another way
        assert (gradients[name] - gradient).norm() < 1e-3 * gradient.norm(), name


def test_grid_in_plain_torch_is_the_kernels() -> None:
    torch.manual_seed(0)
    grid = HashGrid(GridConfig(num_levels=4, log2_entries=10, coarsest=4, finest=32))
    with torch.no_grad():
        grid.table.uniform_(-1, 1)
    points = torch.rand(200, 3)
    points[:3] = torch.tensor([[0.0, 0, 0], [1, 1, 1], [0.5, 0.25, 0.125]])  # corners and cell faces
    for got, wanted in zip(grid.reference(points, 2), grid(points, 2), strict=True):
        assert (got - wanted).abs().max() < 3e-5 * wanted.abs().max()  # two float32 sums of 27 terms
    weights = torch.randn(200, 8), torch.randn(200, 8, 3) * 0.1
    found = []
    for look in (grid.reference, grid.forward):
        at = points.clone().requires_grad_()
        features, jacobian, _ = look(at, 1)
        total = (features * weights[0]).sum() + (jacobian * weights[1]).sum()
        found.append(torch.autograd.grad(total, (at, grid.table)))
    for got, wanted in zip(*found, strict=True):
        assert (got - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_closed_eigenvectors_are_those_of_rotations() -> None:
    torch.manual_seed(0)
    matrices = torch.randn(300, 3, 3)
    matrices = matrices + matrices.mT
    normal = torch.nn.functional.normalize(torch.randn(3), dim=0)
    eye = torch.eye(3)
    alike = torch.stack(
        [eye, 0 * eye, eye - torch.outer(normal, normal), torch.outer(normal, normal), 1e-6 * matrices[0]]
    )
    nearly = eye + 1e-4 * matrices[:20]
    for some in (matrices, alike, nearly):
        values, vectors = closed_eigen(some)
        assert (vectors @ torch.diag_embed(values) @ vectors.mT - some).abs().max() < 5e-6  # float32
        assert (vectors.mT @ vectors - eye).abs().max() < 1e-6
        assert (values[:, 1:] >= values[:, :-1]).all()
        assert (values - symmetric_eigen(some)[0]).abs().max() < 2e-6
    # Where eigenvalues differ, the vectors are the same up to sign; eigenvalues 1e-2 apart lose two digits.
    values, vectors = closed_eigen(matrices)
    apart = (values[:, 1:] - values[:, :-1]).amin(1) > 1e-2
    cosines = (vectors * symmetric_eigen(matrices)[1]).sum(1).abs()
    assert (cosines[apart] > 1 - 1e-5).all()


@pytest.mark.parametrize("distance_m", [0.7, 0.3])
def test_the_depth_buffer_sees_what_the_rasteriser_sees(distance_m: float) -> None:
    """From afar, and so near that the head reaches beyond the picture."""
    head = load_head()
    vertices = head.template
    camera = Camera.orbit(
        tuple(vertices.mean(0).tolist()),
        distance_m=distance_m,
        yaw_deg=25,
        width=120,
        height=96,
        vertical_fov_deg=30,
    )
    wanted = triangles_seen(vertices, head.faces, camera)
    got = nearest_triangles_seen(camera.project(vertices), head.faces, 120, 96)
    assert (wanted >= 0).float().mean() > 0.2
    # Both round edges their own way: a pixel whose centre lies on one may go to either side.
    assert (got != wanted).float().mean() < 2e-3


def test_a_resume_fits_nothing_anew(started: Sage, capture: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: Any) -> None:
        raise AssertionError("fitted again")

    for name in ("pretrain", "warm_start", "place_surfels"):
        monkeypatch.setattr(sage, name, forbidden)
    other = Sage(capture, TINY, resumes=True)
    other.load_state_dict(started.state_dict())
    view, white = capture.of("test")[0], torch.ones(3)
    assert torch.equal(started.render(view, white).rgb, other.render(view, white).rgb)
    state, same = started.model.state_dict(), other.model.state_dict()
    assert all(torch.equal(state[name], same[name]) for name in state)


def test_a_gpu_without_gsplat_is_refused(capture: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise GsplatError("the package gsplat is missing")

    monkeypatch.setattr("render.gsplat.renderer.load_gsplat", missing)
    with pytest.raises(UsageError, match="--device cuda: the package gsplat is missing; or use --device cpu"):
        sage.build(capture, TINY, torch.device("cuda"))


@pytest.mark.gpu
def test_a_gpu_trains_what_plays(capture: Dataset, tmp_path: Path) -> None:
    """End to end with gsplat: losses fall, a resume draws the same, the baked avatar plays alike."""
    cuda = torch.device("cuda")
    config = replace(TINY, steps=80, phase_two_steps=12)
    method = sage.build(capture, config, cuda)
    trainer = Trainer(method, TrainerConfig(), tmp_path / "gpu.checkpoint")
    losses = trainer.run().losses
    rgb = torch.tensor(losses["surfels and field"]["rgb"])
    assert float(rgb[-12:].mean()) < 0.7 * float(rgb[:3].mean())
    assert torch.tensor(losses["self-supervision"]["appearance"]).isfinite().all()
    assert {t.device.type for group in method.parameters().values() for t in group.tensors} == {"cuda"}
    again = sage.build(capture, config, cuda, resumes=True)
    Trainer(again, TrainerConfig(), tmp_path / "gpu.checkpoint").resume()
    view, white = capture.of("test")[0], torch.ones(3)
    drawn = method.render(view, white).rgb
    assert (again.render(view, white).rgb - drawn).abs().max() < 1e-4  # the card adds in any order
    played = bake_loss(method, method.avatar(), capture.of("test"))
    # Corrections become linear and colours harmonics, as on the CPU; gsplat ends pixels at 1e-4.
    assert played.between > 33
    assert abs(played.baked - played.trained) < 0.5
