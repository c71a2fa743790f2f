"""Bindings against plain loops, their gradients, the fast code of the CPU, and the direction of colours."""

import math

import pytest
import torch
from torch import Tensor

from render.avatars.bindings import Binding, SkinningBinding, TriangleBinding, VertexBinding, localise
from render.gaussians import Gaussians
from render.rigs.rig import Rig
from render.rotations import axis_angle_to_matrix, matrix_to_quaternion, quaternion_to_matrix
from render.sh import evaluate_sh, rotate_sh
from tests.render.avatars.small_avatars import (
    random_avatar,
    random_bindings,
    random_gaussians,
    random_params,
    random_rig,
)

TOLERANCE = 2e-5  # float32 sums of a dozen terms of order 1


def posed_by(binding: Binding, rig: Rig, local: Gaussians) -> Gaussians:
    params = random_params(rig)
    return binding.bound_to(rig)(local, rig(params), params.expression)


def covariances(g: Gaussians) -> Tensor:
    m = quaternion_to_matrix(g.quats) * g.scales()[:, None, :]
    return m @ m.mT


def unit(v: Tensor) -> Tensor:
    return v / v.norm()


def test_triangles_follow_the_definition_of_gaussian_avatars() -> None:
    rig, n = random_rig(), 20
    binding, local = random_bindings(rig, n)[0], random_gaussians(n)
    assert isinstance(binding, TriangleBinding)
    posed = posed_by(binding, rig, local)
    vertices = rig(random_params(rig)).vertices
    for i, face in enumerate(binding.face_index):
        v0, v1, v2 = vertices[rig.faces[face]]
        a0 = unit(v1 - v0)
        a1 = unit(torch.linalg.cross(a0, v2 - v0))
        a2 = -unit(torch.linalg.cross(a1, a0))
        rotation = torch.stack([a0, a1, a2], 1)
        scale = ((v1 - v0).norm() + (v2 - v0).dot(a2).abs()) / 2
        mean = rotation @ local.means[i] * scale + (v0 + v1 + v2) / 3
        torch.testing.assert_close(posed.means[i], mean, atol=TOLERANCE, rtol=TOLERANCE)
        turned = rotation @ quaternion_to_matrix(local.quats[i])
        got = quaternion_to_matrix(posed.quats[i])
        torch.testing.assert_close(got, turned, atol=TOLERANCE, rtol=TOLERANCE)
        wanted = (local.scales()[i] * scale).log()
        torch.testing.assert_close(posed.log_scales[i], wanted, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("rotates", [True, False])
def test_vertices_carry_their_gaussians(rotates: bool) -> None:
    rig, n = random_rig(), 15
    local = random_gaussians(n)
    index = torch.arange(n) % rig.num_vertices
    posed = posed_by(VertexBinding(index, rotates), rig, local)
    whole = rig(random_params(rig))
    for i, v in enumerate(index):
        blend = sum(rig.skin_weights[v, j] * whole.joint_transforms[j, :, :3] for j in range(rig.num_joints))
        offset = blend @ local.means[i] if rotates else local.means[i]
        torch.testing.assert_close(posed.means[i], whole.vertices[v] + offset, atol=TOLERANCE, rtol=TOLERANCE)
    torch.testing.assert_close(posed.log_scales, local.log_scales)
    if not rotates:
        torch.testing.assert_close(posed.quats, local.quats)


def test_skinning_with_one_joint_is_that_joints_transform() -> None:
    rig = random_rig()
    n = rig.num_joints
    local = random_gaussians(n)
    basis = torch.randn(rig.num_expressions, n * 3, generator=torch.Generator().manual_seed(5))
    params = random_params(rig)
    posed = posed_by(SkinningBinding(torch.eye(n), basis), rig, local)
    transforms = rig(params).joint_transforms
    for j in range(n):
        moved = local.means[j] + sum(
            params.expression[e] * basis[e, 3 * j : 3 * j + 3] for e in range(rig.num_expressions)
        )
        mean = transforms[j, :, :3] @ moved + transforms[j, :, 3]
        torch.testing.assert_close(posed.means[j], mean, atol=TOLERANCE, rtol=TOLERANCE)
        turned = transforms[j, :, :3] @ quaternion_to_matrix(local.quats[j])
        got = quaternion_to_matrix(posed.quats[j])
        torch.testing.assert_close(got, turned, atol=TOLERANCE, rtol=TOLERANCE)


def test_blended_turns_lie_half_way() -> None:
    """Two joints at 0 and 80 degrees about one axis, equal weights: 40 degrees; matrices would shrink."""
    rig = random_rig()
    pose = torch.zeros(rig.num_joints, 3)
    pose[1, 1] = math.radians(80)
    params = random_params(rig).replace(pose=pose)
    weights = torch.zeros(1, rig.num_joints)
    weights[0, :2] = 0.5
    g = random_gaussians(1)
    local = Gaussians(g.means, torch.tensor([[1.0, 0, 0, 0]]), g.log_scales, g.logit_opacities, g.sh)
    posed = SkinningBinding(weights).bound_to(rig)(local, rig(params), params.expression)
    wanted = axis_angle_to_matrix(torch.tensor([[0.0, math.radians(40), 0.0]]))
    torch.testing.assert_close(quaternion_to_matrix(posed.quats), wanted, atol=TOLERANCE, rtol=TOLERANCE)


def test_localise_is_the_inverse_of_posing_at_rest() -> None:
    rig, n = random_rig(), 20
    binding, world = random_bindings(rig, n)[0], random_gaussians(n)
    assert isinstance(binding, TriangleBinding)
    local = localise(world, binding, rig)
    back = binding.bound_to(rig)(local, rig(rig.neutral_params()), torch.zeros(rig.num_expressions))
    torch.testing.assert_close(back.means, world.means, atol=TOLERANCE, rtol=TOLERANCE)
    # Relative: covariances are of order 1e-4 here.
    torch.testing.assert_close(covariances(back), covariances(world), atol=1e-9, rtol=1e-3)


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("degree", [0, 2])
def test_colours_turn_with_the_surface(number: int, degree: int) -> None:
    """Turning the whole rig turns every colour function by the same rotation, whatever the binding."""
    rig, n = random_rig(), 6
    binding, local = random_bindings(rig, n)[number], random_gaussians(n, degree=degree)
    if isinstance(binding, VertexBinding) and not binding.rotates:
        rotation = torch.eye(3)
    else:
        rotation = axis_angle_to_matrix(torch.tensor([0.4, 1.1, -0.3]))
    pose = torch.zeros(rig.num_joints, 3)
    pose[0] = torch.tensor([0.4, 1.1, -0.3])
    params = random_params(rig).replace(pose=pose, expression=torch.zeros(rig.num_expressions))
    posed = binding.bound_to(rig)(local, rig(params), params.expression)
    if degree == 0:
        assert posed.sh_quats is None
        return
    assert posed.sh_quats is not None
    directions = torch.nn.functional.normalize(torch.randn(n, 3), dim=-1)
    got = evaluate_sh(rotate_sh(local.sh, posed.sh_quats), directions)
    wanted = evaluate_sh(local.sh, directions @ rotation)
    torch.testing.assert_close(got, wanted, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("number", range(4))
def test_gradients_are_those_of_finite_differences(number: int) -> None:
    rig = random_rig().to(dtype=torch.float64)
    n = 3
    binding = random_bindings(rig, n)[number]
    if isinstance(binding, SkinningBinding):
        assert binding.expression_basis is not None
        binding = SkinningBinding(binding.weights.double(), binding.expression_basis.double())
    base = random_gaussians(n, degree=1)
    params = random_params(rig)
    pose_function = binding.bound_to(rig)

    def outputs(means: Tensor, quats: Tensor, scales: Tensor, expression: Tensor, pose: Tensor) -> Tensor:
        local = Gaussians(means, quats, scales, base.logit_opacities.double(), base.sh.double())
        moved = params.replace(expression=expression, pose=pose, translation=params.translation.double())
        g = pose_function(local, rig(moved), expression)
        assert g.sh_quats is not None
        return torch.cat([g.means, g.quats, g.log_scales, g.sh_quats], 1)

    inputs = [base.means, base.quats, base.log_scales, params.expression, params.pose]
    leaves = [t.double().requires_grad_() for t in inputs]
    assert torch.autograd.gradcheck(outputs, leaves)


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("axes", [2, 3])
def test_the_fast_code_of_the_cpu_gives_the_same(degree: int, axes: int) -> None:
    avatar = random_avatar(degree=degree, axes=axes)
    params = random_params(avatar.rig)
    with torch.no_grad():
        fast = avatar.pose(params)
    slow = avatar.pose(params.replace(pose=params.pose.clone().requires_grad_()))
    assert slow.means.requires_grad
    assert not fast.means.requires_grad
    for name in ("means", "log_scales", "logit_opacities", "sh"):
        got, wanted = getattr(fast, name), getattr(slow, name).detach()
        torch.testing.assert_close(got, wanted, atol=TOLERANCE, rtol=TOLERANCE)
    for got, wanted in ((fast.quats, slow.quats), (fast.sh_quats, slow.sh_quats)):
        if got is not None and wanted is not None:  # a quaternion and its negative are one rotation
            cosine = torch.nn.functional.cosine_similarity(got, wanted.detach()).abs()
            torch.testing.assert_close(cosine, torch.ones(len(got)), atol=TOLERANCE, rtol=0)
    assert (fast.sh_quats is None) == (degree == 0)
    assert fast.antialiased == slow.antialiased == avatar.gaussians.antialiased


@pytest.mark.parametrize("fast", [True, False])
def test_a_collapsed_triangle_gives_finite_gaussians(fast: bool) -> None:
    rig = random_rig()
    flat = rig.faces.clone()
    flat[0] = flat[0, 0]
    collapsed = Rig(**{**{n: getattr(rig, n) for n in rig_fields(rig)}, "faces": flat})
    binding, local = TriangleBinding(torch.zeros(3, dtype=torch.int64)), random_gaussians(3, degree=1)
    from render.cpu.posing import CpuPoser

    params = random_params(rig)
    if fast:
        g = CpuPoser(collapsed, [binding])(local, params)
    else:
        g = binding.bound_to(collapsed)(local, collapsed(params), params.expression)
    assert g.sh_quats is not None
    assert all(bool(t.isfinite().all()) for t in (g.means, g.quats, g.log_scales, g.sh_quats))
    assert bool((g.log_scales < -15).all())  # e^-15 of a metre: not seen


def rig_fields(rig: Rig) -> list[str]:
    from dataclasses import fields

    return [f.name for f in fields(rig) if f.init]


def test_indices_outside_the_rig_are_refused() -> None:
    rig = random_rig()
    with pytest.raises(ValueError, match=r"triangle|face"):
        TriangleBinding(torch.tensor([0, rig.faces.shape[0]])).bound_to(rig)
    with pytest.raises(ValueError, match="vertex"):
        VertexBinding(torch.tensor([-1])).bound_to(rig)
    with pytest.raises(ValueError, match="joints"):
        SkinningBinding(torch.ones(2, rig.num_joints + 1)).bound_to(rig)


def test_quaternion_of_the_frame_matches_torch() -> None:
    """The scalar conversion inside the fast code takes another branch than torch's; all four are met here."""
    from render.cpu.posing import _fill_joints

    angles = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) * 3
    transforms = torch.cat([axis_angle_to_matrix(angles), torch.zeros(200, 3, 1)], -1)
    for single in transforms.split(1):  # one joint each: no alignment to the first
        table = torch.zeros(1, 16)
        _fill_joints(single.numpy(), True, table.numpy())
        wanted = matrix_to_quaternion(single[..., :3])
        cosine = (table[:, 12:] * wanted).sum().abs()
        torch.testing.assert_close(cosine, torch.tensor(1.0), atol=TOLERANCE, rtol=0)
