"""Import of plain 3DGS .ply files: Gaussians without expressions, one rigid body that follows the head."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from render.avatars.avatar import Avatar, AvatarInfo
from render.avatars.bindings import SkinningBinding
from render.errors import AvatarError
from render.gaussians import Gaussians
from render.importers.gaussian_ply import gaussians_from_columns, read_vertices
from render.rigs.rig import Rig
from render.rotations import quaternion_multiply, quaternion_to_matrix
from render.sh import rotate_sh

Axes = Literal["y-up", "y-down", "z-up"]

# Quaternions wxyz that bring a file's upward axis to +y. y down is what cameras made by COLMAP give.
_TO_Y_UP = {
    "y-up": (1.0, 0.0, 0.0, 0.0),
    "y-down": (0.0, 1.0, 0.0, 0.0),
    "z-up": (math.sqrt(0.5), -math.sqrt(0.5), 0.0, 0.0),
}


def import_ply(path: Path | str, *, axes: Axes = "y-up", info: AvatarInfo | None = None) -> Avatar:
    """A 3DGS .ply as a static avatar; `axes` says where up is in the file.

    The origin is moved to the middle of the Gaussians. Raises AvatarError when the file is not one.
    """
    path = Path(path)
    columns = read_vertices(path)
    if "binding_0" in columns:
        raise AvatarError(f"{path} is bound to a FLAME mesh; import it with --flame and the FLAME model file")
    gaussians = rotated(gaussians_from_columns(columns, path), torch.tensor(_TO_Y_UP[axes]))
    if not gaussians.num_gaussians:
        raise AvatarError(f"{path} holds no Gaussians; export it again")
    middle = gaussians.means.median(0).values
    return Avatar(
        info=info or AvatarInfo(name=path.stem, provenance="plain 3DGS .ply, static"),
        rig=still_rig(),
        bindings=(SkinningBinding(torch.ones(gaussians.num_gaussians, 1)),),
        gaussians=replace(gaussians, means=gaussians.means - middle),
    )


def rotated(gaussians: Gaussians, quat: Tensor) -> Gaussians:
    """The same Gaussians turned about the origin by one rotation (wxyz [4]), colours included."""
    return replace(
        gaussians,
        means=gaussians.means @ quaternion_to_matrix(quat).T,
        quats=quaternion_multiply(quat.expand(gaussians.num_gaussians, 4), gaussians.quats),
        sh=rotate_sh(gaussians.sh, quat.expand(gaussians.num_gaussians, 4)),
    )


def still_rig() -> Rig:
    """One joint at the origin and one vertex on it; no expressions, no triangles."""
    return Rig(
        kind="skin",
        template=torch.zeros(1, 3),
        faces=torch.zeros(0, 3, dtype=torch.int64),
        expression_names=(),
        expression_basis=torch.zeros(0, 3),
        joint_names=("root",),
        parents=(-1,),
        joints_template=torch.zeros(1, 3),
        skin_weights=torch.ones(1, 1),
    )
