"""How Gaussians hang on a rig: on triangles, on vertices, or by skinning weights of their own.

A binding says where a run of Gaussians belongs; `bound_to(rig)` prepares it for one rig and returns the
function that poses the run. Spherical harmonics are stored in the axes of the rest pose, so `sh_quats` is
the rotation from the rest pose to the posed surface; it is only made when there is something to rotate
(degree 1 and above).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from render.gaussians import Gaussians
from render.rigs.frames import triangle_frames
from render.rigs.rig import PosedRig, Rig
from render.rotations import matrix_to_quaternion, quaternion_multiply

Poser = Callable[[Gaussians, PosedRig, Tensor], Gaussians]
"""(local Gaussians, posed rig, expression weights [E]) -> Gaussians in world axes."""

SMALLEST_SCALE_M = 1e-9  # a collapsed triangle shrinks its Gaussians to nothing instead of making log(0)


@dataclass(frozen=True)
class TriangleBinding:
    """Gaussians local to mesh triangles: axes and unit of length are the triangle's own frame and scale.

    Means and scales are in units of the triangle's scale, orientations relative to its frame.
    Source: S. Qian et al., "GaussianAvatars", 2024, section 3.2.
    """

    face_index: Tensor  # [N] int64, into the rig's faces

    @property
    def num_gaussians(self) -> int:
        return int(self.face_index.shape[0])

    def bound_to(self, rig: Rig) -> Poser:
        """Prepare for `rig`. Raises ValueError when an index is not a face of it."""
        _check_index(self.face_index, rig.faces.shape[0], "face")
        used, slot = torch.unique(self.face_index, return_inverse=True)
        corners = rig.faces.index_select(0, used)
        rest_rotation, _, _ = triangle_frames(rig.template, corners)
        rest_inverse = matrix_to_quaternion(rest_rotation.mT)

        def pose(local: Gaussians, posed: PosedRig, expression: Tensor) -> Gaussians:
            # Everything a Gaussian needs from its triangle is made once per triangle and gathered once.
            rotation, scale, centre = triangle_frames(posed.vertices, corners)
            scale = scale.clamp_min(SMALLEST_SCALE_M)
            quats = matrix_to_quaternion(rotation)
            scaled = (rotation * scale[:, None, None]).flatten(-2)
            columns = [centre, scaled, scale.log()[:, None], quats]
            if local.sh_degree:
                columns.append(quaternion_multiply(quats, rest_inverse))
            frame = torch.cat(columns, -1).index_select(0, slot)
            means = frame[:, :3] + _apply(frame[:, 3:12].unflatten(-1, (3, 3)), local.means)
            return replace(
                local,
                means=means,
                quats=quaternion_multiply(frame[:, 13:17], local.quats),
                log_scales=local.log_scales + frame[:, 12:13],
                sh_quats=frame[:, 17:21] if local.sh_degree else None,
            )

        return pose

    def to(self, device: torch.device | str) -> TriangleBinding:
        return TriangleBinding(self.face_index.to(device))


@dataclass(frozen=True)
class VertexBinding:
    """Gaussians at an offset from mesh vertices (metres, rest pose), turning with their skinning or not."""

    vertex_index: Tensor  # [N] int64, into the rig's vertices
    rotates: bool = True  # False: offset and orientation keep the world's axes

    @property
    def num_gaussians(self) -> int:
        return int(self.vertex_index.shape[0])

    def bound_to(self, rig: Rig) -> Poser:
        """Prepare for `rig`. Raises ValueError when an index is not a vertex of it."""
        _check_index(self.vertex_index, rig.num_vertices, "vertex")
        weights = rig.skin_weights.index_select(0, self.vertex_index)
        no_turn = matrix_to_quaternion(torch.eye(3).to(rig.template)).expand(self.num_gaussians, 4)

        def pose(local: Gaussians, posed: PosedRig, expression: Tensor) -> Gaussians:
            vertices = posed.vertices.index_select(0, self.vertex_index)
            if not self.rotates:
                means = vertices + local.means
                return replace(local, means=means, sh_quats=no_turn if local.sh_degree else None)
            blended = (weights @ posed.joint_transforms[..., :3].flatten(-2)).unflatten(-1, (3, 3))
            turn = _blended_quaternions(weights, posed.joint_transforms)
            return replace(
                local,
                means=vertices + _apply(blended, local.means),
                quats=quaternion_multiply(turn, local.quats),
                sh_quats=turn if local.sh_degree else None,
            )

        return pose

    def to(self, device: torch.device | str) -> VertexBinding:
        return VertexBinding(self.vertex_index.to(device), self.rotates)


@dataclass(frozen=True)
class SkinningBinding:
    """Gaussians with joint weights, and optionally blendshapes, of their own; means at rest, in metres."""

    weights: Tensor  # [N, J], rows sum to 1
    expression_basis: Tensor | None = None  # [E, N * 3] metres per unit weight

    @property
    def num_gaussians(self) -> int:
        return int(self.weights.shape[0])

    def bound_to(self, rig: Rig) -> Poser:
        """Prepare for `rig`. Raises ValueError when the number of joints or of expressions is another."""
        if self.weights.shape[1] != rig.num_joints:
            raise ValueError(
                f"skinning weights for {self.weights.shape[1]} joints, the rig has {rig.num_joints}"
            )
        basis = self.expression_basis
        wanted = (rig.num_expressions, self.num_gaussians * 3)
        if basis is not None and tuple(basis.shape) != wanted:
            raise ValueError(
                f"blendshapes of Gaussians have shape {tuple(basis.shape)}, this rig needs {wanted}"
            )

        def pose(local: Gaussians, posed: PosedRig, expression: Tensor) -> Gaussians:
            means = local.means
            if basis is not None and rig.num_expressions:
                means = means + (expression @ basis[: expression.shape[-1]]).unflatten(-1, (-1, 3))
            blended = (self.weights @ posed.joint_transforms.flatten(-2)).unflatten(-1, (3, 4))
            turn = _blended_quaternions(self.weights, posed.joint_transforms)
            return replace(
                local,
                means=_apply(blended[..., :3], means) + blended[..., 3],
                quats=quaternion_multiply(turn, local.quats),
                sh_quats=turn if local.sh_degree else None,
            )

        return pose

    def to(self, device: torch.device | str) -> SkinningBinding:
        basis = self.expression_basis
        return SkinningBinding(self.weights.to(device), None if basis is None else basis.to(device))


Binding = TriangleBinding | VertexBinding | SkinningBinding


def localise(world: Gaussians, binding: TriangleBinding, rig: Rig) -> Gaussians:
    """The inverse of posing at rest: Gaussians in world axes on the rest pose -> local to their triangles.

    Means, orientations and scales become the triangle's own; colours stay, they are kept in rest-pose axes.
    """
    rotation, scale, centre = triangle_frames(rig.template, rig.faces.index_select(0, binding.face_index))
    scale = scale.clamp_min(SMALLEST_SCALE_M)
    inverse = rotation.mT / scale[:, None, None]
    return replace(
        world,
        means=_apply(inverse, world.means - centre),
        quats=quaternion_multiply(matrix_to_quaternion(rotation.mT), world.quats),
        log_scales=world.log_scales - scale.log()[:, None],
        sh_quats=None,
    )


def _apply(matrices: Tensor, vectors: Tensor) -> Tensor:
    """[N, 3, 3] and [N, 3] -> [N, 3]; elementwise, as batched products of tiny matrices crawl on a CPU."""
    return (matrices * vectors[:, None, :]).sum(-1)


def _blended_quaternions(weights: Tensor, joint_transforms: Tensor) -> Tensor:
    """Joint rotations blended by weights [N, J] as unit quaternions [N, 4].

    The joints' quaternions are put in one hemisphere first, then averaged: for the few joints a point hangs
    on this is the rotation of dual-quaternion skinning and stays a rotation where a blended matrix would not.
    """
    joints = matrix_to_quaternion(joint_transforms[..., :3])
    joints = torch.where((joints * joints[:1]).sum(-1, keepdim=True) < 0, -joints, joints)
    return torch.nn.functional.normalize(weights @ joints, dim=-1)


def _check_index(index: Tensor, size: int, what: str) -> None:
    if index.numel() and (int(index.min()) < 0 or int(index.max()) >= size):
        bad = int(index.min()) if int(index.min()) < 0 else int(index.max())
        raise ValueError(f"a Gaussian is bound to {what} {bad}, the rig has {size}")
