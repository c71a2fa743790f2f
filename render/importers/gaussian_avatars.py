"""Import of GaussianAvatars heads: a .ply whose Gaussians are local to a model's triangles (`binding_0`).

Source: S. Qian et al., "GaussianAvatars: Photorealistic Head Avatars with Rigged 3D Gaussians", 2024.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from render.avatars.avatar import Avatar, AvatarInfo
from render.avatars.bindings import TriangleBinding
from render.errors import AvatarError
from render.importers.gaussian_ply import gaussians_from_columns, read_vertices
from render.importers.sound import sound
from render.rigs.flame import reference_of_person
from render.rigs.reference import KeptRig, RigReference
from render.rigs.table import RIGS

_SIDE_FILE = "{kind}_param.npz"  # beside the .ply, from the method's training: identity and vertex offsets


def import_gaussian_avatars(
    ply: Path | str,
    model: Path | str,
    *,
    kind: str = "flame",
    num_shapes: int | None = None,
    info: AvatarInfo | None = None,
) -> Avatar:
    """A rigged .ply and its model file as an avatar that refers to that file and holds no copy of it.

    `kind` of model: a row of `RIGS` that is opened from a user's file; `num_shapes` of its columns are the
    identity's, where its layout is not a known one.

    Identity and vertex offsets come from `flame_param.npz` beside the .ply (`smplx_param.npz` on SMPL-X) when
    it is there. The method adds teeth to FLAME at training time; Gaussians on triangles the model file does
    not have are left out, and the avatar's provenance says how many.
    Raises AvatarError when a file is missing, damaged, or fits the other not.
    """
    ply, model, row = Path(ply), Path(model), RIGS[kind]
    if row.opened is None:
        raise ValueError(f"{row.title} is not opened from a file")
    columns = read_vertices(ply)
    if "binding_0" not in columns:
        raise AvatarError(f"{ply} has no binding_0 column; import it without a model, as a static .ply")
    kept = row.opened(model, num_shapes)
    base = kept.rig
    face_index = torch.from_numpy(np.asarray(columns["binding_0"]).astype(np.int64))
    if len(face_index) and int(face_index.min()) < 0:
        raise AvatarError(f"{ply} binds a Gaussian to triangle {int(face_index.min())}; export it again")
    known = face_index < base.faces.shape[0]
    if not bool(known.any()):
        raise AvatarError(
            f"{ply} has no Gaussian on the {base.faces.shape[0]} triangles of {model}; "
            f"name the {row.title} model it was made with"
        )
    gaussians, whole, broken = sound(gaussians_from_columns(columns, ply).chosen(known), ply)
    reference = _reference(ply.with_name(_SIDE_FILE.format(kind=kind)), kept)
    left_out = int((~known).sum())
    provenance = f"GaussianAvatars .ply on {model.name}"
    if left_out:
        provenance += f"; {left_out} Gaussians on triangles that model does not have were left out"
    if broken:
        provenance += f"; {broken}"
    default = AvatarInfo(name=ply.stem)
    return Avatar(
        info=replace(info or default, provenance=provenance),
        rig=reference.rebuild(base),
        bindings=(TriangleBinding(face_index[known][whole]),),
        gaussians=gaussians,
        rig_reference=reference,
    )


def _reference(side_file: Path, model: KeptRig) -> RigReference:
    if not side_file.is_file():
        return model.reference()
    try:
        with np.load(side_file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in ("shape", "static_offset") if name in stored}
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:160]
        raise AvatarError(
            f"{side_file} cannot be read ({reason}); move it away or export it again"
        ) from error
    return reference_of_person(model, arrays, side_file)
