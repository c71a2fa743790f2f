"""The file layout that FLAME and SMPL-X share, as a rig."""

from __future__ import annotations

import numpy as np
import torch

from render.errors import AvatarError
from render.rigs.rig import Rig, RigKind
from render.rigs.safe_load import ModelFile


def split_columns(file: ModelFile, num_columns: int) -> tuple[int, int]:
    """How many identity and expression columns `shapedirs` has: 300 and the rest, or ten and ten.

    Source: the loaders of the official `smplx` and FLAME packages.
    """
    if num_columns > 300:
        return 300, num_columns - 300
    if num_columns == 20:
        return 10, 10
    message = f"{file.path}: 'shapedirs' has {num_columns} columns; known layouts have 20 or more than 300"
    raise AvatarError(message)


def _check(file: ModelFile, name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if shape != expected:
        raise AvatarError(f"{file.path}: '{name}' has shape {shape}, expected {expected}")


def _parents(file: ModelFile, num_joints: int) -> tuple[int, ...]:
    table = file.array("kintree_table", ndim=2)
    _check(file, "kintree_table", table.shape, (2, num_joints))
    parents = (-1, *(int(parent) for parent in table[0, 1:]))
    if any(not 0 <= parent < joint for joint, parent in enumerate(parents[1:], start=1)):
        raise AvatarError(f"{file.path}: 'kintree_table' is no tree with parents before children")
    return parents


def rig_from_file(file: ModelFile, kind: RigKind, joint_names: tuple[str, ...]) -> Rig:
    """Build the rig from the file's arrays under their official names, `v_template` and so on.

    Raises AvatarError naming the array that is missing, damaged or does not fit the others.
    """
    template = file.array("v_template", ndim=2).astype(np.float32)
    num_vertices, num_joints = len(template), len(joint_names)
    _check(file, "v_template", template.shape, (num_vertices, 3))
    faces = file.array("f", ndim=2).astype(np.int64)
    _check(file, "f", faces.shape, (len(faces), 3))
    if not len(faces) or faces.min() < 0 or faces.max() >= num_vertices:
        raise AvatarError(f"{file.path}: 'f' names vertices outside 0..{num_vertices - 1}")
    directions = file.array("shapedirs", ndim=3).astype(np.float32)
    _check(file, "shapedirs", directions.shape[:2], (num_vertices, 3))
    num_shapes, _ = split_columns(file, directions.shape[2])
    pose = file.array("posedirs", ndim=3).astype(np.float32)
    _check(file, "posedirs", pose.shape, (num_vertices, 3, (num_joints - 1) * 9))
    regressor = file.array("J_regressor", ndim=2).astype(np.float32)
    _check(file, "J_regressor", regressor.shape, (num_joints, num_vertices))
    weights = file.array("weights", ndim=2).astype(np.float32)
    _check(file, "weights", weights.shape, (num_vertices, num_joints))
    if not np.allclose(weights.sum(1), 1, atol=1e-3) or weights.min() < -1e-6:
        raise AvatarError(f"{file.path}: 'weights' are no skinning weights: rows must sum to 1")

    basis = torch.from_numpy(np.ascontiguousarray(directions.transpose(2, 0, 1)))  # [columns, V, 3]
    joint_basis = torch.from_numpy(regressor) @ basis
    basis, joint_basis = basis.flatten(1), joint_basis.flatten(1)
    num_expressions = len(basis) - num_shapes
    return Rig(
        kind=kind,
        template=torch.from_numpy(template),
        faces=torch.from_numpy(faces),
        expression_names=tuple(f"expression_{i}" for i in range(num_expressions)),
        expression_basis=basis[num_shapes:],
        joint_names=joint_names,
        parents=_parents(file, num_joints),
        joints_template=torch.from_numpy(regressor @ template),
        skin_weights=torch.from_numpy(weights),
        shape_basis=basis[:num_shapes],
        pose_basis=torch.from_numpy(np.ascontiguousarray(pose.reshape(num_vertices * 3, -1).T)),
        joints_shape=joint_basis[:num_shapes],
        joints_expression=joint_basis[num_shapes:],
    )
