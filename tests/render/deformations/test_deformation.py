"""One suite for every place that deforms: the torch reference, the CPU's posing and the CUDA kernels."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from render.avatars.avatar import Avatar
from render.camera import Camera
from render.cpu.changed_rows import ChangedRows
from render.cpu.posing import add_deltas
from render.cpu.renderer import CpuRenderer
from render.cuda.avatar_renderer import AvatarRenderer
from render.deformations.coefficients import Coefficients
from render.deformations.condition import Condition
from render.deformations.deformation import DELTAS, Deformation
from render.deformations.head_pose import head_pose
from render.rigs import flame
from render.rigs.articulation import BLENDSHAPES
from render.rigs.params import RigParams
from tests.render.avatars.small_avatars import JOINTS, random_avatar, random_params, random_rig
from tests.render.cuda.cuda_renderers import emulated_device
from tests.render.deformations.cases import (
    CASES,
    FIELDS,
    Case,
    deformed_avatar,
    moving_params,
    plain_coefficients,
    plain_condition,
    plain_deformed,
)

TOLERANCE = 2e-5  # float32 sums of a dozen products of about 1
SIZE = 48


def deformation_of(avatar: Avatar) -> Deformation:
    assert avatar.deformation is not None
    return avatar.deformation


@pytest.mark.parametrize("place", ["reference", "CPU"])
@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_deltas_are_added_by_their_coefficients(case: Case, axes: int, place: str) -> None:
    avatar = deformed_avatar(case, axes=axes)
    params, deformation = moving_params(avatar), deformation_of(avatar)
    wanted_condition = plain_condition(avatar, params)
    wanted = plain_deformed(avatar, plain_coefficients(deformation.coefficients, wanted_condition))
    if place == "reference":  # which is asked for by wanting gradients
        params = replace(params, expression=params.expression.clone().requires_grad_())
    condition = avatar.condition(avatar.rig, params)
    np.testing.assert_allclose(condition.detach(), wanted_condition, atol=TOLERANCE)
    found = deformation(avatar.gaussians, condition)
    changed = 0
    for name in FIELDS:
        value, before = getattr(found, name), getattr(avatar.gaussians, name)
        assert value.requires_grad is (place == "reference" and not torch.equal(value, before))
        np.testing.assert_allclose(value.detach(), wanted[name], atol=TOLERANCE, rtol=TOLERANCE)
        changed += not torch.equal(value, before)
    assert changed == len(case.deltas)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_kernels_deform_as_the_cpu(case: Case) -> None:
    avatar = deformed_avatar(case, each=12)
    params = replace(moving_params(avatar), translation=torch.tensor([0.1, -0.2, 0.3]))
    camera = Camera.look_at((0, 0, 6), (0, 0, 0), width=SIZE, height=SIZE, vertical_fov_deg=40)
    renderer = AvatarRenderer(avatar, SIZE, SIZE, layout="float", device=emulated_device())
    drawn = renderer.draw([params], [camera], (0, 0, 0))[0]
    coefficients = plain_coefficients(deformation_of(avatar).coefficients, plain_condition(avatar, params))
    np.testing.assert_allclose(renderer._frame._kept["coefficients"], coefficients, atol=TOLERANCE)
    on_cpu = CpuRenderer(SIZE, SIZE, num_threads=1)
    expected = on_cpu.render(avatar.pose(params), camera)
    assert np.abs(drawn[..., :3] - expected.rgb.numpy()).max() < 1e-3
    assert np.abs(drawn[..., 3] - expected.alpha.numpy()).max() < 1e-3
    still = on_cpu.render(avatar.replace(deformation=None).pose(bare(params)), camera)
    assert (expected.rgb - still.rgb).abs().max() > 1e-2  # the deformation shows


def bare(params: RigParams) -> RigParams:
    return replace(params, controls=None)


def test_batches_may_hold_avatars_of_different_deformations() -> None:
    avatars = [deformed_avatar(Case(kind)) for kind in ("clamped", "two hidden layers", "one hidden layer")]
    avatars.insert(1, random_avatar(degree=1).replace(deformation=None))
    params = [moving_params(avatar) for avatar in avatars]
    camera = Camera.look_at((0, 0, 6), (0, 0, 0), width=SIZE, height=SIZE, vertical_fov_deg=40)
    together = AvatarRenderer(avatars, SIZE, SIZE, batch=4, device=emulated_device())
    pictures = together.draw(params, [camera] * 4, (0, 0, 0))
    for picture, avatar, each in zip(pictures, avatars, params, strict=True):
        alone = AvatarRenderer(avatar, SIZE, SIZE, device=emulated_device()).draw([each], [camera], (0, 0, 0))
        assert (picture == alone[0]).all()


@pytest.mark.parametrize("turn", [1e-4, 0.3])
@pytest.mark.parametrize("kind", ["clamped", "two hidden layers"])
def test_gradients_of_the_reference_are_finite_differences(kind: str, turn: float) -> None:
    avatar = deformed_avatar(Case(kind), each=2)
    d, rig, g = deformation_of(avatar), avatar.rig, avatar.gaussians
    params = moving_params(avatar)
    assert params.controls is not None
    leaves = [params.expression, turn * params.pose, params.translation, params.controls]
    leaves += [*d.coefficients.weights, *d.coefficients.biases, *(getattr(d, name) for name in DELTAS)]
    leaves = [leaf.double().requires_grad_() for leaf in leaves]
    gaussians = replace(g, **{name: getattr(g, name).double() for name in FIELDS})
    layers = len(d.coefficients.weights)

    def deformed(*values: Any) -> tuple[Any, ...]:
        expression, pose, translation, controls, *rest = values
        weights, biases, deltas = rest[:layers], rest[layers : 2 * layers], rest[2 * layers :]
        deformation = replace(
            d,
            coefficients=Coefficients(tuple(weights), tuple(biases), d.coefficients.clamped),
            **dict(zip(DELTAS, deltas, strict=True)),
        )
        condition = d.condition(rig, RigParams(expression, pose, translation, controls=controls))
        found = deformation(gaussians, condition)
        return tuple(getattr(found, name) for name in FIELDS)

    assert torch.autograd.gradcheck(deformed, leaves, eps=1e-6, atol=1e-6, fast_mode=True)


def test_gradients_of_a_head_that_looks_ahead_are_finite_differences() -> None:
    rig, expression = random_rig(), torch.zeros(4)
    pose = torch.zeros(rig.num_joints, 3, dtype=torch.float64, requires_grad=True)
    move = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p, m: head_pose(rig, RigParams(expression, p, m)), (pose, move))


def test_gradients_reach_the_deltas_of_a_still_expression() -> None:
    """Training fits deltas while nothing else asks for gradients."""
    avatar = deformed_avatar(Case("unclamped"))
    deformation = deformation_of(avatar)
    assert deformation.d_quats is not None
    leaf = deformation.d_quats.clone().requires_grad_()
    posed = avatar.replace(deformation=replace(deformation, d_quats=leaf)).pose(moving_params(avatar))
    posed.quats.square().sum().backward()
    assert leaf.grad is not None
    assert float(leaf.grad.abs().max()) > 0


# --- the condition ---


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 0.5, 3.1])
@pytest.mark.parametrize("kind", ["head", "flame", "none"])
def test_the_head_pose_is_what_the_driver_gave(kind: Any, angle: float) -> None:
    """At the head, at FLAME's neck, and at the root of a rig that has neither."""
    names = JOINTS if kind != "none" else tuple(f"bone{i}" for i in range(len(JOINTS)))
    how = flame.ARTICULATION if kind == "flame" else BLENDSHAPES
    rig = replace(random_rig(), articulation=how, joint_names=names)
    turn, move = angle * torch.tensor([0.48, -0.6, 0.64]), torch.tensor([0.1, 0.2, -0.3])
    params = rig.params_from_units(torch.zeros(len(rig.units)), turn, move)
    found = head_pose(rig, params)
    torch.testing.assert_close(found, torch.cat([turn, move]), atol=2e-6, rtol=0)
    with_gradients = head_pose(rig, replace(params, pose=params.pose.clone().requires_grad_()))
    torch.testing.assert_close(with_gradients.detach(), found, atol=1e-5, rtol=0)


def test_joint_units_are_what_the_driver_gave() -> None:
    avatar = deformed_avatar(Case("unclamped", "joint units"))
    rig = avatar.rig
    assert rig.unit_names[rig.num_expressions :][:3] == ("jawOpen", "jawLeft", "jawRight")
    weights = torch.zeros(len(rig.units))
    for name, weight in (("mode1", -0.7), ("jawOpen", 0.8), ("jawRight", 0.3), ("eyeLookUpLeft", 0.5)):
        weights[rig.unit_names.index(name)] = weight
    params = rig.params_from_units(weights, torch.tensor([0.1, 0.2, 0.3]), torch.zeros(3))
    torch.testing.assert_close(avatar.condition(rig, params), weights, atol=1e-6, rtol=0)


@pytest.mark.parametrize("seed", range(5))
def test_any_turns_of_the_joints_give_the_same_in_play_and_with_gradients(seed: int) -> None:
    rig = random_rig()
    params = random_params(rig, seed, angle=2.0)
    in_play = head_pose(rig, params)
    torch.testing.assert_close(
        in_play.double(),
        head_pose(rig, replace(params, pose=params.pose.double(), translation=params.translation.double())),
        atol=1e-5,
        rtol=0,
    )
    assert float(in_play[:3].norm()) <= 3.1416


def test_controls_have_names_and_are_off_unless_told() -> None:
    avatar = deformed_avatar(Case("unclamped", "controls"))
    params = bare(moving_params(avatar))
    off = avatar.pose(params)
    for weights, same in (({}, True), ({"mood": 0.0}, True), ({"mood": 0.5}, False)):
        posed = avatar.pose(replace(params, controls=avatar.condition.weights(weights)))
        assert torch.equal(posed.means, off.means) is same
    torch.testing.assert_close(avatar.condition.weights({"mood": 0.5}), torch.tensor([0.0, 0.5]))
    with pytest.raises(ValueError, match="no control 'hat'; there are: glasses, mood"):
        avatar.condition.weights({"hat": 1})
    for other, controls in ((avatar, torch.zeros(3)), (random_avatar(), torch.zeros(1))):
        with pytest.raises(ValueError, match=f"{len(controls)} controls, the avatar has"):
            other.pose(replace(params, controls=controls))
    with pytest.raises(ValueError, match="a name of its own"):
        Condition(controls=("mood", "mood"))


def test_a_short_expression_counts_as_zero_behind_its_end() -> None:
    avatar = deformed_avatar(Case("unclamped"))
    params = moving_params(avatar)
    short = replace(params, expression=params.expression[:2])
    padded = replace(params, expression=params.expression * torch.tensor([1.0, 1, 0, 0]))
    torch.testing.assert_close(avatar.pose(short).means, avatar.pose(padded).means)


# --- what does not fit ---


def layers(*widths: int) -> Coefficients:
    shapes = list(pairwise(widths))
    return Coefficients(tuple(torch.zeros(s) for s in shapes), tuple(torch.zeros(w) for w in widths[1:]))


def test_layers_that_do_not_fit_are_refused() -> None:
    assert layers(4, 64, 64, 9).num_outputs == 9
    with pytest.raises(ValueError, match="1 to 3 layers"):
        layers(4, 5, 5, 5, 3)
    with pytest.raises(ValueError, match="1 to 3 layers"):
        layers(4)
    with pytest.raises(ValueError, match="up to 64 units"):
        layers(4, 65, 3)
    with pytest.raises(ValueError, match="do not fit each other"):
        Coefficients((torch.zeros(4, 5), torch.zeros(6, 3)), (torch.zeros(5), torch.zeros(3)))
    with pytest.raises(ValueError, match="do not fit each other"):
        Coefficients((torch.zeros(4, 5),), (torch.zeros(5, 1),))
    with pytest.raises(ValueError, match="not clamped"):
        replace(layers(4, 5, 3), clamped=True)


def test_a_deformation_that_does_not_fit_its_avatar_is_refused() -> None:
    avatar = random_avatar()
    good = deformation_of(avatar)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"indices": torch.arange(14) + 15}, r"outside 0\.\.27"),
        ({"d_sh0": torch.zeros(3, 13, 3)}, r"d_sh0 has shape \(3, 13, 3\), needs \(3, 14, 3\)"),
        ({"d_quats": torch.zeros(3, 14, 3)}, r"d_quats has shape \(3, 14, 3\), needs \(3, 14, 4\)"),
        ({"condition": Condition(head_pose=True)}, "takes 4 numbers, its condition has 10"),
        ({"condition": Condition(controls=("mood",))}, "takes 4 numbers, its condition has 5"),
        ({"coefficients": layers(4, 8, 2)}, r"d_means has shape \(3, 14, 3\), needs \(2, 14, 3\)"),
    ]
    for change, words in wrong:
        with pytest.raises(ValueError, match=words):
            avatar.replace(deformation=replace(good, **change))


def test_played_poses_keep_their_own_values_and_give_their_memory_back() -> None:
    """The memory of a pose is used for another one only when nothing refers to it any more."""
    values, rows = torch.zeros(6, 2), torch.tensor([1, 4])
    deltas, changed = torch.ones(1, 2, 2), ChangedRows()

    def moved(weight: float) -> torch.Tensor:
        return add_deltas(values, rows, deltas, torch.tensor([weight]), changed)

    first = moved(1.0)
    view = first[1]
    place = first.data_ptr()
    del first
    second = moved(2.0)
    assert second.data_ptr() != place
    assert torch.equal(view, torch.ones(2))
    del view
    third = moved(3.0)
    assert third.data_ptr() == place
    assert torch.equal(third, torch.zeros(6, 2).index_fill(0, rows, 3.0))
    assert torch.equal(second, torch.zeros(6, 2).index_fill(0, rows, 2.0))
    del third
    values += 1  # the copies made before are of no use
    assert torch.equal(moved(1.0), torch.ones(6, 2).index_fill(0, rows, 2.0))
