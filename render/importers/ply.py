"""Bare Gaussians as an avatar: without expressions, one rigid body that follows the head; from .ply files."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from render.avatars.avatar import Avatar, AvatarInfo
from render.avatars.bindings import SkinningBinding
from render.avatars.framing import reach_of
from render.errors import AvatarError
from render.gaussians import Gaussians
from render.importers.compressed_ply import is_compressed, read_compressed
from render.importers.gaussian_ply import gaussians_from_columns, open_ply, sh_degree
from render.importers.ply_file import PlyFile
from render.importers.sound import sound
from render.importers.splats import Splats, cut_note
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
_FAINT = 1 / 255
_FAR = 20.0  # times the distance that half of it keeps from its middle
_VEIL = 100.0  # a Gaussian this many times wider than the subject lies over the picture like fog


def import_ply(path: Path | str, *, axes: Axes = "y-up", info: AvatarInfo | None = None) -> Avatar:
    """A 3DGS or compressed .ply as a static avatar. Raises AvatarError when the file is neither."""
    path = Path(path)
    return static_avatar(read_splat_ply(path), path, axes=axes, info=info)


def static_avatar(
    splats: Splats, path: Path, *, axes: Axes = "y-up", info: AvatarInfo | None = None
) -> Avatar:
    """What a reader made of `path` as an avatar; `axes` says where up is in the file.

    The origin is moved to the middle of the Gaussians. A few broken ones are left out, which the provenance
    says; raises AvatarError when many are.
    """
    g = splats.gaussians
    gaussians, _, left_out = sound(g, path, {"a size beyond reason for the rest": _veils(g)})
    notes = [f"plain {splats.what}, static", *splats.notes, *([left_out] if left_out else [])]
    if float(gaussians.opacities().max()) < _FAINT:
        notes.append("all transparent, so that nothing can be seen")
    gaussians = rotated(gaussians, torch.tensor(_TO_Y_UP[axes]))
    gaussians = replace(gaussians, means=gaussians.means - gaussians.means.median(0).values)
    near, far = _floaters_apart(gaussians)
    place = path.resolve()
    default = AvatarInfo(name=place.name if path.is_dir() else place.stem)
    return Avatar(
        info=replace(info or default, provenance="; ".join(notes)),
        rig=still_rig(),
        bindings=tuple(SkinningBinding(torch.ones(len(run), 1)) for run in (near, far) if len(run)),
        gaussians=gaussians.chosen(torch.cat([near, far])) if len(far) else gaussians,
    )


def _veils(g: Gaussians) -> Tensor:
    """Which Gaussians [N] are so wide that nothing else could be seen."""
    widest = g.scales().max(1).values
    _, reach = reach_of(g.means, g.opacities(), g.scales())
    return widest > _VEIL * max(reach, float(widest.nanmedian()))


def _floaters_apart(g: Gaussians) -> tuple[Tensor, Tensor]:
    """Rows of what belongs together, and of what is far away: compact files store each in its own box."""
    middle, reach = reach_of(g.means, g.opacities(), g.scales())
    far = (g.means - middle).norm(dim=1) > _FAR * reach
    return (~far).nonzero()[:, 0], far.nonzero()[:, 0]


def read_splat_ply(path: Path) -> Splats:
    """Gaussians of a .ply, plain or compressed. Raises AvatarError when it holds none."""
    with open_ply(path) as ply:
        if is_compressed(ply):
            splats = Splats(read_compressed(ply, path), "compressed .ply")
        else:
            columns = ply.columns("vertex")
            if "binding_0" in columns:
                raise AvatarError(
                    f"{path} is bound to a FLAME mesh; import it with --flame and the FLAME model file"
                )
            gaussians = gaussians_from_columns(columns, path)
            splats = Splats(gaussians, "3DGS .ply", cut_note(sh_degree(columns)))
        return replace(splats, gaussians=replace(splats.gaussians, antialiased=_antialiased(ply)))


def _antialiased(ply: PlyFile) -> bool:
    """Which low-pass the Gaussians were made for, by the comments of those who say it (Brush, Postshot)."""
    smooth = False
    for comment in ply.comments:
        match comment.lower().split():
            case ["splatrendermode:", mode]:
                smooth = mode == "mip"
            case ["antialiased", value]:
                smooth = value == "1"
    return smooth


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
