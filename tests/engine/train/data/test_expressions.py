"""Expressions and poses that nobody filmed."""

from __future__ import annotations

import pytest
import torch

from engine.train.data.expressions import ExpressionSampler, looked_at_from_aside, turned
from render.rigs.head import load_head
from render.rigs.rig import Rig


@pytest.fixture(scope="module")
def rig() -> Rig:
    head = load_head()
    return head.with_shape(torch.zeros(head.num_shapes))


def test_drawn_expressions_are_plausible(rig: Rig) -> None:
    sampler, generator = ExpressionSampler(rig), torch.Generator().manual_seed(0)
    faces = torch.stack([sampler(generator) for _ in range(200)])
    assert (faces >= 0).all()
    assert (faces <= 1).all()
    active = (faces > 0.01).sum(1).float()
    assert 2 < float(active.mean()) < 16
    jaw, shut = (rig.expression_names.index(n) for n in ("jawOpen", "mouthClose"))
    assert (faces[:, shut] <= 1 - faces[:, jaw]).all()
    left, right = (rig.expression_names.index(f"mouthSmile{side}") for side in ("Left", "Right"))
    same = (faces[:, left] - faces[:, right]).abs() < 1e-6
    assert same.float().mean() > 0.7
    params = turned(rig.neutral_params(), rig, 10.0, generator)
    assert 0.01 < float(params.pose[rig.joint_names.index("head")].norm()) < 1.0


def test_looks_from_aside_turn_head_or_person_and_stay_in_their_range(rig: Rig) -> None:
    generator = torch.Generator().manual_seed(0)
    head, root = rig.joint_names.index("head"), rig.joint_names.index("root")
    alone, yaws = 0, []
    for _ in range(60):
        params = looked_at_from_aside(rig.neutral_params(), rig, 40, 15, generator)
        rotation = rig(params).joint_transforms[head, :, :3]
        yaws.append(float(torch.rad2deg(torch.atan2(rotation[0, 2], rotation[2, 2]))))
        assert abs(float(torch.rad2deg(torch.asin(rotation[1, 2])))) < 16
        alone += not params.pose[root].any()
    assert 15 < alone < 45
    assert -41 < min(yaws) < -25
    assert 25 < max(yaws) < 41
