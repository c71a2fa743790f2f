"""Avatars and posed Gaussians as the kernels read them."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from render.avatars.avatar import Avatar
from render.avatars.bindings import Binding, TriangleBinding, VertexBinding
from render.cuda.layout import (
    MAX_JOINTS,
    MAX_ROWS,
    POSED,
    SKINNING,
    THREADS,
    TRIANGLE,
    VERTEX,
    VERTEX_FIXED,
    DrawableStruct,
    RunStruct,
)
from render.deformations.deformation import Deformation
from render.gaussians import Gaussians
from render.rigs.frames import triangle_frames
from render.rigs.rig import Rig
from render.rotations import matrix_to_quaternion


@dataclass(frozen=True)
class Drawable:
    """One set of Gaussians on the device; its arrays live as long as this."""

    struct: DrawableStruct
    arrays: tuple[Tensor, ...]
    blocks: int  # of the placing kernel
    is_surfel: bool

    @property
    def num_gaussians(self) -> int:
        return int(self.struct.num_gaussians)


class _Arrays:
    """Moves tensors to the device, contiguous, and keeps them."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.kept: list[Tensor] = []

    def floats(self, tensor: Tensor | None) -> int:
        return self._pointer(tensor, torch.float32)

    def ints(self, tensor: Tensor | None) -> int:
        return self._pointer(tensor, torch.int32)

    def bytes_of(self, structs: ctypes.Array[RunStruct]) -> int:
        raw = torch.frombuffer(bytearray(structs) or bytearray(1), dtype=torch.uint8)
        return self._pointer(raw, torch.uint8)

    def _pointer(self, tensor: Tensor | None, kind: torch.dtype) -> int:
        if tensor is None:
            return 0
        tensor = tensor.detach().to(self._device, kind).contiguous()
        self.kept.append(tensor)
        return tensor.data_ptr()


def posed_drawable(gaussians: Gaussians, device: torch.device) -> Drawable:
    """Gaussians in world axes, in their own memory where they are float32 on the device already."""
    arrays, g = _Arrays(device), gaussians
    terms = int(g.sh.shape[1])
    struct = DrawableStruct(sh_row=3 * terms, sh_column=1, sh_quats=arrays.floats(g.sh_quats))
    _fill_gaussians(struct, arrays, g, g.sh)
    whole = RunStruct(binding=POSED, count=g.num_gaussians)
    return _finished(struct, arrays, [whole], g.is_surfel)


def avatar_drawable(avatar: Avatar, device: torch.device) -> Drawable:
    """An avatar to be posed on the device. Raises ValueError when its rig is too large for the kernels."""
    arrays, g, rig = _Arrays(device), avatar.gaussians, avatar.rig
    planes = g.sh.flatten(1).T  # [3 T, N]: neighbouring threads read neighbouring numbers
    struct = DrawableStruct(sh_row=1, sh_column=g.num_gaussians)
    _fill_gaussians(struct, arrays, g, planes)
    _fill_rig(struct, arrays, rig, turns=g.sh_degree > 0)
    if avatar.deformation is not None:
        _fill_deformation(struct, arrays, avatar.deformation, g.num_gaussians)
    runs, first, first_block = [], 0, 0
    for binding in avatar.bindings:
        run = _run(binding, arrays)
        run.first, run.first_block = first, first_block
        if run.count:
            runs.append(run)
            first, first_block = first + run.count, first_block + _blocks(run.count)
    return _finished(struct, arrays, runs, g.is_surfel)


def _finished(struct: DrawableStruct, arrays: _Arrays, runs: list[RunStruct], is_surfel: bool) -> Drawable:
    struct.runs = arrays.bytes_of((RunStruct * len(runs))(*runs))
    struct.num_runs = len(runs)
    blocks = sum(_blocks(run.count) for run in runs)
    return Drawable(struct, tuple(arrays.kept), blocks, is_surfel)


def _blocks(count: int) -> int:
    return -(-count // THREADS)


def _fill_gaussians(struct: DrawableStruct, arrays: _Arrays, g: Gaussians, sh: Tensor) -> None:
    struct.means, struct.quats = arrays.floats(g.means), arrays.floats(g.quats)
    struct.log_scales, struct.logits = arrays.floats(g.log_scales), arrays.floats(g.logit_opacities)
    struct.sh, struct.terms = arrays.floats(sh), int(g.sh.shape[1])
    struct.num_gaussians, struct.antialiased = g.num_gaussians, g.antialiased


def _fill_rig(struct: DrawableStruct, arrays: _Arrays, rig: Rig, *, turns: bool) -> None:
    rows = (
        rig.expression_basis if rig.pose_basis is None else torch.cat([rig.expression_basis, rig.pose_basis])
    )
    if rig.num_joints > MAX_JOINTS or len(rows) > MAX_ROWS:
        raise ValueError(
            f"the CUDA kernels pose rigs of up to {MAX_JOINTS} joints and {MAX_ROWS} rows of blendshapes, "
            f"this one has {rig.num_joints} and {len(rows)}"
        )
    depths = [0] * rig.num_joints
    for joint, parent in enumerate(rig.parents):
        depths[joint] = 0 if parent < 0 else depths[parent] + 1
    joints, weights = _sparse(rig.skin_weights)
    struct.vertices = arrays.floats(rig.template.T)
    struct.basis = arrays.floats(rows.unflatten(1, (rig.num_vertices, 3)).movedim(2, 1))
    struct.joints = arrays.floats(rig.joints_template)
    if rig.joints_expression is not None:
        struct.joints_expression = arrays.floats(rig.joints_expression.T)
    struct.parents = arrays.ints(torch.tensor(rig.parents))
    struct.depths = arrays.ints(torch.tensor(depths))
    struct.skin_joints, struct.skin_weights = arrays.ints(joints), arrays.floats(weights)
    struct.faces = arrays.ints(rig.faces)
    if turns:
        rotation, _, _ = triangle_frames(rig.template, rig.faces)
        struct.rest_inverse = arrays.floats(matrix_to_quaternion(rotation.mT))
    struct.num_vertices, struct.num_expressions = rig.num_vertices, rig.num_expressions
    struct.num_pose_rows = len(rows) - rig.num_expressions
    struct.num_joints, struct.num_levels = rig.num_joints, max(depths) + 1
    struct.influences = len(joints)


def _fill_deformation(struct: DrawableStruct, arrays: _Arrays, d: Deformation, num: int) -> None:
    rows = torch.full((num,), -1, dtype=torch.int32, device=d.indices.device)
    rows[d.indices] = torch.arange(len(d.indices), dtype=torch.int32, device=d.indices.device)
    struct.deformed = arrays.ints(rows)
    struct.d_means, struct.d_quats = arrays.floats(d.d_means), arrays.floats(d.d_quats)
    struct.d_log_scales, struct.d_logits = arrays.floats(d.d_log_scales), arrays.floats(d.d_logit_opacities)
    struct.d_sh0 = arrays.floats(d.d_sh0)
    c = d.coefficients
    for layer, (weights, bias) in enumerate(zip(c.weights, c.biases, strict=True)):
        struct.layer_weights[layer], struct.layer_biases[layer] = arrays.floats(weights), arrays.floats(bias)
        struct.layer_widths[layer] = len(bias)
    struct.num_layers, struct.clamped, struct.num_condition = len(c.weights), c.clamped, c.num_inputs
    struct.num_coefficients, struct.num_deltas = c.num_outputs, len(d.indices)


def _run(binding: Binding, arrays: _Arrays) -> RunStruct:
    if isinstance(binding, TriangleBinding):
        return RunStruct(binding=TRIANGLE, count=binding.num_gaussians, index=arrays.ints(binding.face_index))
    if isinstance(binding, VertexBinding):
        kind = VERTEX if binding.rotates else VERTEX_FIXED
        return RunStruct(binding=kind, count=binding.num_gaussians, index=arrays.ints(binding.vertex_index))
    joints, weights = _sparse(binding.weights)
    return RunStruct(
        binding=SKINNING,
        count=binding.num_gaussians,
        influences=len(joints),
        joints=arrays.ints(joints),
        weights=arrays.floats(weights),
        basis=arrays.floats(binding.expression_basis),
    )


def _sparse(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [N, J], few of them not zero -> joints and weights [K, N], K the most that a row has."""
    most = max(1, int((weights != 0).sum(1).max())) if len(weights) else 1
    joints = weights.abs().topk(most, dim=1).indices
    return joints.T, weights.gather(1, joints).T
