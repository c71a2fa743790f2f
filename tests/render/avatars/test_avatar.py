"""Avatars: parameters every driver has, the deformation, the default view, and what does not fit."""

import math

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from render.avatars.avatar import Avatar, AvatarInfo
from render.avatars.bindings import VertexBinding
from render.rigs.units import eye_pose_from_units
from render.rotations import axis_angle_to_matrix
from tests.render.avatars.small_avatars import (
    JOINTS,
    UNITS,
    random_avatar,
    random_gaussians,
    random_params,
    random_rig,
)

TOLERANCE = 1e-5  # float32 products of a few rotations


def test_neck_and_head_share_a_turn_that_composes_to_the_whole() -> None:
    avatar = random_avatar()
    turn = torch.tensor([0.2, -0.7, 0.1])
    params = avatar.rig.params_from_units(torch.zeros(len(UNITS)), turn, torch.tensor([0.1, 0.2, 0.3]))
    neck, head = params.pose[JOINTS.index("neck")], params.pose[JOINTS.index("head")]
    both = axis_angle_to_matrix(neck) @ axis_angle_to_matrix(head)
    torch.testing.assert_close(both, axis_angle_to_matrix(turn), atol=TOLERANCE, rtol=0)
    assert 0 < float(neck.norm()) < float(head.norm())
    assert float(params.pose[0].abs().max()) == 0
    torch.testing.assert_close(params.translation, torch.tensor([0.1, 0.2, 0.3]))


def test_eye_units_turn_the_eye_joints_and_stay_in_the_expression() -> None:
    avatar = random_avatar()
    weights = torch.tensor([0.1, 0.8, 0.6, 0.2])
    params = avatar.rig.params_from_units(weights, torch.zeros(3), torch.zeros(3))
    left, right = eye_pose_from_units(UNITS, weights)
    assert float(left[1]) > 0.1  # subject's left: about +y
    torch.testing.assert_close(params.pose[JOINTS.index("left_eye")], left)
    torch.testing.assert_close(params.pose[JOINTS.index("right_eye")], right)
    torch.testing.assert_close(params.expression, weights)


def test_a_rig_without_a_head_joint_turns_at_its_root() -> None:
    rig = random_rig()
    renamed = tuple(f"bone{i}" for i in range(rig.num_joints))
    avatar = random_avatar().replace(rig=type(rig)(**{**parts(rig), "joint_names": renamed}))
    params = avatar.rig.params_from_units(
        torch.zeros(len(UNITS)), torch.tensor([0.0, 0.5, 0.0]), torch.zeros(3)
    )
    torch.testing.assert_close(params.pose[0], torch.tensor([0.0, 0.5, 0.0]))
    assert float(params.pose[1:].abs().max()) == 0


def parts(rig: object) -> dict[str, object]:
    from dataclasses import fields, is_dataclass

    assert is_dataclass(rig)
    return {f.name: getattr(rig, f.name) for f in fields(rig) if f.init}


def test_params_of_many_frames_at_once() -> None:
    avatar = random_avatar()
    g = torch.Generator().manual_seed(0)
    weights, turns, moves = (torch.rand(5, n, generator=g) for n in (len(UNITS), 3, 3))
    together = avatar.rig.params_from_units(weights, turns, moves)
    assert together.pose.shape == (5, len(JOINTS), 3)
    one = avatar.rig.params_from_units(weights[3], turns[3], moves[3])
    torch.testing.assert_close(together.pose[3], one.pose)


def test_posing_reads_nothing_on_the_host() -> None:
    """Tensors without values stand for those of a CUDA graph: reading one raises, as the last lines show."""
    avatar = random_avatar(degree=1)
    params = random_params(avatar.rig)
    with FakeTensorMode(allow_non_fake_inputs=True):
        empty = {
            name: torch.zeros(getattr(params, name).shape, requires_grad=True)
            for name in ("expression", "pose", "translation")
        }
        g = avatar.pose(params.replace(**empty))
        assert g.means.shape == (28, 3)
        with pytest.raises(DataDependentOutputException):
            bool(g.means.sum() > 0)


def test_posing_leaves_the_canonical_gaussians_alone() -> None:
    avatar = random_avatar(degree=1)
    before = {n: getattr(avatar.gaussians, n).clone() for n in ("means", "quats", "log_scales", "sh")}
    with torch.no_grad():
        first = avatar.pose(random_params(avatar.rig))
        kept = first.means.clone()
        avatar.pose(random_params(avatar.rig, seed=9))
    assert torch.equal(first.means, kept)  # the next pose does not overwrite the last one
    for name, tensor in before.items():
        assert torch.equal(getattr(avatar.gaussians, name), tensor)


def test_other_canonical_gaussians_can_be_posed() -> None:
    avatar = random_avatar()
    other = random_gaussians(avatar.gaussians.num_gaussians, seed=77)
    params = random_params(avatar.rig)
    got, wanted = avatar.pose(params, other), avatar.replace(gaussians=other).pose(params)
    assert torch.equal(got.means, wanted.means)
    assert not torch.equal(got.means, avatar.pose(params).means)


@pytest.mark.parametrize("size", [(512, 512), (640, 360), (360, 640)])
def test_the_default_view_holds_the_whole_head(size: tuple[int, int]) -> None:
    avatar = random_avatar(each=60).replace(framing=None)
    g = avatar.gaussians
    opaque = torch.full_like(g.logit_opacities, 2.0)
    small = type(g)(g.means * 0.05, g.quats, g.log_scales, opaque, g.sh)
    avatar = avatar.replace(gaussians=small, deformation=None)
    camera = avatar.default_camera(*size)
    points = avatar.pose(avatar.rig.neutral_params()).means
    neck = avatar.rig.joints_template[JOINTS.index("neck"), 1]
    points = points[points[:, 1] > neck]
    in_camera = points @ camera.world_to_camera[:3, :3].T + camera.world_to_camera[:3, 3]
    x = camera.fx * in_camera[:, 0] / in_camera[:, 2] + camera.cx
    y = camera.fy * in_camera[:, 1] / in_camera[:, 2] + camera.cy
    inside = (x > 0) & (x < size[0]) & (y > 0) & (y < size[1])
    # The framing leaves out half a percent at each end of every axis: 3 % is its worst case.
    assert float(inside.float().mean()) > 0.97
    spread = float((y.max() - y.min()).maximum(x.max() - x.min()))
    assert spread > 0.4 * min(size)


def test_a_given_framing_is_used() -> None:
    camera = random_avatar().default_camera(100, 100)
    torch.testing.assert_close(camera.position(), torch.tensor([0.0, 0.1, 1.1]))
    assert camera.fy == pytest.approx(50 / math.tan(math.radians(12.5)))


def test_parts_that_do_not_fit_are_refused() -> None:
    avatar = random_avatar()
    with pytest.raises(ValueError, match="bindings hold 7 Gaussians, the avatar has 28"):
        avatar.replace(bindings=avatar.bindings[:1])
    g = avatar.gaussians
    with pytest.raises(ValueError, match="sh_quats"):
        avatar.replace(gaussians=type(g)(g.means, g.quats, g.log_scales, g.logit_opacities, g.sh, g.quats))
    rig = type(avatar.rig)(
        **{
            **parts(avatar.rig),
            "shape_basis": torch.zeros(2, avatar.rig.num_vertices * 3),
            "joints_shape": torch.zeros(2, avatar.rig.num_joints * 3),
        }
    )
    with pytest.raises(ValueError, match="bake the identity"):
        Avatar(AvatarInfo("x"), rig, (VertexBinding(torch.arange(3)),), random_gaussians(3))
