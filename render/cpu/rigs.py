"""Posing a rig on the CPU for play: the forward pass of render/rigs/rig.py as one kernel.

That one remains the reference, the path of training, of batches and of other devices. Here weights next
to zero cost nothing, which is most of them on most frames, and the interpreter's lock is let go of once.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.cpu.lanes import inlined, kernel
from render.rigs.params import RigParams
from render.rigs.rig import PosedRig, Rig

F = np.float32
_RUN = 48  # columns of a basis, sixteen vertices: whole vectors
_BLOCK = 128  # vertices worked on together; the scratch stays in the L1 cache
_SMALL = F(0.0025)  # squared radians, as in render/rotations.py
_LEAST_WEIGHT = F(1e-5)  # moves a face by less than a micrometre; filters leave many such weights behind


class CpuRig:
    """Poses one rig again and again into the same memory; for float32, without gradients."""

    def __init__(self, rig: Rig) -> None:
        self._expression = _runs(_array(rig.expression_basis))
        self._corrections = _array(_given(rig.pose_basis, 3 * rig.num_vertices))
        self._joints_basis = _array(_given(rig.joints_expression, 3 * rig.num_joints))
        self._template, self._joints = _array(rig.template).reshape(-1), _array(rig.joints_template)
        self._parents = np.array(rig.parents, np.int64)
        self._skin = np.ascontiguousarray(_array(rig.skin_weights).T)  # [J, V]
        self._points = np.empty(-(-self._template.size // _RUN) * _RUN, F)
        self._posed = PosedRig(torch.empty_like(rig.template), rig.template.new_empty(rig.num_joints, 3, 4))
        self._out = (_array(self._posed.vertices), _array(self._posed.joint_transforms))

    def __call__(self, params: RigParams) -> PosedRig:
        """The posed rig, valid until the next call; `params` without batch dimensions."""
        pose, translation = _array(params.pose), _array(params.translation)
        _pose_rig(
            _array(params.expression), pose, translation, self._template, self._joints, self._parents,
            self._skin, *self._expression, self._corrections, self._joints_basis, self._points, *self._out,
        )  # fmt: skip
        return self._posed


def _given(basis: Tensor | None, size: int) -> Tensor:
    return torch.zeros(0, size) if basis is None else basis


def _array(tensor: Tensor) -> NDArray[Any]:
    return tensor.detach().contiguous().numpy()


def _runs(basis: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """A basis [E, V * 3] without its zeros: a face unit moves a part of the face, a sixth of it on average.

    Gives the values of all runs of _RUN columns that are not zero [R, _RUN], each run's first column [R], and
    where each weight's runs begin [E + 1].
    """
    num, size = basis.shape
    padded = np.zeros((num, -(-size // _RUN) * _RUN), F)
    padded[:, :size] = basis
    runs = padded.reshape(num, padded.shape[1] // _RUN, _RUN)  # -1 cannot be told of no weights
    weight, place = np.nonzero((runs != 0).any(2))
    return runs[weight, place], place * _RUN, np.searchsorted(weight, np.arange(num + 1))


@kernel
def _pose_rig(
    expression, pose, translation, template, joints, parents, skin,
    run_values, run_columns, run_starts, pose_basis, joints_basis, points, vertices, transforms,
):  # fmt: skip
    """Fill `vertices` [V, 3] and `transforms` [J, 3, 4]; `skin` is [J, V], `points` scratch."""
    moved = joints.copy()
    for e in range(min(joints_basis.shape[0], expression.shape[0])):
        for j in range(joints.shape[0]):
            for axis in range(3):
                moved[j, axis] += expression[e] * joints_basis[e, 3 * j + axis]
    corrections = np.zeros(max(0, 9 * (joints.shape[0] - 1)), F)
    _joint_transforms(pose, translation, moved, parents, corrections, transforms)
    for k in range(template.shape[0]):  # an assignment of slices compiles for two seconds
        points[k] = template[k]
    for e in range(expression.shape[0]):
        if abs(expression[e]) > _LEAST_WEIGHT:
            for run in range(run_starts[e], run_starts[e + 1]):
                _add_run(points, run_columns[run], run_values, run, expression[e])
    for c in range(pose_basis.shape[0]):
        if corrections[c] != F(0):
            for k in range(template.shape[0]):
                points[k] += corrections[c] * pose_basis[c, k]
    matrix = np.empty((12, _BLOCK), F)
    for start in range(0, vertices.shape[0], _BLOCK):
        count = min(_BLOCK, vertices.shape[0] - start)
        _blend_transforms(transforms, skin, start, count, matrix)
        for j in range(count):
            v = start + j
            x, y, z = points[3 * v], points[3 * v + 1], points[3 * v + 2]
            for r in range(3):
                vertices[v, r] = (
                    matrix[4 * r, j] * x + matrix[4 * r + 1, j] * y + matrix[4 * r + 2, j] * z
                    + matrix[4 * r + 3, j]
                )  # fmt: skip


@inlined
def _add_run(points, column, values, run, weight):
    for k in range(_RUN):
        points[column + k] += weight * values[run, k]


@inlined
def _blend_transforms(transforms, skin, start, count, matrix):
    """Joint transforms blended by the weights of a block of vertices -> [12, count]."""
    for row in range(matrix.shape[0]):
        for j in range(count):
            matrix[row, j] = F(0)
    for joint in range(transforms.shape[0]):
        weights = skin[joint]
        any_weight = F(0)
        for j in range(count):
            any_weight = max(any_weight, abs(weights[start + j]))
        if any_weight == F(0):
            continue
        for r in range(3):
            for c in range(4):
                value, row = transforms[joint, r, c], matrix[4 * r + c]
                for j in range(count):
                    row[j] += weights[start + j] * value


@kernel
def _joint_transforms(pose, translation, joints, parents, corrections, transforms):
    """[J, 3] axis-angles -> rest-to-world [J, 3, 4]; `corrections` get the rotations less the identity."""
    position = np.empty((joints.shape[0], 3), F)
    local = np.empty((3, 3), F)
    for j in range(joints.shape[0]):
        _rotation(pose[j, 0], pose[j, 1], pose[j, 2], local)
        parent, world = parents[j], transforms[j]
        for r in range(3):
            if parent < 0:
                position[j, r] = joints[j, r] + translation[r]
            else:
                position[j, r] = position[parent, r]
            for c in range(3):
                if parent < 0:
                    world[r, c] = local[r, c]
                else:
                    above = transforms[parent]
                    world[r, c] = (
                        above[r, 0] * local[0, c] + above[r, 1] * local[1, c] + above[r, 2] * local[2, c]
                    )
                    position[j, r] += above[r, c] * (joints[j, c] - joints[parent, c])
                if j:
                    corrections[9 * (j - 1) + 3 * r + c] = local[r, c] - (F(1) if r == c else F(0))
    for j in range(joints.shape[0]):
        world = transforms[j]
        for r in range(3):
            turned = world[r, 0] * joints[j, 0] + world[r, 1] * joints[j, 1] + world[r, 2] * joints[j, 2]
            world[r, 3] = position[j, r] - turned


@inlined
def _rotation(x, y, z, out):
    """Axis-angle -> [3, 3], by the formulas of render/rotations.py."""
    square = x * x + y * y + z * z
    if square < _SMALL:
        a = F(1) - square / F(6) * (F(1) - square / F(20))
        b = F(0.5) - square / F(24) * (F(1) - square / F(30))
    else:
        angle = F(math.sqrt(square))
        half = F(math.sin(F(0.5) * angle))
        a = F(math.sin(angle)) / angle
        b = F(2) * half * half / square
    rest = F(1) - b * square
    out[0, 0], out[0, 1], out[0, 2] = rest + b * x * x, b * x * y - a * z, b * x * z + a * y
    out[1, 0], out[1, 1], out[1, 2] = b * x * y + a * z, rest + b * y * y, b * y * z - a * x
    out[2, 0], out[2, 1], out[2, 2] = b * x * z - a * y, b * y * z + a * x, rest + b * z * z
