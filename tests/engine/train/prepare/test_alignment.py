"""Poses found by the pictures: a person drawn in known poses, told wrong ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from engine.train.data.pictures import KeptPicture
from engine.train.data.pose_numbers import PoseNumbers
from engine.train.prepare import alignment
from engine.train.prepare.alignment import LEAST_FRAMES, Aligned, aligned
from engine.train.prepare.placement import projected
from render.avatars.library import open_avatar
from render.camera import Camera
from render.cpu.renderer import CpuRenderer
from render.rigs.params import RigParams
from render.rigs.rig import Rig

SIZE, FRAMES, TRAIN = 64, 20, 16


@dataclass(frozen=True)
class Film:
    rig: Rig
    camera: Camera
    true: list[RigParams]
    told: list[RigParams]
    pictures: list[KeptPicture]

    def off_px(self, params: list[RigParams], part: str) -> np.ndarray:
        """How far a part's vertices lie from where they were drawn, mean of each frame [T]."""
        rows = (self.rig.skin_weights[:, self.rig.joint_names.index(part)] > 0.6).numpy()
        return np.array(
            [
                np.linalg.norm(
                    (projected(self.rig, a, self.camera) - projected(self.rig, b, self.camera))[rows, :2],
                    axis=1,
                ).mean()
                for a, b in zip(params, self.true, strict=True)
            ]
        )


@pytest.fixture(scope="module")
def film() -> Film:
    vera = open_avatar("vera")
    rig, camera = vera.rig, vera.default_camera(SIZE, SIZE)
    renderer = CpuRenderer(SIZE, SIZE)
    generator = torch.Generator().manual_seed(0)
    neck, head = rig.joint_names.index("neck"), rig.joint_names.index("head")
    true, told, pictures = [], [], []
    for number in range(FRAMES):
        pose = torch.zeros(rig.num_joints, 3)
        pose[head] = torch.tensor([0.05 * math.sin(number), 0.15 * math.cos(1.7 * number), 0])
        pose[neck, 2] = 0.04 * math.sin(0.6 * number)
        params = RigParams(torch.zeros(rig.num_expressions), pose, torch.zeros(3))
        with torch.inference_mode():
            drawn = renderer.render(vera.pose(params), camera)
        rgb = (drawn.rgb / drawn.alpha.clamp_min(1e-3)[..., None]).clamp(0, 1)
        pictures.append(KeptPicture((rgb * 255).byte().numpy(), (drawn.alpha * 255).byte().numpy()))
        wrong = pose.clone()
        wrong[head] += 0.06 * torch.randn(3, generator=generator)
        shift = 0.006 * torch.randn(3, generator=generator)
        true.append(params)
        told.append(params.replace(pose=wrong, translation=shift))
    return Film(rig, camera, true, told, pictures)


@pytest.fixture(scope="module")
def found(film: Film) -> Aligned:
    return aligned(film.rig, film.told, film.camera, film.pictures, TRAIN)


@pytest.mark.parametrize("part", ["head", "root"])
def test_frames_come_back_to_where_they_were_drawn(film: Film, found: Aligned, part: str) -> None:
    before, after = film.off_px(film.told, part), film.off_px(found.params, part)
    print(
        f"{part}: {before.mean():.2f} -> {after[:TRAIN].mean():.2f}, held out {after[TRAIN:].mean():.2f} px"
    )
    # What all frames share cannot be known; the rest of the error goes.
    assert after[:TRAIN].mean() < 0.5 * before[:TRAIN].mean()
    assert after[TRAIN:].mean() < 0.6 * before[TRAIN:].mean()
    assert found.agreement_db > 26


def test_held_out_pictures_teach_nothing(film: Film, found: Aligned) -> None:
    black = [KeptPicture(np.zeros_like(p.rgb), np.zeros_like(p.mask)) for p in film.pictures[TRAIN:]]
    again = aligned(film.rig, film.told, film.camera, [*film.pictures[:TRAIN], *black], TRAIN)
    for ours, theirs in zip(again.params[:TRAIN], found.params[:TRAIN], strict=True):
        assert torch.equal(ours.pose, theirs.pose)
        assert torch.equal(ours.translation, theirs.translation)


def test_a_frame_that_gets_no_better_stays(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    class Astray:
        def __init__(self, numbers: PoseNumbers, camera: Camera) -> None:
            self.numbers = numbers

        def __call__(self, person: object, row: int, picture: object, blur: float) -> None:
            self.numbers.values[row, : self.numbers.num_poses] += 0.05

    monkeypatch.setattr(alignment, "PictureStep", Astray)
    monkeypatch.setattr(alignment, "_ROUNDS", ((1.0, 120),))
    result = aligned(film.rig, film.true, film.camera, film.pictures, TRAIN)
    kept = [torch.equal(ours.pose, own.pose) for ours, own in zip(result.params, film.true, strict=True)]
    assert all(kept[TRAIN:])


def test_gaze_and_other_joints_are_not_touched(film: Film, found: Aligned) -> None:
    looks = [i for i, name in enumerate(film.rig.expression_names) if name.startswith("eyeLook")]
    jaw = film.rig.joint_names.index("jaw")
    for ours, told in zip(found.params, film.told, strict=True):
        assert torch.allclose(ours.expression[looks], told.expression[looks], atol=1e-5)
        assert torch.equal(ours.pose[jaw], told.pose[jaw])
        assert ours.expression.min() >= 0
        assert ours.expression.max() <= 1


def test_too_few_frames_are_refused(film: Film) -> None:
    with pytest.raises(ValueError, match=f"{LEAST_FRAMES} can"):
        aligned(film.rig, film.told, film.camera, film.pictures, LEAST_FRAMES - 1)
