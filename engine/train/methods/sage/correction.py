"""Surfel correction: scales and axes that follow how the surface around a surfel stretches and bends."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.train.methods.sage.config import CorrectionConfig
from render.rigs.frames import triangle_frames
from render.rigs.rig import Rig

_EPSILON = 1e-9
_SMALLEST_M2, _COLLAPSED_M = 1e-12, 1e-6


def _edges(vertices: Tensor, faces: Tensor) -> Tensor:
    """Columns [F, 3, 3]: two edges, and the normal as long as the root of the area.

    So the map from a mesh's edges to those of a similar one is that similarity, along the normal too.
    """
    a, b, c = vertices[faces].unbind(1)
    first, second = b - a, c - a
    cross = torch.linalg.cross(first, second)
    area = cross.norm(dim=1, keepdim=True)
    normal = cross / area.clamp_min(_EPSILON).sqrt()
    # A collapsed triangle would have no inverse; a micrometre's own axes keep it finite.
    collapsed = area < _SMALLEST_M2
    eye = _COLLAPSED_M * torch.eye(3, dtype=vertices.dtype, device=vertices.device)
    edges = [
        torch.where(collapsed, eye[k].expand_as(a), edge) for k, edge in enumerate((first, second, normal))
    ]
    return torch.stack(edges, -1)


@dataclass(frozen=True)
class Stretch:
    """How triangles stretch their surroundings beyond what their own frames already do."""

    rig: Rig
    config: CorrectionConfig
    faces: Tensor  # [U] triangles that are asked
    near_faces: Tensor  # [M] triangles that are a neighbour of some
    neighbours: Tensor  # [U, K] rows of `near_faces`
    undo_rest: Tensor  # [M, 3, 3] inverse edges at rest of `near_faces`
    weights: Tensor  # [U, K], rows sum to 1, or are all 0 without a valid neighbour
    rest_rotation: Tensor  # [U, 3, 3]
    rest_scale: Tensor  # [U]

    @classmethod
    def around(cls, rig: Rig, faces: Tensor, allowed: Tensor, config: CorrectionConfig) -> Stretch:
        """Prepare triangles `faces` [U]; `allowed` [F] (bool) says which may be neighbours."""
        centres = rig.template[rig.faces].mean(1)
        others = allowed.nonzero()[:, 0]
        count = min(12, max(1, len(others)))
        near, weight = [], []
        for some in faces.split(2048):
            distance = torch.cdist(centres[some], centres[others])
            nearest = distance.topk(count, dim=1, largest=False)
            near.append(others[nearest.indices])
            inside = nearest.values < config.radius_m
            # The ball query is around other triangles: a triangle alone in its ball has no neighbour.
            lonely = inside.sum(1, keepdim=True) < 2
            kernel = torch.exp(-0.5 * (nearest.values / (0.5 * config.radius_m)) ** 2) * inside
            weight.append(torch.where(lonely, 0, kernel))
        neighbours, weights = torch.cat(near), torch.cat(weight)
        weights = torch.where(allowed[faces][:, None], weights, 0)
        weights = weights / weights.sum(1, keepdim=True).clamp_min(_EPSILON)
        rotation, scale, _ = triangle_frames(rig.template, rig.faces[faces])
        near_faces, neighbours = torch.unique(neighbours, return_inverse=True)
        undo_rest = torch.linalg.inv(_edges(rig.template, rig.faces[near_faces]))
        return cls(rig, config, faces, near_faces, neighbours, undo_rest, weights, rotation, scale)

    def relative(self, vertices: Tensor) -> Tensor:
        """Mean of M_j = T_q^-1 T_j [U, 3, 3] in rest axes for posed `vertices` [V, 3].

        T_q is the similarity that a triangle's binding applies, T_j the whole linear map of a neighbour: at
        rest, and under any similarity, M is the identity. Triangles without neighbours keep the identity.
        """
        gradients = _edges(vertices, self.rig.faces[self.near_faces]) @ self.undo_rest
        gathered = gradients.flatten(1)[self.neighbours]
        blended = (self.weights[..., None] * gathered).sum(1).unflatten(-1, (3, 3))
        rotation, scale, _ = triangle_frames(vertices, self.rig.faces[self.faces])
        undo = self.rest_rotation @ rotation.mT * (self.rest_scale / scale.clamp_min(_EPSILON))[:, None, None]
        lonely = (self.weights.sum(1) < 0.5)[:, None, None]
        eye = torch.eye(3, dtype=vertices.dtype, device=vertices.device)
        return torch.where(lonely, eye, undo @ blended)


def tangent_map(relative: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """P M P in the tangent basis: maps [N, 2, 2] from `relative` [N, 3, 3] and unit tangents [N, 3]."""
    basis = torch.stack([first, second], -1)
    moved = relative @ basis
    # Lengths count wherever the stretched tangent points: out of the plane it is a bend, not a squeeze.
    inside = basis.mT @ moved
    length = moved.norm(dim=1) / inside.norm(dim=1).clamp_min(_EPSILON)
    return inside * length[:, None]


def principal_stretches(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Singular values [N, 2], greatest first, and the angle [N] of the greatest from the first axis."""
    square = maps.mT @ maps
    a, b, d = square[:, 0, 0], square[:, 0, 1], square[:, 1, 1]
    middle, root = 0.5 * (a + d), (0.25 * (a - d) ** 2 + b * b).sqrt()
    values = torch.stack([middle + root, (middle - root).clamp_min(0)], 1).sqrt()
    return values, 0.5 * torch.atan2(2 * b, a - d)


def correct(
    rotations: Tensor,
    log_scales: Tensor,
    relative: Tensor,
    curvatures: Tensor,
    directions: Tensor,
    config: CorrectionConfig,
) -> tuple[Tensor, Tensor]:
    """Corrected rotations [N, 3, 3] and log scales [N, 2] of surfels at rest, the normal kept.

    `relative` [N, 3, 3] from `Stretch`, `curvatures` [N, 2] in 1/metre with tangent `directions` [N, 2, 3].
    s_i' = s_i sigma_i / (1 + w |kappa_i|), with sigma and kappa along the surfel's own axis i; the axes turn
    toward the principal curvatures as far as the surface is stretched unevenly, so rest stays as trained.
    Source: SAGE, section 3.3.
    """
    with torch.no_grad():
        first, second = rotations[:, :, 0], rotations[:, :, 1]
        stretch, _ = principal_stretches(tangent_map(relative, first, second))
        uneven = ((stretch[:, 0] - stretch[:, 1]) / stretch.sum(1).clamp_min(_EPSILON)).clamp(0, 1)
        along = directions[:, 1]
        angle = torch.atan2((along * second).sum(1), (along * first).sum(1))
        quarter = torch.pi / 2
        nearest = angle - quarter * (angle / quarter).round()  # axes have no sign and no order
        turn = config.turn * uneven * nearest
        cos, sin = turn.cos()[:, None], turn.sin()[:, None]
        new_first, new_second = cos * first + sin * second, cos * second - sin * first
        maps = tangent_map(relative, new_first, new_second)
        sigma = maps.norm(dim=1).clamp(*config.limits)  # length of each axis's image
        bend = torch.stack(
            [
                _curvature_along(new_first, curvatures, directions),
                _curvature_along(new_second, curvatures, directions),
            ],
            1,
        )
        change = sigma.log() - (1 + config.curvature_weight_m * bend).log()
        rotation_by = torch.stack([torch.cat([cos, sin], 1), torch.cat([-sin, cos], 1)], 1)
    turned = torch.cat([rotations[:, :, :2] @ rotation_by.mT, rotations[:, :, 2:]], 2)
    return turned, log_scales + change


def _curvature_along(axis: Tensor, curvatures: Tensor, directions: Tensor) -> Tensor:
    """|kappa| [N] in a tangent direction. Source: Euler's theorem."""
    cosines = (directions * axis[:, None]).sum(-1)
    return (curvatures * cosines**2).sum(1).abs()
