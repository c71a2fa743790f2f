"""Which triangle of the built-in head each point of a made person hangs on, before training and after."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from engine.train.data.seeds import Seeds
from engine.train.fields.mesh_distance import nearest_triangles
from render.avatars.avatar import Avatar
from render.avatars.bindings import TriangleBinding, localise
from render.rigs.head import HeadSurface
from render.rigs.rig import Rig

_STILL_M = 5e-4  # a triangle that no unit moves further carries what is rigid: hair, clothes, glints
_SKULL = 0.999  # share of the head in triangles that carry hair: a bun is far from the nape that it grows on
_SHOULDERS = 0.98  # share of the root in triangles that carry clothes: a collar does not turn with the neck
# Hair that ends below the first height, metres from the skull's joint, turns less with the head the lower it
# hangs: between two heights it is bound to the neck's skin between two others.
_LONG_M, _HANGS_M, _NECK_M, _NECK_RADIUS_M = -0.14, (0.0, -0.30), (0.03, -0.19), 0.055
_NEIGHBOURS = 32  # triangles asked where the nearest one looks the other way
_TURNED_AWAY_M = 4e-3  # distance that a triangle with an opposed normal counts further away
# Of what was sown around a Gaussian, and how far shares of joints may differ (summed over joints, 2 at most)
_AROUND, _AROUND_M, _OTHERWISE = 12, 0.015, 0.2
_PARTS = {
    "skin": ("body",),
    "eyes": ("left_eye", "right_eye"),
    "teeth": ("upper_teeth", "lower_teeth"),
    "gums": ("upper_teeth", "lower_teeth"),
    "tongue": ("tongue",),
    "lashes": ("left_lower_lashes", "left_upper_lashes", "right_lower_lashes", "right_upper_lashes"),
}


def mobility(rig: Rig) -> Tensor:
    """How far units move each triangle at most, metres [F]."""
    reach = rig.expression_basis.unflatten(-1, (-1, 3)).norm(dim=-1).amax(0)
    return reach[rig.faces].amax(1)


class Binder:
    """Finds triangles by part: skin on skin, teeth on teeth, and what is rigid on what no unit moves."""

    def __init__(self, rig: Rig, surface: HeadSurface) -> None:
        self._rig, self._surface = rig, surface
        still = (mobility(rig) < _STILL_M) & surface.faces_of(rig.faces, "body")
        head = rig.skin_weights[:, rig.joint_names.index("head")][rig.faces].amin(1) > _SKULL
        shoulders = rig.skin_weights[:, rig.joint_names.index("root")][rig.faces].amin(1) > _SHOULDERS
        self._still, self._skull, self._shoulders = still, still & head, still & shoulders
        corners = rig.template[rig.faces]
        cross = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        self._normals = torch.nn.functional.normalize(cross, dim=1)
        self._middles = corners.mean(1)

    def __call__(self, part: str, points: Tensor, normals: Tensor | None = None) -> Tensor:
        """Triangles [N] for points [N, 3] of one part: a surface's or strands' name, `glints` or `scalp`;
        `hanging` is hair that `hangs`.

        With `normals` [N, 3], a triangle that looks the other way, as the lower lip's under the upper one,
        is passed over.
        """
        if part in ("hair", "scalp") or part == "glints":
            allowed = self._skull
        elif part == "hanging":
            allowed, points = self._still, _beside_neck(points)
        elif part == "clothes":
            allowed = self._shoulders
        else:
            allowed = self._surface.faces_of(self._rig.faces, *_PARTS.get(part, ("body",)))
        rows = torch.nonzero(allowed)[:, 0]
        near = nearest_triangles(points, self._rig.template, self._rig.faces[rows])[0]
        if normals is not None:
            near = self._facing(points, normals, rows, near)
        return rows[near]

    @staticmethod
    def hangs(points: Tensor, tips: Tensor) -> Tensor:
        """Which points [N, 3] of strands that end at `tips` [N, 3] hang below the shoulders [N]."""
        return (tips[:, 1] < _LONG_M) & (points[:, 1] < _HANGS_M[0])

    def _facing(self, points: Tensor, normals: Tensor, rows: Tensor, near: Tensor) -> Tensor:
        opposed = (self._normals[rows[near]] * normals).sum(1) < 0
        if not opposed.any():
            return near
        middles: NDArray[np.float32] = self._middles[rows].numpy()
        asked = points[opposed].numpy()
        distance, index = cKDTree(middles).query(asked, k=min(_NEIGHBOURS, len(rows)))
        agree = (self._normals[rows[torch.from_numpy(index)]] * normals[opposed][:, None]).sum(-1)
        cost = torch.from_numpy(distance) + _TURNED_AWAY_M * (agree < 0)
        chosen = near.clone()
        best = cost.argmin(1, keepdim=True)
        chosen[opposed] = torch.from_numpy(index).gather(1, best)[:, 0]
        return chosen


def strays_rebound(avatar: Avatar, seeds: Seeds) -> Avatar:
    """The avatar whose Gaussians that strayed from their triangles hang on what was sown around them.

    A head is learned level: nothing holds a Gaussian of the shoulders that has found its use in the hair, and
    it flies off when the head turns. Strayed is what turns with other joints than all that was sown near;
    at rest nothing changes. Those that expressions move stay.
    """
    rig, (binding,) = avatar.rig, avatar.bindings
    assert isinstance(binding, TriangleBinding)
    with torch.no_grad():
        world = avatar.pose(rig.neutral_params())
    turns = rig.skin_weights[rig.faces].mean(1)  # [F, J]
    distance, rows = cKDTree(seeds.gaussians.means.numpy()).query(world.means.numpy(), k=_AROUND)
    near, around = torch.from_numpy(distance < _AROUND_M), seeds.face_index[torch.from_numpy(rows)]
    otherwise = (turns[around] - turns[binding.face_index][:, None]).abs().sum(-1)
    strayed = near[:, 0] & (otherwise.masked_fill(~near, torch.inf).amin(1) > _OTHERWISE)
    if avatar.deformation is not None:
        strayed[avatar.deformation.indices] = False
    bound = TriangleBinding(torch.where(strayed, around[:, 0], binding.face_index))
    local, kept = localise(world, bound, rig), avatar.gaussians
    chosen = strayed[:, None]
    gaussians = replace(
        kept,
        means=torch.where(chosen, local.means, kept.means),
        quats=torch.where(chosen, local.quats, kept.quats),
        log_scales=torch.where(chosen, local.log_scales, kept.log_scales),
    )
    return avatar.replace(bindings=(bound,), gaussians=gaussians)


def _beside_neck(points: Tensor) -> Tensor:
    """Points [N, 3] of the neck that turn as far with the head as hair at `points` [N, 3] is to."""
    share = ((_HANGS_M[0] - points[:, 1]) / (_HANGS_M[0] - _HANGS_M[1])).clamp(0, 1)
    around = torch.nn.functional.normalize(points[:, [0, 2]] - points.new_tensor([0.0, -0.02]), dim=1)
    x, z = (_NECK_RADIUS_M * around).unbind(1)
    return torch.stack([x, _NECK_M[0] + share * (_NECK_M[1] - _NECK_M[0]), z - 0.02], 1)
