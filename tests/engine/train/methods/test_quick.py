"""The quick method from pictures to an avatar that plays, very small."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from engine.train.data.seeds import Seeds
from engine.train.data.views import Dataset, Picture, View
from engine.train.loop.phase import Step
from engine.train.loop.trainer import Trainer, TrainerConfig
from engine.train.methods.quick.config import DensityConfig, LookConfig, QuickConfig, RateConfig
from engine.train.methods.quick.density import move_idle
from engine.train.methods.quick.drivers import first_drivers
from engine.train.methods.quick.looks import Look, Looker, Pictures, whole
from engine.train.methods.quick.method import Quick
from engine.train.results.bake import bake_loss
from engine.train.results.metrics import psnr
from engine.train.surface.contributions import contributions
from render.avatars.avatar import Avatar
from render.avatars.bindings import TriangleBinding
from render.avatars.file import load_avatar, save_avatar
from render.avatars.library import open_avatar
from render.cpu.gradients.renderer import CpuTrainingRenderer
from render.cpu.renderer import CpuRenderer
from render.gaussians import Gaussians
from render.motion import Motion

SIZE = 64
TINY = QuickConfig(
    coarse_steps=40,
    fine_steps=140,
    rows=3,
    moving=300,
    looks=LookConfig(window_px=48),
    density=DensityConfig(rounds=2, looks=2),
    rates=RateConfig(d_sh0=0.05),  # so few steps
)


@pytest.fixture(scope="module")
def person() -> Avatar:
    """A built-in person of few and large Gaussians."""
    vera = open_avatar("vera")
    binding, rows = vera.bindings[0], torch.arange(0, vera.gaussians.num_gaussians, 16)
    assert isinstance(binding, TriangleBinding)
    few = vera.gaussians.chosen(rows)
    return vera.replace(
        gaussians=replace(few, log_scales=few.log_scales + math.log(3)),
        bindings=(TriangleBinding(binding.face_index[rows]),),
        deformation=None,
    )


@pytest.fixture(scope="module")
def capture(person: Avatar) -> Dataset:
    """The person at rest and with an open mouth, when the jaw is red, which no rig can show; seeds lie where
    the Gaussians are."""
    renderer = CpuRenderer(SIZE, SIZE)
    opening = (
        person.rig.expression_basis[person.rig.expression_names.index("jawOpen")].view(-1, 3).norm(dim=1)
    )
    jaw = opening[person.rig.faces].amax(1) > 4e-3
    reddened = jaw[person.bindings[0].face_index]  # type: ignore[union-attr]
    sh = person.gaussians.sh.clone()
    sh[reddened, 0] += torch.tensor([1.5, -1.0, -1.0])
    red = person.replace(gaussians=replace(person.gaussians, sh=sh))
    views = []
    for number, (yaw, weight) in enumerate(
        (y, w) for w in (0.0, 0.8) for y in (-40, -20, -10, 0, 15, 30, 45)
    ):
        shown = red if weight else person
        params = shown.params(Motion.of({"jawOpen": weight}))
        camera = shown.default_camera(SIZE, SIZE, yaw_deg=yaw)
        with torch.inference_mode():
            drawn = renderer.render(shown.pose(params), camera)
            rgb = (drawn.rgb / drawn.alpha.clamp_min(1e-3)[..., None]).clamp(0, 1)
        picture = Picture(rgb.clone(), drawn.alpha.clone())
        split: Literal["train", "test"] = "test" if yaw in (-10, 15) else "train"
        read = lambda picture=picture: picture  # noqa: E731
        views.append(View(f"{number:02d}", camera, params, int(weight > 0), split, read))
    with torch.inference_mode():
        rest = person.pose(person.rig.neutral_params())
    noise = torch.randn(rest.means.shape, generator=torch.Generator().manual_seed(0))
    world = Gaussians(
        rest.means + 5e-4 * noise,
        rest.quats,
        rest.log_scales,
        rest.logit_opacities.clamp(-2, 2),
        torch.zeros_like(rest.sh),
    )
    seeds = Seeds(world, person.bindings[0].face_index, reddened)  # type: ignore[union-attr]
    return Dataset(person.rig, tuple(views), person.rig_reference, "red", seeds)


@pytest.fixture(scope="module")
def trained(capture: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Quick, Trainer]:
    method = Quick(capture, TINY)
    trainer = Trainer(method, TrainerConfig(), tmp_path_factory.mktemp("quick") / "a.checkpoint")
    trainer.run()
    return method, trainer


def test_held_out_views_and_what_the_rig_cannot_show_are_learned(
    capture: Dataset, trained: tuple[Quick, Trainer]
) -> None:
    untrained = Quick(capture, TINY)
    for moment in (0, 1):
        views = [view for view in capture.of("test") if view.time_index == moment]
        before = bake_loss(untrained, untrained.avatar(), views)
        after = bake_loss(trained[0], trained[0].avatar(), views)
        assert after.trained > before.trained + 8, moment
        assert after.trained > 24, moment


def test_bases_are_worth_something(capture: Dataset, trained: tuple[Quick, Trainer]) -> None:
    avatar = trained[0].avatar()
    views = [view for view in capture.of("test") if view.time_index == 1]
    still = avatar.replace(deformation=None)
    assert bake_loss(trained[0], avatar, views).baked > bake_loss(trained[0], still, views).baked + 2


def test_what_is_trained_is_what_the_file_plays(
    capture: Dataset, trained: tuple[Quick, Trainer], tmp_path: Path
) -> None:
    avatar = trained[0].avatar()
    loss = bake_loss(trained[0], avatar, capture.of("test"))
    # Left out is only what hardly shows, and the live renderer rounds to 8 bits where training's does not.
    assert loss.between > 42
    save_avatar(avatar.replace(rig_reference=capture.rig_reference), tmp_path / "red.avatar", compact=True)
    kept = load_avatar(tmp_path / "red.avatar")
    assert abs(bake_loss(trained[0], kept, capture.of("test")).baked - loss.baked) < 0.5
    assert kept.gaussians.sh_degree == 1


def test_the_avatar_is_sorted_and_has_bases_where_they_count(trained: tuple[Quick, Trainer]) -> None:
    avatar = trained[0].avatar()
    camera = avatar.default_camera(SIZE, SIZE)
    shown, _ = contributions(
        CpuTrainingRenderer(SIZE, SIZE), avatar.pose(avatar.rig.neutral_params()), camera
    )
    half = len(shown) // 2
    assert shown[:half].mean() > 1.5 * shown[half:].mean()
    assert avatar.deformation is not None
    assert len(avatar.deformation.indices) <= TINY.moving
    method = Quick(trained[0].dataset, replace(TINY, moving=7))
    method.load_state_dict(trained[0].state_dict())
    fewer = method.avatar()
    assert fewer.deformation is not None
    assert len(fewer.deformation.indices) == 7
    assert fewer.gaussians.num_gaussians == avatar.gaussians.num_gaussians


def test_a_stored_state_draws_the_same(capture: Dataset, trained: tuple[Quick, Trainer]) -> None:
    method = Quick(capture, TINY, resumes=True)
    method.load_state_dict(trained[0].state_dict())
    view, white = capture.of("test")[-1], torch.ones(3)
    assert torch.equal(method.render(view, white).rgb, trained[0].render(view, white).rgb)


def test_resuming_is_bit_by_bit_the_same(capture: Dataset, tmp_path: Path) -> None:
    config = replace(TINY, coarse_steps=9, fine_steps=12)

    class Stopped(Exception):
        pass

    def stop(progress: object) -> None:
        if getattr(progress, "done", 0) == 13:
            raise Stopped

    whole_run = Trainer(Quick(capture, config), TrainerConfig(), tmp_path / "whole.checkpoint")
    whole_run.run()
    kept = TrainerConfig(checkpoint_seconds=0)
    path = tmp_path / "part.checkpoint"
    with pytest.raises(Stopped):
        Trainer(Quick(capture, config), kept, path, observe=stop).run()
    resumed = Trainer(Quick(capture, config, resumes=True), kept, path)
    resumed.resume()
    resumed.run()
    one, other = whole_run.method.state_dict()["model"], resumed.method.state_dict()["model"]
    for name, tensor in one.items():
        assert name == "num_moving" or torch.equal(tensor, other[name]), name


def test_a_capture_without_seeds_starts_on_the_rig(capture: Dataset) -> None:
    config = replace(TINY, surfels=replace(TINY.surfels, count=1500))
    method = Quick(replace(capture, seeds=None), config)
    assert method.model.num_gaussians == 1500
    assert 0 < method.model.num_moving < 1500
    view, white = capture.of("test")[0], torch.ones(3)
    coloured = psnr(method.render(view, white).rgb, view.read().over(white))
    method.model.tensors["sh0"].zero_()
    grey = psnr(method.render(view, white).rgb, view.read().over(white))
    assert coloured > grey + 0.5


def test_windows_lie_in_their_pictures_and_many_on_the_face(capture: Dataset) -> None:
    config = LookConfig(window_px=24, whole_share=0.0, face_share=1.0)
    looker = Looker(capture.of("train"), capture.rig, config)
    generator = torch.Generator().manual_seed(0)
    head = capture.rig.template[:, 1].amax()
    for index in range(60):
        (look,) = looker.fine(Step(index, 0.5, generator, generator), 1)
        left, top, width, height = look.window
        assert (width, height) == (24, 24)
        assert 0 <= left <= SIZE - 24
        assert 0 <= top <= SIZE - 24
        centre = (look.view.camera.width / 2 - left, look.view.camera.height / 2 - top)
        assert -12 < centre[0] < 36, "the face is near the middle of these pictures"
    assert head > 0


def test_faces_that_go_further_are_looked_at_more_often(capture: Dataset) -> None:
    rest, wide = capture.of("train")[0], capture.of("train")[-1]
    assert not rest.params.expression.any()
    slight = replace(wide, name="slight", params=replace(wide.params, expression=wide.params.expression / 5))
    looker = Looker([rest, slight, wide], capture.rig, LookConfig(moving_share=0.5))
    generator = torch.Generator().manual_seed(0)
    drawn = [looker.coarse(Step(k, 0.5, generator, generator), 1)[0].view.name for k in range(3000)]
    assert drawn.count(rest.name) == pytest.approx(1500, abs=100)
    # As 1 to .2, and each the mean of both on top: 1.6 to .8.
    assert drawn.count(wide.name) / drawn.count("slight") == pytest.approx(2, abs=0.3)
    alone = Looker([slight], capture.rig, LookConfig())
    assert alone.coarse(Step(0, 0.5, generator, generator), 1)[0].view is slight


@pytest.mark.parametrize("shrink", [1, 2])
def test_a_window_shows_what_the_whole_picture_shows_there(capture: Dataset, shrink: int) -> None:
    method = Quick(capture, TINY)
    view = capture.of("train")[3]
    look = Look(view, (12, 8, 32, 40), shrink)
    posed = method.model.pose(view.params)
    with torch.no_grad():
        part = CpuTrainingRenderer(32 // shrink, 40 // shrink).render(posed, look.camera).alpha
        camera = whole(view, shrink).camera
        all_of_it = CpuTrainingRenderer(camera.width, camera.height).render(posed, camera).alpha
    rows = slice(8 // shrink, 48 // shrink), slice(12 // shrink, 44 // shrink)
    assert (part - all_of_it[rows]).abs().max() < 6e-3  # footprints end earlier at an edge
    pictures, black = Pictures(torch.device("cpu")), torch.zeros(3)
    wide = whole(view, shrink)
    known = pictures.before(look, black, torch.zeros(40 // shrink, 32 // shrink, 3))
    assert torch.equal(
        known, pictures.before(wide, black, torch.zeros(SIZE // shrink, SIZE // shrink, 3))[rows]
    )


def test_shrunk_pictures_keep_the_persons_colours_at_the_edge(capture: Dataset) -> None:
    view = capture.of("train")[3]
    half = Pictures(torch.device("cpu")).before(whole(view, 2), torch.zeros(3), torch.zeros(()))
    picture = view.read()
    solid = (picture.rgb * picture.mask[..., None]).unfold(0, 2, 2).unfold(1, 2, 2).mean((-1, -2))
    assert (half[..., :3] - solid).abs().max() < 1.5 / 255


def test_what_is_not_known_is_not_learned(capture: Dataset) -> None:
    view, half = capture.of("train")[3], SIZE // 2
    picture = view.read()
    known = torch.ones(SIZE, SIZE, dtype=torch.bool)
    known[:, :half] = False
    torn = replace(view, name="torn", read=lambda: replace(picture, known=known))
    unknown = replace(view, name="unknown", read=lambda: replace(picture, known=torch.zeros_like(known)))
    black, drawn, pictures = torch.zeros(3), torch.rand(half, half, 3), Pictures(torch.device("cpu"))
    target, right = (pictures.before(whole(v, 2), black, drawn) for v in (torn, view))
    assert torch.equal(target[:, : half // 2], drawn[:, : half // 2])
    assert torch.equal(target[:, half // 2 :], right[:, half // 2 :])
    method = Quick(capture, TINY)

    def loss(of: View) -> float:
        generator = torch.Generator().manual_seed(0)
        return float(method._losses([whole(of)], Step(0, 0.0, generator, generator))["rgb"])

    assert 0 < loss(torn) < loss(view)
    assert loss(unknown) == pytest.approx(0, abs=1e-6)


def test_idle_gaussians_move_beside_those_in_error_and_the_light_stays(capture: Dataset) -> None:
    method = Quick(capture, TINY)
    model, view = method.model, capture.of("train")[3]
    with torch.no_grad():
        model.tensors["logit_opacities"][5] = -12.0  # shows nothing
        before = method.render(view, torch.ones(3)).alpha
    shown, missed = torch.full((model.num_gaussians,), 5.0), torch.zeros(model.num_gaussians)
    shown[5], missed[9], missed[model.num_moving + 3] = 0.0, 1.0, 1.0
    old = model.tensors["means"][9].clone()
    moved = move_idle(model, shown, missed, DensityConfig(), torch.Generator().manual_seed(0))
    assert moved == 1
    assert model.face_index[5] == model.face_index[9]
    pair = model.tensors["means"][[5, 9]]
    torch.testing.assert_close(pair.mean(0), old)
    assert (pair[0] - pair[1]).norm() > 0
    after = method.render(view, torch.ones(3)).alpha
    assert (after - before).abs().mean() < 2e-3


def test_shares_of_a_picture_sum_to_what_is_covered(person: Avatar) -> None:
    camera = person.default_camera(SIZE, SIZE)
    renderer = CpuTrainingRenderer(SIZE, SIZE, geometry=False)
    with torch.no_grad():
        posed = person.pose(person.rig.neutral_params())
        alpha = renderer.render(posed, camera).alpha
    error = torch.zeros(SIZE, SIZE)
    error[:, : SIZE // 2] = 0.5
    pixels, missed = contributions(renderer, posed, camera, error)
    assert float(pixels.sum()) == pytest.approx(float(alpha.sum()), rel=1e-3)
    assert float(missed.sum()) == pytest.approx(float((alpha * error).sum()), rel=1e-3)
    assert float(pixels.min()) >= 0


def test_drivers_mix_only_units_that_were_shown(capture: Dataset) -> None:
    drivers = first_drivers(capture.rig, capture.of("train"), 5)
    jaw = capture.rig.expression_names.index("jawOpen")
    assert drivers.shape == (capture.rig.num_expressions, 1)
    assert float(drivers[jaw, 0]) == pytest.approx(1.0)
    assert float(drivers.abs().sum()) == pytest.approx(1.0, abs=1e-4)
    assert not math.isnan(float(drivers.sum()))
