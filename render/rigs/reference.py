"""Rigs that an avatar file names but does not hold: the built-in head, and models not to be copied."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from render.errors import AvatarError
from render.rigs.rig import Rig, RigKind


@dataclass(frozen=True)
class RigReference:
    """How to make an avatar's rig again from a rig that is kept elsewhere, checked by its fingerprint."""

    fingerprint: str  # of the rig as loaded, before anything below
    file_hint: str = ""  # name of the model file; empty for the built-in head
    shape: Tensor | None = None  # [S] identity weights to bake
    template_delta: Tensor | None = None  # [V, 3] metres, added after the identity
    joints_delta: Tensor | None = None  # [J, 3] metres, likewise

    def rebuild(self, base: Rig) -> Rig:
        """The avatar's rig from the referenced one. Raises ValueError when shapes do not fit."""
        rig = base
        if base.shape_basis is not None:
            rig = base.with_shape(
                base.template.new_zeros(base.num_shapes) if self.shape is None else self.shape
            )
        elif self.shape is not None:
            raise ValueError("identity weights for a rig without identity modes")
        if self.template_delta is not None:
            if self.template_delta.shape != rig.template.shape:
                raise ValueError(
                    f"vertex changes {tuple(self.template_delta.shape)} for {rig.num_vertices} vertices"
                )
            rig = replace(rig, template=rig.template + self.template_delta)
        if self.joints_delta is not None:
            if self.joints_delta.shape != rig.joints_template.shape:
                raise ValueError(
                    f"joint changes {tuple(self.joints_delta.shape)} for {rig.num_joints} joints"
                )
            rig = replace(rig, joints_template=rig.joints_template + self.joints_delta)
        return rig

    def to(self, device: torch.device | str) -> RigReference:
        def moved(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device)

        return replace(
            self,
            shape=moved(self.shape),
            template_delta=moved(self.template_delta),
            joints_delta=moved(self.joints_delta),
        )


def resolve(reference: RigReference, kind: RigKind, models_dir: Path | None = None) -> Rig:
    """Load the referenced rig, check its fingerprint, and rebuild the avatar's own from it.

    A model file is looked for under its name in `models_dir`, by default the folder VISAVIS_MODELS.
    Raises AvatarError when it is not there, is another model, or does not fit.
    """
    if kind == "head":
        from render.rigs.head import load_head

        base, where = load_head(), "the built-in head"
        remedy = "import the avatar again with this version of visavis"
    else:
        file = _model_file(reference, kind, models_dir)
        base, where = _load_model(kind, file), str(file)
        remedy = f"put the model the avatar was made with there, named {reference.file_hint}"
    if base.fingerprint() != reference.fingerprint:
        raise AvatarError(
            f"{where} is another rig than the avatar's: its fingerprint is {base.fingerprint()[:12]}, "
            f"the avatar needs {reference.fingerprint[:12]}; {remedy}"
        )
    return reference.rebuild(base)


def _model_file(reference: RigReference, kind: RigKind, models_dir: Path | None) -> Path:
    name = reference.file_hint
    if not name or Path(name).name != name:
        raise AvatarError(f"the avatar names no {kind} model file but {name!r}; import it again")
    folder = models_dir or Path(os.environ.get("VISAVIS_MODELS", ""))
    if models_dir is None and not os.environ.get("VISAVIS_MODELS"):
        raise AvatarError(
            f"this avatar needs the {kind} model file {name}, which its licence keeps out of avatar files; "
            "set VISAVIS_MODELS to the folder that holds it"
        )
    file = folder / name
    if not file.is_file():
        raise AvatarError(
            f"this avatar needs the {kind} model file {name}, which is not in {folder}; "
            "put it there, or set VISAVIS_MODELS to the folder that holds it"
        )
    return file


def _load_model(kind: RigKind, file: Path) -> Rig:
    if kind == "flame":
        from render.rigs.flame import load_flame

        return load_flame(file)
    if kind == "smplx":
        from render.rigs.smplx import load_smplx

        return load_smplx(file)
    raise AvatarError(f"a rig of kind {kind} is never kept apart from its avatar; import the avatar again")
