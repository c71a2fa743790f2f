"""Posing Gaussians on the CPU for play: one pass over triangles or joints, one over the Gaussians.

The same result as the torch code of render/avatars/bindings.py and render/avatars/avatar.py, which remains
the reference, the path of training and of other devices; here nothing is kept between the steps of a
Gaussian, which is what takes time there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.avatars.bindings import SMALLEST_SCALE_M, Binding, SkinningBinding, TriangleBinding, VertexBinding
from render.cpu.changed_rows import ChangedRows
from render.cpu.functions import LOG2_E, log2_lane
from render.cpu.lanes import at, inlined, kernel
from render.cpu.rigs import CpuRig
from render.gaussians import Gaussians
from render.rigs.frames import triangle_frames
from render.rigs.params import RigParams
from render.rigs.rig import PosedRig, Rig
from render.rotations import matrix_to_quaternion

F = np.float32
_ONE, _HALF, _THIRD, _LN2 = F(1), F(0.5), F(1 / 3), F(1 / LOG2_E)
_EPSILON = F(1e-20)  # squared metres, as in render/rigs/frames.py
_SMALLEST = F(SMALLEST_SCALE_M)
_BLOCK = 64  # triangles worked on together; the scratch stays in the L1 cache
# Columns of a triangle's row: centre, scaled rotation (row major), orientation, log scale, turn since rest.
_QUAT, _LOG_SCALE, _TURN, _ROW = 12, 16, 17, 21
# Columns of a joint's row: [3, 4] transform (row major), orientation.
_JOINT_QUAT, _JOINT_ROW = 12, 16


class CpuPoser:
    """Poses all bindings of an avatar into one set of Gaussians, without gradients."""

    def __init__(self, rig: Rig, bindings: Sequence[Binding]) -> None:
        self._rig = CpuRig(rig)
        self._runs: list[_Triangles | _Joints] = [
            _Triangles.of(rig, b) if isinstance(b, TriangleBinding) else _Joints.of(rig, b) for b in bindings
        ]

    def __call__(self, local: Gaussians, params: RigParams) -> Gaussians:
        """Canonical Gaussians and the rig's parameters -> Gaussians in world axes, new arrays."""
        posed, expression = self._rig(params), params.expression
        means, quats, scales = (torch.empty_like(t) for t in (local.means, local.quats, local.log_scales))
        turns = torch.empty_like(local.quats) if local.sh_degree else None
        arrays = [_array(t) for t in (local.means, local.quats, local.log_scales)]
        results = [t.numpy() for t in (means, quats, scales)]
        results.append(np.empty((0, 4), F) if turns is None else turns.numpy())
        start = 0
        for run in self._runs:
            rows = slice(start, start + run.num_gaussians)
            start = rows.stop
            out = [r[rows] if len(r) else r for r in results]
            run.place([a[rows] for a in arrays], posed, expression, out)
        return replace(local, means=means, quats=quats, log_scales=scales, sh_quats=turns)


def add_deltas(
    values: Tensor, indices: Tensor, deltas: Tensor, weights: Tensor, changed: ChangedRows
) -> Tensor:
    """[N, ...] plus the weighted sum of `deltas` [B, M, ...] in the first numbers of rows `indices` [M].

    Deltas of weight zero cost nothing, which is most of them on most frames; when all are, `values` comes
    back. `changed` serves one array with the same `indices`.
    """
    active = np.flatnonzero(_array(weights))
    if not len(active):
        return values
    out = changed.copy(values)
    rows = [_array(tensor.reshape(len(values), -1)) for tensor in (values, out)]
    _add_deltas(*rows, _array(indices), _array(deltas.flatten(1)), _array(weights), active)
    return out


@dataclass(frozen=True)
class TriangleFrames:
    """The triangles that a binding uses, and how its Gaussians are placed on them."""

    slot: NDArray[np.int64]  # [N] row of `corners`
    corners: NDArray[np.int64]  # [U, 3] triangles in use
    rest_inverse: NDArray[np.float32]  # [U, 4]

    @classmethod
    def of(cls, rig: Rig, binding: TriangleBinding) -> TriangleFrames:
        used, slot = torch.unique(binding.face_index, return_inverse=True)
        corners = rig.faces.index_select(0, used)
        rotation, _, _ = triangle_frames(rig.template, corners)
        inverse = matrix_to_quaternion(rotation.mT)
        return cls(_array(slot), _array(corners), _array(inverse))

    def fill(self, posed: PosedRig, table: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """What Gaussians need of each triangle in a pose, [U, 21] as above; `table` is written over."""
        table = np.empty((len(self.corners), _ROW), F) if table is None else table
        _fill_triangles(_array(posed.vertices), self.corners, self.rest_inverse, table)
        return table

    @staticmethod
    def place(table: NDArray[np.float32], slot: NDArray[np.int64], local: list[Any], out: list[Any]) -> None:
        """Means, quaternions and log scales to the world; `out` takes the turns since rest as well."""
        _place_on_triangles(table, slot, *local, *out)


@dataclass(frozen=True)
class _Triangles:
    frames: TriangleFrames
    table: NDArray[np.float32]  # [U, _ROW] scratch

    @classmethod
    def of(cls, rig: Rig, binding: TriangleBinding) -> _Triangles:
        frames = TriangleFrames.of(rig, binding)
        return cls(frames, np.empty((len(frames.corners), _ROW), F))

    @property
    def num_gaussians(self) -> int:
        return len(self.frames.slot)

    def place(self, local: list[Any], posed: PosedRig, expression: Tensor, out: list[Any]) -> None:
        TriangleFrames.place(self.frames.fill(posed, self.table), self.frames.slot, local, out)


@dataclass(frozen=True)
class _Joints:
    """Vertex and skinning bindings: both blend joints, one around a posed vertex, one around the origin."""

    joints: NDArray[np.int64]  # [N, K] the joints a Gaussian hangs on
    weights: NDArray[np.float32]  # [N, K]
    vertices: NDArray[np.int64]  # [N] for a vertex binding, else empty
    basis: Tensor | None  # [E, N * 3]
    rotates: bool
    table: NDArray[np.float32]  # [J, _JOINT_ROW] scratch

    @classmethod
    def of(cls, rig: Rig, binding: VertexBinding | SkinningBinding) -> _Joints:
        basis, rotates, vertices = None, True, torch.empty(0, dtype=torch.int64)
        if isinstance(binding, VertexBinding):
            weights, rotates = rig.skin_weights.index_select(0, binding.vertex_index), binding.rotates
            vertices = binding.vertex_index
        else:
            weights, basis = binding.weights, binding.expression_basis
        most = max(1, int((weights != 0).sum(1).max())) if len(weights) else 1
        joints = weights.abs().topk(most, dim=1).indices
        table = np.empty((rig.num_joints, _JOINT_ROW), F)
        return cls(_array(joints), _array(weights.gather(1, joints)), _array(vertices), basis, rotates, table)

    @property
    def num_gaussians(self) -> int:
        return len(self.joints)

    def place(self, local: list[Any], posed: PosedRig, expression: Tensor, out: list[Any]) -> None:
        means, quats, scales = local
        if self.basis is not None and len(self.basis):
            basis = self.basis[: len(expression)]
            means = means + (expression @ basis).detach().numpy().reshape(means.shape)
        out[2][:] = scales
        _fill_joints(_array(posed.joint_transforms), self.rotates, self.table)
        vertices = _array(posed.vertices)
        _place_on_joints(self.table, self.joints, self.weights, vertices, self.vertices, means, quats, *out)


def _array(tensor: Tensor) -> NDArray[Any]:
    return tensor.detach().contiguous().numpy()


@inlined
def _quaternion(m00, m01, m02, m10, m11, m12, m20, m21, m22):
    """wxyz of a rotation matrix. Source: Shepperd 1978; a zero matrix gives the identity."""
    w2 = _ONE + m00 + m11 + m22
    x2 = _ONE + m00 - m11 - m22
    y2 = _ONE - m00 + m11 - m22
    z2 = _ONE - m00 - m11 + m22
    wx, wy, wz = m21 - m12, m02 - m20, m10 - m01
    xy, xz, yz = m01 + m10, m02 + m20, m12 + m21
    # Selections, not branches: a loop over this stays vector code.
    first, w_best, y_best = max(w2, x2) >= max(y2, z2), w2 >= x2, y2 >= z2
    w = (w2 if w_best else wx) if first else (wy if y_best else wz)
    x = (wx if w_best else x2) if first else (xy if y_best else xz)
    y = (wy if w_best else xy) if first else (y2 if y_best else yz)
    z = (wz if w_best else xz) if first else (yz if y_best else z2)
    s = _ONE / np.sqrt(w * w + x * x + y * y + z * z)
    s = -s if w < F(0) else s
    return w * s, x * s, y * s, z * s


@inlined
def _multiply(out, i, aw, ax, ay, az, bw, bx, by, bz):
    out[i, 0] = aw * bw - ax * bx - ay * by - az * bz
    out[i, 1] = aw * bx + ax * bw + ay * bz - az * by
    out[i, 2] = aw * by - ax * bz + ay * bw + az * bx
    out[i, 3] = aw * bz + ax * by - ay * bx + az * bw


@kernel
def _fill_triangles(vertices, corners, rest_inverse, table):
    """Blocks of triangles as structures of arrays: the loop over a block becomes vector code."""
    points, rows = np.empty((9, _BLOCK), F), np.empty((_TURN, _BLOCK), F)
    for start in range(0, corners.shape[0], _BLOCK):
        count = min(_BLOCK, corners.shape[0] - start)
        for j in range(count):
            for corner in range(3):
                vertex = vertices[corners[start + j, corner]]
                for axis in range(3):
                    points[3 * corner + axis, j] = vertex[axis]
        _triangle_frames(points, rows, count)
        for j in range(count):
            row, q = table[start + j], rest_inverse[start + j]
            for column in range(_TURN):
                row[column] = rows[column, j]
            w, x, y, z = row[_QUAT], row[_QUAT + 1], row[_QUAT + 2], row[_QUAT + 3]
            _multiply(table[:, _TURN:], start + j, w, x, y, z, q[0], q[1], q[2], q[3])


@inlined
def _triangle_frames(points, rows, count):
    """Corners [9, count] -> columns of the triangle table; the formulas of render/rigs/frames.py."""
    for j in range(count):
        ax, ay, az = points[0, j], points[1, j], points[2, j]
        fx, fy, fz = points[3, j] - ax, points[4, j] - ay, points[5, j] - az
        sx, sy, sz = points[6, j] - ax, points[7, j] - ay, points[8, j] - az
        s = _ONE / np.sqrt(max(fx * fx + fy * fy + fz * fz, _EPSILON))
        ex, ey, ez = fx * s, fy * s, fz * s
        nx, ny, nz = ey * sz - ez * sy, ez * sx - ex * sz, ex * sy - ey * sx
        s = _ONE / np.sqrt(max(nx * nx + ny * ny + nz * nz, _EPSILON))
        nx, ny, nz = nx * s, ny * s, nz * s
        tx, ty, tz = ny * ez - nz * ey, nz * ex - nx * ez, nx * ey - ny * ex
        s = -_ONE / np.sqrt(max(tx * tx + ty * ty + tz * tz, _EPSILON))
        tx, ty, tz = tx * s, ty * s, tz * s
        length = abs(ex * fx + ey * fy + ez * fz)
        height = abs(tx * sx + ty * sy + tz * sz)
        scale = max(_HALF * (length + height), _SMALLEST)
        rows[0, j], rows[1, j], rows[2, j] = (
            ax + (fx + sx) * _THIRD,
            ay + (fy + sy) * _THIRD,
            az + (fz + sz) * _THIRD,
        )
        rows[3, j], rows[4, j], rows[5, j] = ex * scale, nx * scale, tx * scale
        rows[6, j], rows[7, j], rows[8, j] = ey * scale, ny * scale, ty * scale
        rows[9, j], rows[10, j], rows[11, j] = ez * scale, nz * scale, tz * scale
        w, x, y, z = _quaternion(ex, nx, tx, ey, ny, ty, ez, nz, tz)
        rows[12, j], rows[13, j], rows[14, j], rows[15, j] = w, x, y, z
        rows[16, j] = log2_lane(scale) * _LN2


@kernel
def _place_on_triangles(table, slot, means, quats, log_scales, out_means, out_quats, out_scales, out_turns):
    turn, axes = out_turns.shape[0] > 0, log_scales.shape[1]
    for i in range(slot.shape[0]):
        row = table[slot[i]]
        x, y, z = means[i, 0], means[i, 1], means[i, 2]
        out_means[i, 0] = row[0] + row[3] * x + row[4] * y + row[5] * z
        out_means[i, 1] = row[1] + row[6] * x + row[7] * y + row[8] * z
        out_means[i, 2] = row[2] + row[9] * x + row[10] * y + row[11] * z
        _multiply(
            out_quats,
            i,
            row[12],
            row[13],
            row[14],
            row[15],
            quats[i, 0],
            quats[i, 1],
            quats[i, 2],
            quats[i, 3],
        )
        for k in range(axes):
            out_scales[i, k] = log_scales[i, k] + row[_LOG_SCALE]
        if turn:
            for k in range(4):
                out_turns[i, k] = row[_TURN + k]


@kernel
def _fill_joints(transforms, rotates, table):
    for j in range(transforms.shape[0]):
        t, row = transforms[j], table[j]
        for r in range(3):
            for c in range(4):
                row[r * 4 + c] = t[r, c] if rotates else (_ONE if r == c else F(0))
        w, x, y, z = _quaternion(row[0], row[1], row[2], row[4], row[5], row[6], row[8], row[9], row[10])
        first = table[0]
        sign = _ONE
        if j and w * first[12] + x * first[13] + y * first[14] + z * first[15] < F(0):
            sign = -_ONE
        row[12], row[13], row[14], row[15] = w * sign, x * sign, y * sign, z * sign


@kernel
def _place_on_joints(
    table, joints, weights, vertices, vertex_index, means, quats, out_means, out_quats, out_scales, out_turns
):
    turn, at_vertices = out_turns.shape[0] > 0, vertex_index.shape[0] > 0
    blend = np.empty(_JOINT_ROW, F)
    for i in range(joints.shape[0]):
        blend[:] = F(0)
        for k in range(joints.shape[1]):
            row, weight = table[joints[i, k]], weights[i, k]
            for c in range(_JOINT_ROW):
                blend[c] += weight * row[c]
        x, y, z = means[i, 0], means[i, 1], means[i, 2]
        for r in range(3):
            moved = blend[r * 4] * x + blend[r * 4 + 1] * y + blend[r * 4 + 2] * z
            origin = vertices[vertex_index[i], r] if at_vertices else blend[r * 4 + 3]
            out_means[i, r] = origin + moved
        qw, qx, qy, qz = blend[12], blend[13], blend[14], blend[15]
        s = _ONE / np.sqrt(max(qw * qw + qx * qx + qy * qy + qz * qz, F(1e-24)))
        qw, qx, qy, qz = qw * s, qx * s, qy * s, qz * s
        _multiply(out_quats, i, qw, qx, qy, qz, quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3])
        if turn:
            out_turns[i, 0], out_turns[i, 1], out_turns[i, 2], out_turns[i, 3] = qw, qx, qy, qz


@kernel
def _add_deltas(values, out, indices, deltas, weights, active):
    change = np.zeros(deltas.shape[1], F)
    for b in active:  # delta by delta, as they lie in memory
        weight = weights[b]
        for k in range(deltas.shape[1]):
            change[k] += weight * deltas[b, k]
    columns = deltas.shape[1] // max(1, indices.shape[0])
    for m in range(indices.shape[0]):
        row = at(indices[m])
        for c in range(columns):
            out[row, at(c)] = values[row, at(c)] + change[at(m * columns + c)]
