"""The rig of a dataset: named where it is kept elsewhere, written out where it is its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args

import torch
from torch import Tensor

from engine.errors import UsageError
from render.errors import AvatarError
from render.rigs.reference import RigReference, resolve
from render.rigs.rig import Rig, RigKind

_REFERENCE_PARTS = ("shape", "template_delta", "joints_delta")
_RIG_TENSORS = ("template", "faces", "expression_basis", "joints_template", "skin_weights")
_RIG_OPTIONAL = ("pose_basis", "joints_expression")


def write_rig(path: Path, rig: Rig, reference: RigReference | None) -> None:
    """Write the reference, or the whole rig where there is none.

    Raises UsageError for a rig whose licence forbids copies and that has no reference.
    """
    from safetensors.torch import save_file

    source: RigReference | Rig = rig if reference is None else reference
    header: dict[str, Any] = {"kind": rig.kind}
    if reference is not None:
        names: tuple[str, ...] = _REFERENCE_PARTS
        header |= {"fingerprint": reference.fingerprint, "file_hint": reference.file_hint}
        if reference.num_shapes is not None:
            header["num_shapes"] = reference.num_shapes
    elif rig.kind in ("flame", "smplx"):
        raise UsageError(f"a {rig.kind} rig may not be copied into a dataset: give its model file")
    else:
        names = (*_RIG_TENSORS, *_RIG_OPTIONAL)
        header |= {
            "expression_names": rig.expression_names,
            "joint_names": rig.joint_names,
            "parents": rig.parents,
        }
    tensors = {name: value for name in names if isinstance(value := getattr(source, name), Tensor)}
    save_file(
        {n: t.detach().cpu().contiguous() for n, t in tensors.items()}, path, {"rig": json.dumps(header)}
    )


def read_rig(path: Path) -> tuple[Rig, RigReference | None]:
    """The rig and how it is named. Raises UsageError naming the file; AvatarError from the model it names."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
            header = json.loads((file.metadata() or {})["rig"])
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"{name} holds a value that is not finite")
        return _rebuilt(header, tensors)
    except AvatarError:
        raise
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} holds no usable rig ({error}): prepare the dataset again") from error


def _rebuilt(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> tuple[Rig, RigReference | None]:
    if header["kind"] not in get_args(RigKind):
        raise ValueError(f"unknown kind of rig {header['kind']!r}")
    kind = cast(RigKind, header["kind"])
    if "fingerprint" in header:
        num_shapes = header.get("num_shapes")
        reference = RigReference(
            str(header["fingerprint"]),
            str(header["file_hint"]),
            None if num_shapes is None else int(num_shapes),
            **tensors,
        )
        return resolve(reference, kind), reference
    rig = Rig(
        kind=kind,
        expression_names=tuple(map(str, header["expression_names"])),
        joint_names=tuple(map(str, header["joint_names"])),
        parents=tuple(map(int, header["parents"])),
        **tensors,
    )
    if rig.faces.numel() and not 0 <= int(rig.faces.min()) <= int(rig.faces.max()) < rig.num_vertices:
        raise ValueError("a triangle names a vertex that is not there")
    return rig, None
