"""SAGE from pictures to an avatar that plays, very small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.train.data.views import Dataset
from engine.train.fields.grid import GridConfig
from engine.train.fields.pretrain import PretrainConfig
from engine.train.fields.sdf import SdfConfig
from engine.train.loop.trainer import Trainer, TrainerConfig
from engine.train.methods.sage.config import ConsistencyConfig, SageConfig, SurfelConfig
from engine.train.methods.sage.method import Sage
from engine.train.results.bake import bake_loss
from engine.train.synthetic.capture import make_capture
from render.avatars.file import load_avatar, save_avatar
from tests.engine.train.baked_people import SHORT_HAIR

TINY = SageConfig(
    regime="multiview",
    steps=60,
    phase_two_steps=24,
    rays=64,
    field_points=512,
    hidden=32,
    surfels=SurfelConfig(count=1200, rebind_every=20),
    consistency=ConsistencyConfig(rays=64),
    sdf=SdfConfig(grid=GridConfig(num_levels=5, log2_entries=12, finest=96)),
    pretrain=PretrainConfig(steps=80, num_points=3000, batch=1000),
)


@pytest.fixture(scope="module")
def capture(baked_people: Path) -> Dataset:
    return make_capture(
        SHORT_HAIR,
        num_views=6,
        expressions=2,
        views_per_expression=1,
        num_novel_views=1,
        size=64,
        supersampling=1,
        folder=baked_people,
    )


@pytest.fixture(scope="module")
def trained(capture: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Sage, Trainer]:
    method = Sage(capture, TINY)
    trainer = Trainer(method, TrainerConfig(), tmp_path_factory.mktemp("sage") / "a.checkpoint")
    trainer.run()
    return method, trainer


def test_losses_fall_phase_by_phase(trained: tuple[Sage, Trainer]) -> None:
    losses = trained[1].history.losses
    assert list(losses) == ["surfels and field", "self-supervision"]
    rgb = torch.tensor(losses["surfels and field"]["rgb"])
    assert float(rgb[-12:].mean()) < 0.6 * float(rgb[:3].mean())
    field = torch.tensor([losses["surfels and field"][term] for term in ("ray_depth", "ray_normal")]).sum(0)
    field = field[field > 0]  # every fourth step trains the field
    # It starts at the rig's surface, which is the person's but for hair and cloth: little is left to fall.
    assert float(field[-5:].mean()) < 0.98 * float(field[:5].mean())
    # Every step of phase two is another face: only means over many tell.
    second = losses["self-supervision"]
    together = torch.tensor([second[k] for k in ("normal", "distortion", "appearance")]).sum(0)
    assert float(together[12:].mean()) < 1.05 * float(together[:12].mean())
    assert together.isfinite().all()


def test_the_baked_avatar_plays_like_the_trained_one(
    trained: tuple[Sage, Trainer], capture: Dataset, tmp_path: Path
) -> None:
    method, _ = trained
    avatar = method.avatar()
    loss = bake_loss(method, avatar, capture.of("test"))
    print(f"trained {loss.trained:.2f} dB, baked {loss.baked:.2f} dB, between them {loss.between:.2f} dB")
    assert loss.trained > 21  # 60 steps from 20.5 dB, half a minute's worth of nothing
    assert loss.between > 36  # corrections become linear, colours first-degree harmonics
    assert abs(loss.baked - loss.trained) < 0.3
    path = tmp_path / "a.avatar"
    save_avatar(avatar, path)
    again = load_avatar(path)
    view = capture.of("test")[0]
    assert torch.equal(again.pose(view.params).means, avatar.pose(view.params).means)
    assert again.gaussians.is_surfel


def test_a_loaded_state_draws_the_same(capture: Dataset, tmp_path: Path) -> None:
    quick = PretrainConfig(steps=5, num_points=500, batch=200)
    few = replace(TINY.surfels, rebind_every=3)
    short = replace(TINY, steps=4, phase_two_steps=1, surfels=few, pretrain=quick)
    one = Sage(capture, short)
    Trainer(one, TrainerConfig(), tmp_path / "one.checkpoint").run()
    other = Sage(capture, short)
    other.load_state_dict(one.state_dict())
    view = capture.of("test")[0]
    white = torch.ones(3)
    assert torch.equal(one.render(view, white).rgb, other.render(view, white).rgb)


@pytest.mark.parametrize(
    "without",
    [
        lambda c: replace(c, networks=False),
        lambda c: replace(c, residuals=False),
        lambda c: replace(c, correction=False, wrinkles=False),
        lambda c: replace(c, phase_two=False, mouth=False),
        lambda c: replace(c, joint_field=False),
    ],
    ids=["networks", "residuals", "correction", "phase two", "joint field"],
)
def test_every_contribution_can_be_left_out(
    without: Callable[[SageConfig], SageConfig], capture: Dataset, tmp_path: Path
) -> None:
    quick = PretrainConfig(steps=5, num_points=500, batch=200)
    config = without(replace(TINY, steps=4, phase_two_steps=1, pretrain=quick))
    method = Sage(capture, config)
    history = Trainer(method, TrainerConfig(), tmp_path / "a.checkpoint").run().losses
    assert ("self-supervision" in history) == config.phase_two
    assert method.avatar().gaussians.num_gaussians >= config.surfels.count
