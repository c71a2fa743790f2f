"""The file layout that FLAME and SMPL-X share, as a rig."""

from __future__ import annotations

import numpy as np
import torch

from render.errors import AvatarError
from render.rigs.articulation import Articulation
from render.rigs.reference import KeptRig, fingerprint_of
from render.rigs.rig import Rig
from render.rigs.safe_load import ModelFile
from render.rigs.units import COMPONENT

# Blendshapes that shut the lids, [V, 3], where the user's file has them: no component of FLAME does it alone.
# metrical-tracker and what builds on it keep the first two beside the model.
_LIDS = {"l_eyelid": "eyeBlinkLeft", "r_eyelid": "eyeBlinkRight", "eyesClosed": "eyesClosed"}
_ARRAYS = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")


# Columns of `shapedirs` -> how many of them are the identity's. Above 300 the first 300 are: so have all
# official files of FLAME (2019 to 2023 Open) and SMPL-X; older SMPL-X files have ten and ten, and files cut
# for trackers that use so many (DECA, EMOCA, INSTA) a hundred and fifty.
# Source: the loaders of the official `smplx` package, of DECA and of GaussianAvatars.
_NUM_SHAPES = {20: 10, 150: 100}


def num_identity_columns(file: ModelFile, num_columns: int, num_shapes: int | None = None) -> int:
    """How many of the columns of `shapedirs` are the identity's: `num_shapes` where it is given.

    Raises AvatarError where the layout is unknown and nothing is given, or more is given than is there.
    """
    known = 300 if num_columns > 300 else _NUM_SHAPES.get(num_columns)
    found = known if num_shapes is None else num_shapes
    if found is None:
        raise AvatarError(
            f"{file.path}: 'shapedirs' has {num_columns} columns, known layouts 20, 150 or more than 300: "
            "say with --shapes how many are the identity's"
        )
    if not 0 < found <= num_columns:
        raise AvatarError(f"{file.path}: 'shapedirs' has {num_columns} columns, not {found} of the identity")
    return found


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


def rig_from_file(
    file: ModelFile,
    kind: str,
    joint_names: tuple[str, ...],
    articulation: Articulation,
    num_shapes: int | None = None,
) -> KeptRig:
    """The rig of the file's arrays under their official names, `v_template` and so on.

    `num_shapes` of the file's columns are the identity's, where its layout is not a known one.

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
    identities = num_identity_columns(file, directions.shape[2], num_shapes)
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
    components = [f"{COMPONENT}{i}" for i in range(len(basis) - identities)]
    lids = {name: file.array(name, ndim=2).astype(np.float32) for name in _LIDS if name in file}
    for name, array in lids.items():
        _check(file, name, array.shape, (num_vertices, 3))
    shut = torch.from_numpy(np.stack(list(lids.values()))) if lids else basis.new_zeros(0, num_vertices * 3)
    rig = Rig(
        kind=kind,
        template=torch.from_numpy(template),
        faces=torch.from_numpy(faces),
        expression_names=(*components, *(_LIDS[name] for name in lids)),
        expression_basis=torch.cat([basis[identities:], shut.flatten(1)]),
        joint_names=joint_names,
        parents=_parents(file, num_joints),
        joints_template=torch.from_numpy(regressor @ template),
        skin_weights=torch.from_numpy(weights),
        articulation=articulation,
        shape_basis=basis[:identities],
        pose_basis=torch.from_numpy(np.ascontiguousarray(pose.reshape(num_vertices * 3, -1).T)),
        joints_shape=joint_basis[:identities],
        joints_expression=torch.cat(
            [joint_basis[identities:], joint_basis.new_zeros(len(lids), num_joints * 3)]
        ),
    )
    own = {name: file.array(name) for name in _ARRAYS} | lids
    return KeptRig(rig, fingerprint_of(own, [kind]), file.path.name, num_shapes, torch.from_numpy(regressor))
