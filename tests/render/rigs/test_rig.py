"""The rig against a plain loop over joints, and what a captured CUDA graph and a trainer need of it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch.utils._python_dispatch import TorchDispatchMode

from render.rigs.frames import triangle_frames
from render.rigs.params import RigParams
from render.rigs.rig import Rig
from render.rotations import matrix_to_quaternion

PARENTS = (-1, 0, 1, 0, 2, 2, 4)  # depths out of order: joint 3 lies above joint 2's children


def random_rig(seed: int = 0, *, vertices: int = 30, expressions: int = 4, shapes: int = 3) -> Rig:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    joints = len(PARENTS)
    weights = draw(vertices, joints).abs()
    return Rig(
        kind="flame",
        template=draw(vertices, 3),
        faces=torch.randint(0, vertices, (20, 3), generator=generator),
        expression_names=tuple(f"e{i}" for i in range(expressions)),
        expression_basis=draw(expressions, vertices * 3),
        joint_names=tuple(f"j{i}" for i in range(joints)),
        parents=PARENTS,
        joints_template=draw(joints, 3),
        skin_weights=weights / weights.sum(1, keepdim=True),
        shape_basis=draw(shapes, vertices * 3),
        pose_basis=draw((joints - 1) * 9, vertices * 3),
        joints_shape=draw(shapes, joints * 3),
        joints_expression=draw(expressions, joints * 3),
    )


def random_params(rig: Rig, seed: int = 0, batch: tuple[int, ...] = (), shape: bool = True) -> RigParams:
    generator = torch.Generator().manual_seed(seed)

    def draw(*size: int) -> torch.Tensor:
        return torch.randn(*batch, *size, generator=generator, dtype=torch.float64)

    return RigParams(
        expression=draw(rig.num_expressions),
        pose=draw(rig.num_joints, 3),
        translation=draw(3),
        shape=draw(rig.num_shapes) if shape else None,
    )


def plain_forward(rig: Rig, params: RigParams) -> np.ndarray:
    """Skinning written as the papers do: one 4x4 matrix per joint, one loop over vertices."""
    arrays = {k: v.numpy() for k, v in vars(rig).items() if isinstance(v, torch.Tensor)}
    expression, pose, shape = params.expression.numpy(), params.pose.numpy(), params.shape.numpy()
    flat = (
        arrays["template"].ravel() + shape @ arrays["shape_basis"] + expression @ arrays["expression_basis"]
    )
    joints = (
        arrays["joints_template"].ravel()
        + shape @ arrays["joints_shape"]
        + expression @ arrays["joints_expression"]
    ).reshape(-1, 3)
    rotations = Rotation.from_rotvec(pose).as_matrix()
    vertices = (flat + (rotations[1:] - np.eye(3)).ravel() @ arrays["pose_basis"]).reshape(-1, 3)
    world = []
    for joint, parent in enumerate(rig.parents):
        local = np.eye(4)
        local[:3, :3] = rotations[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if parent >= 0 else 0)
        world.append(world[parent] @ local if parent >= 0 else local)
    from_rest = []
    for joint, matrix in enumerate(world):
        rest = np.eye(4)
        rest[:3, 3] = -joints[joint]
        from_rest.append(matrix @ rest)
    posed = []
    for vertex, weights in zip(vertices, arrays["skin_weights"], strict=True):
        blended = sum(w * m for w, m in zip(weights, from_rest, strict=True))
        posed.append((blended @ np.append(vertex, 1))[:3])
    return np.array(posed) + params.translation.numpy()


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_forward_agrees_with_the_plain_loop(seed):
    rig = random_rig(seed)
    params = random_params(rig, seed)
    # float64 on both sides; only the order of sums differs.
    np.testing.assert_allclose(rig(params).vertices, plain_forward(rig, params), atol=1e-10)


def test_the_neutral_pose_is_the_template():
    rig = random_rig()
    posed = rig(rig.neutral_params())
    torch.testing.assert_close(posed.vertices, rig.template, atol=1e-12, rtol=0)
    identity = torch.eye(3, 4, dtype=torch.float64).expand(rig.num_joints, 3, 4)
    torch.testing.assert_close(posed.joint_transforms, identity, atol=1e-12, rtol=0)


def test_batches_equal_single_calls_for_any_leading_dimensions():
    rig = random_rig()
    params = random_params(rig, batch=(2, 3))
    batched = rig(params)
    assert batched.vertices.shape == (2, 3, rig.num_vertices, 3)
    for index in np.ndindex(2, 3):
        single = rig(
            RigParams(
                params.expression[index], params.pose[index], params.translation[index], params.shape[index]
            )
        )
        torch.testing.assert_close(batched.vertices[index], single.vertices)
        torch.testing.assert_close(batched.joint_transforms[index], single.joint_transforms)


def test_a_baked_shape_equals_the_shape_parameter():
    rig = random_rig()
    params = random_params(rig)
    assert params.shape is not None
    baked = rig.with_shape(params.shape)
    torch.testing.assert_close(baked(params.replace(shape=None)).vertices, rig(params).vertices)
    assert baked.num_shapes == 0
    with pytest.raises(ValueError, match="baked"):
        baked(params)


def test_shorter_weights_count_as_zero_and_longer_ones_are_refused():
    rig = random_rig()
    params = random_params(rig)
    assert params.shape is not None
    cut = params.replace(expression=params.expression[:2], shape=params.shape[:1])
    zeroed = params.replace(
        expression=torch.cat([params.expression[:2], torch.zeros(2)]),
        shape=torch.cat([params.shape[:1], torch.zeros(2)]),
    )
    torch.testing.assert_close(rig(cut).vertices, rig(zeroed).vertices)
    with pytest.raises(ValueError, match="expression has 9"):
        rig(params.replace(expression=torch.zeros(9, dtype=torch.float64)))
    with pytest.raises(ValueError, match="shape has 9"):
        rig(params.replace(shape=torch.zeros(9, dtype=torch.float64)))


def test_a_root_rotation_moves_the_mesh_rigidly():
    rig = random_rig().with_shape(torch.zeros(3, dtype=torch.float64))
    params = random_params(rig, shape=False)
    turned = params.replace(
        pose=torch.cat([torch.tensor([[0.0, math.pi / 2, 0.0]], dtype=torch.float64), params.pose[1:]])
    )
    still = params.replace(pose=torch.cat([torch.zeros(1, 3), params.pose[1:]]))
    a, b = rig(turned).vertices - params.translation, rig(still).vertices - params.translation
    root = rig.joints_template[0] + (params.expression @ rig.joints_expression)[:3]  # type: ignore[operator]
    quarter = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(a - root, (b - root) @ quarter.T)


def test_gradients_agree_with_finite_differences_also_at_rest():
    rig = random_rig(vertices=4)
    inputs = [t.requires_grad_() for t in vars(random_params(rig)).values() if t is not None]
    rest = [torch.zeros_like(t).requires_grad_() for t in inputs]

    def forward(expression, pose, translation, shape):
        return rig(RigParams(expression, pose, translation, shape)).vertices

    assert torch.autograd.gradcheck(forward, inputs)
    assert torch.autograd.gradcheck(forward, rest)


class NoHostReads(TorchDispatchMode):
    """Fails on the operations that copy a value to the host or give shapes that depend on data."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in self.FORBIDDEN, f"{name} waits for the device"
        return func(*args, **(kwargs or {}))


def test_posing_and_frames_can_be_captured_in_a_graph():
    rig = random_rig().to(dtype=torch.float32)
    params = RigParams(torch.zeros(4), torch.zeros(len(PARENTS), 3), torch.zeros(3), torch.zeros(3))
    with NoHostReads():
        posed = rig(params)
        rotation, _, _ = triangle_frames(posed.vertices, rig.faces)
        matrix_to_quaternion(rotation)
    # Meta tensors hold no data, so whatever reads one raises.
    on_meta = RigParams(**{k: v.to("meta") for k, v in vars(params).items() if v is not None})
    meta_rig = rig.to("meta")
    posed = meta_rig(on_meta)
    rotation, scale, centre = triangle_frames(posed.vertices, meta_rig.faces)
    assert matrix_to_quaternion(rotation).shape == (20, 4)
    assert (scale.shape, centre.shape) == ((20,), (20, 3))


def test_the_fingerprint_follows_content_not_storage():
    rig = random_rig()
    assert rig.fingerprint() == random_rig().fingerprint()
    assert rig.fingerprint() == rig.to("cpu", torch.float32).fingerprint()
    assert rig.fingerprint() != random_rig(1).fingerprint()
    moved = rig.with_shape(torch.full((3,), 0.1, dtype=torch.float64))
    assert rig.fingerprint() != moved.fingerprint()


def test_parts_that_do_not_fit_are_named():
    fields = {k: v for k, v in vars(random_rig()).items() if not k.startswith("_")}
    with pytest.raises(ValueError, match="skin_weights has shape"):
        Rig(**{**fields, "skin_weights": fields["skin_weights"][:, :2]})
    with pytest.raises(ValueError, match="before its child"):
        Rig(**{**fields, "parents": (-1, 2, 1, 0, 2, 2, 4)})
    with pytest.raises(ValueError, match="given together"):
        Rig(**{**fields, "joints_shape": None})


def published_frames(v0, v1, v2):
    """The published code of GaussianAvatars, one triangle at a time."""
    edge = (v1 - v0) / np.linalg.norm(v1 - v0)
    normal = np.cross(edge, v2 - v0)
    normal /= np.linalg.norm(normal)
    third = -np.cross(normal, edge)
    scale = (np.linalg.norm(v1 - v0) + abs(third @ (v2 - v0))) / 2
    return np.stack([edge, normal, third], -1), scale, (v0 + v1 + v2) / 3


def test_triangle_frames_are_those_of_gaussian_avatars():
    vertices = torch.randn(2, 12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    faces = torch.tensor([[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11], [2, 1, 0]])
    rotation, scale, centre = triangle_frames(vertices, faces)
    for b in range(2):
        for f, face in enumerate(faces):
            expected = published_frames(*vertices[b, face].numpy())
            for got, want in zip((rotation, scale, centre), expected, strict=True):
                np.testing.assert_allclose(got[b, f], want, atol=1e-12)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(2, 5, dtype=torch.float64))


def test_collapsed_triangles_stay_finite_with_their_gradients():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]], requires_grad=True)
    faces = torch.tensor([[0, 0, 0], [0, 1, 2], [0, 1, 1]])
    results = triangle_frames(vertices, faces)
    sum(r.sum() for r in results).backward()  # type: ignore[union-attr]
    assert all(bool(r.isfinite().all()) for r in results)
    assert vertices.grad is not None
    assert bool(vertices.grad.isfinite().all())


@pytest.mark.parametrize(
    ("vertices", "turn", "given"),
    [(300, 1.0, 4), (128, 0.01, 2), (5, 0.0, 0)],
    ids=["blocks and large turns", "one block, turns below the series' limit, a short expression", "at rest"],
)
def test_the_fast_code_of_the_cpu_poses_the_same_rig(vertices: int, turn: float, given: int) -> None:
    from render.cpu.rigs import CpuRig

    rig = random_rig(1, vertices=vertices).with_shape(torch.tensor([0.3], dtype=torch.float64))
    drawn = random_params(rig, 2, shape=False)
    weights = drawn.expression[:given].clone()
    weights[1:2] = 0
    params = drawn.replace(expression=weights, pose=turn * drawn.pose)
    wanted = rig(params)
    narrow = {name: getattr(params, name).float() for name in ("expression", "pose", "translation")}
    fast = CpuRig(rig.to(dtype=torch.float32))
    fast(params.replace(**{name: value + 1 for name, value in narrow.items()}))  # the memory is used again
    posed = fast(params.replace(**narrow))
    # float32 over some dozen terms of a size up to 10
    torch.testing.assert_close(posed.vertices.double(), wanted.vertices, atol=3e-5, rtol=1e-5)
    torch.testing.assert_close(posed.joint_transforms.double(), wanted.joint_transforms, atol=1e-5, rtol=1e-5)
