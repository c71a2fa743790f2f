"""Avatars of any number of Gaussians on a rig of the size of FLAME, from a seed alone: nothing licensed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.scenes import ellipsoid_head
from render.avatars.avatar import Avatar, AvatarInfo
from render.avatars.bindings import SkinningBinding, TriangleBinding, localise
from render.avatars.framing import Framing
from render.importers.ply import still_rig
from render.rigs.flame import ARTICULATION
from render.rigs.params import RigParams
from render.rigs.rig import Rig

# FLAME's: what a frame has to read is the same as with the official model.
NUM_VERTICES, NUM_FACES, NUM_EXPRESSIONS = 5023, 9976, 100
JOINTS = ("root", "neck", "jaw", "left_eye", "right_eye")  # 36 pose correctives: 9 for each but the root
PARENTS = (-1, 0, 1, 1, 1)
RINGS, SEGMENTS = 57, 88  # with two poles: 5,018 vertices and 10,032 faces; the rest is loose and left out
RADII_M = (0.09, 0.13, 0.1)  # as bench.scenes.ellipsoid_head's
VIEW = Framing((0.0, 0.0, 0.0), 1.0, 22.0)  # as bench.scenes.head_camera's


def flame_size_rig(seed: int = 0) -> Rig:
    """An ellipsoid with as many vertices, triangles, expressions and pose correctives as FLAME."""
    random = torch.Generator().manual_seed(seed)
    vertices = _ellipsoid()
    values = NUM_VERTICES * 3
    centres = torch.tensor(
        [[0.0, 0, 0], [0, -0.1, 0], [0, -0.03, 0.02], [0.03, 0.02, 0.08], [-0.03, 0.02, 0.08]]
    )
    near = torch.softmax(-torch.cdist(vertices, centres) / 0.03, 1)
    return Rig(
        kind="flame",
        template=vertices,
        faces=_faces(random),
        expression_names=tuple(f"expression_{i}" for i in range(NUM_EXPRESSIONS)),
        expression_basis=5e-4 * torch.randn(NUM_EXPRESSIONS, values, generator=random),
        joint_names=JOINTS,
        parents=PARENTS,
        joints_template=centres,
        skin_weights=near / near.sum(1, keepdim=True),
        pose_basis=5e-4 * torch.randn((len(JOINTS) - 1) * 9, values, generator=random),
        articulation=ARTICULATION,
    )


def rigged_head(num: int, *, surfel: bool = False) -> Avatar:
    """`ellipsoid_head(num)` bound to the triangles of `flame_size_rig`, as a GaussianAvatars head is."""
    rig = flame_size_rig()
    world = ellipsoid_head(num, surfel=surfel)
    device = "cuda" if torch.cuda.is_available() else "cpu"  # 200,000 Gaussians take a processor ten seconds
    centres = rig.template[rig.faces].mean(1).to(device)
    parts = world.means.to(device).split(4096)
    binding = TriangleBinding(torch.cat([torch.cdist(part, centres).argmin(1) for part in parts]).cpu())
    return Avatar(AvatarInfo(f"rigged {num}"), rig, (binding,), localise(world, binding, rig), framing=VIEW)


def still_head(num: int, *, surfel: bool = False) -> Avatar:
    """`ellipsoid_head(num)` on a single joint: what is left when the rig costs nothing."""
    rig = still_rig()
    binding = SkinningBinding(torch.ones(num, 1))
    gaussians = ellipsoid_head(num, surfel=surfel)
    return Avatar(AvatarInfo(f"still {num}"), rig, (binding,), gaussians, framing=VIEW)


def random_poses(rig: Rig, count: int, seed: int = 0) -> list[RigParams]:
    """Small, different poses: a timed frame must not find last frame's answers in a cache."""
    random = torch.Generator().manual_seed(seed)
    return [
        RigParams(
            expression=torch.randn(rig.num_expressions, generator=random),
            pose=0.1 * torch.randn(rig.num_joints, 3, generator=random),
            translation=0.005 * torch.randn(3, generator=random),
        )
        for _ in range(count)
    ]


def _ellipsoid() -> Tensor:
    """[5023, 3]: rings, the poles, and five loose vertices in the middle."""
    down = math.pi * torch.arange(1, RINGS + 1) / (RINGS + 1)
    around = 2 * math.pi * torch.arange(SEGMENTS) / SEGMENTS
    ring = torch.stack(
        [
            down.sin()[:, None] * around.sin(),
            down.cos()[:, None].expand(RINGS, SEGMENTS),
            down.sin()[:, None] * around.cos(),
        ],
        -1,
    ).reshape(-1, 3)
    poles = torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
    loose = torch.zeros(NUM_VERTICES - len(ring) - 2, 3)
    return torch.cat([ring, poles, loose]) * torch.tensor(RADII_M)


def _faces(random: torch.Generator) -> Tensor:
    """[9976, 3]: of the closed surface's triangles 56 random ones are left out, as FLAME's neck is open."""
    above = torch.arange(RINGS - 1)[:, None] * SEGMENTS
    left, right = torch.arange(SEGMENTS), (torch.arange(SEGMENTS) + 1) % SEGMENTS
    a, b = above + left, above + right
    c, d = a + SEGMENTS, b + SEGMENTS
    upper, lower = torch.stack([a, c, b], -1).reshape(-1, 3), torch.stack([b, c, d], -1).reshape(-1, 3)
    north, south, last = RINGS * SEGMENTS, RINGS * SEGMENTS + 1, (RINGS - 1) * SEGMENTS
    top = torch.stack([torch.full_like(left, north), left, right], 1)
    bottom = torch.stack([torch.full_like(left, south), last + right, last + left], 1)
    faces = torch.cat([upper, lower, top, bottom])
    kept = torch.randperm(len(faces), generator=random)[:NUM_FACES].sort().values
    return faces[kept]
