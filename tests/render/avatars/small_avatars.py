"""Random rigs and avatars of a few points, so that every test can afford plain loops."""

import math

import torch
from torch import Tensor

from render.avatars.avatar import Avatar, AvatarInfo
from render.avatars.bindings import Binding, SkinningBinding, TriangleBinding, VertexBinding
from render.avatars.framing import Framing
from render.deformations.coefficients import Coefficients
from render.deformations.deformation import Deformation
from render.gaussians import Gaussians
from render.rigs.params import RigParams
from render.rigs.rig import Rig

JOINTS = ("root", "neck", "head", "jaw", "left_eye", "right_eye")
PARENTS = (-1, 0, 1, 2, 2, 2)
UNITS = ("jawOpen", "eyeLookOutLeft", "eyeLookInRight", "browInnerUp")


def random_rig(seed: int = 0, num_vertices: int = 12, num_faces: int = 9) -> Rig:
    g = torch.Generator().manual_seed(seed)
    faces = torch.stack([torch.randperm(num_vertices, generator=g)[:3] for _ in range(num_faces)])
    weights = torch.rand(num_vertices, len(JOINTS), generator=g) ** 4
    return Rig(
        kind="skin",
        template=torch.randn(num_vertices, 3, generator=g) * 0.1,
        faces=faces,
        expression_names=UNITS,
        expression_basis=torch.randn(len(UNITS), num_vertices * 3, generator=g) * 0.01,
        joint_names=JOINTS,
        parents=PARENTS,
        joints_template=torch.randn(len(JOINTS), 3, generator=g) * 0.1,
        skin_weights=weights / weights.sum(1, keepdim=True),
    )


def random_gaussians(n: int, *, degree: int = 0, axes: int = 3, seed: int = 1) -> Gaussians:
    g = torch.Generator().manual_seed(seed)
    return Gaussians(
        means=torch.randn(n, 3, generator=g),
        quats=torch.randn(n, 4, generator=g),
        log_scales=torch.randn(n, axes, generator=g) - 4,
        logit_opacities=torch.randn(n, generator=g),
        sh=torch.randn(n, (degree + 1) ** 2, 3, generator=g) * 0.3,
        antialiased=False,
    )


def random_params(rig: Rig, seed: int = 2, angle: float = 0.6) -> RigParams:
    g = torch.Generator().manual_seed(seed)
    return RigParams(
        expression=torch.rand(rig.num_expressions, generator=g),
        pose=torch.randn(rig.num_joints, 3, generator=g) * angle,
        translation=torch.randn(3, generator=g),
    )


def random_bindings(rig: Rig, each: int, seed: int = 3) -> tuple[Binding, ...]:
    g = torch.Generator().manual_seed(seed)
    weights = torch.rand(each, rig.num_joints, generator=g) ** 4
    basis = torch.randn(rig.num_expressions, each * 3, generator=g) * 0.1
    return (
        TriangleBinding(torch.randint(rig.faces.shape[0], (each,), generator=g)),
        VertexBinding(torch.randint(rig.num_vertices, (each,), generator=g)),
        SkinningBinding(weights / weights.sum(1, keepdim=True), basis),
        VertexBinding(torch.randint(rig.num_vertices, (each,), generator=g), rotates=False),
    )


def random_deformation(n: int, num_expressions: int, axes: int = 3, seed: int = 4) -> Deformation:
    g = torch.Generator().manual_seed(seed)
    m, b = n // 2, 3
    drivers = torch.randn(num_expressions, b, generator=g)
    offset = torch.tensor([0.0, -5.0, 0.3])  # the second is held at 0 by the clamp
    return Deformation(
        Coefficients.linear(drivers, offset),
        indices=torch.randperm(n, generator=g)[:m],
        d_means=torch.randn(b, m, 3, generator=g),
        d_log_scales=torch.randn(b, m, axes, generator=g),
        d_logit_opacities=torch.randn(b, m, generator=g),
        d_sh0=torch.randn(b, m, 3, generator=g),
    )


def random_avatar(*, degree: int = 0, axes: int = 3, each: int = 7) -> Avatar:
    """All kinds of bindings, a deformation, a framing and extras."""
    rig = random_rig()
    bindings = random_bindings(rig, each)
    n = each * len(bindings)
    return Avatar(
        info=AvatarInfo("sam", "CC0-1.0", "made by a test", "nobody's face", "2026-01-02"),
        rig=rig,
        bindings=bindings,
        gaussians=random_gaussians(n, degree=degree, axes=axes),
        deformation=random_deformation(n, rig.num_expressions, axes),
        framing=Framing((0.0, 0.1, 0.2), 0.9, 25.0),
        extras={"embedding": torch.arange(6.0).reshape(2, 3), "indices": torch.tensor([3, 1, 2])},
        extras_meta={"detector": "test", "sizes": [1, 2]},
    )


def rotation_about(axis: int, degrees: float) -> Tensor:
    vector = torch.zeros(3)
    vector[axis] = math.radians(degrees)
    return vector
