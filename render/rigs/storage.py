"""A rig in a file: named where it is kept elsewhere, whole where its licence lets it travel.

Avatar files and datasets both hold one: a JSON entry and arrays under the names of `Rig` and `RigReference`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from render.errors import AvatarError
from render.rigs.reference import FINGERPRINT_MARK, RigReference
from render.rigs.rig import Rig
from render.rigs.table import RIGS

_PERSONAL: dict[str, tuple[int | None, ...]] = {
    "shape": (None,),
    "template_delta": (None, 3),
    "joints_delta": (None, 3),
}


class Writer(Protocol):
    """Where arrays are written; `bits` and `how` say what a compact file makes of them."""

    def exact(self, name: str, tensor: Tensor) -> None: ...
    def floats(self, name: str, tensor: Tensor | None, bits: int, how: str) -> None: ...
    def indices(self, name: str, tensor: Tensor) -> None: ...


class Reader(Protocol):
    """Where arrays are read with distrust; None in a shape is any length."""

    def __contains__(self, name: str) -> bool: ...
    def floats(self, name: str, shape: tuple[int | None, ...]) -> Tensor: ...
    def weights(self, name: str, shape: tuple[int | None, ...]) -> Tensor: ...
    def indices(self, name: str, shape: tuple[int | None, ...], *, below: int) -> Tensor: ...


def write_rig(
    writer: Writer, rig: Rig, reference: RigReference | None, prefix: str = "rig."
) -> dict[str, Any]:
    """Write the arrays of the reference, or of the whole rig where there is none; returns the JSON entry.

    Raises AvatarError for a rig whose licence forbids copies and that has no reference.
    """
    if reference is not None:
        for name in _PERSONAL:
            writer.floats(prefix + name, getattr(reference, name), 16, "box")
        entry = {
            "kind": rig.kind,
            "source": "reference",
            "fingerprint": reference.fingerprint,
            "file_hint": reference.file_hint,
            "parts": [name for name in _PERSONAL if getattr(reference, name) is not None],
        }
        return entry if reference.num_shapes is None else {**entry, "num_shapes": reference.num_shapes}
    if not RIGS[rig.kind].embeddable:
        raise AvatarError(
            f"a {RIGS[rig.kind].title} rig is never written into an avatar file or a dataset (its licence "
            "forbids copies); save what was imported or prepared with its model file"
        )
    writer.exact(f"{prefix}template", rig.template)
    writer.indices(f"{prefix}faces", rig.faces)
    writer.floats(f"{prefix}expression_basis", rig.expression_basis, 16, "scaled")
    writer.exact(f"{prefix}joints_template", rig.joints_template)
    writer.floats(f"{prefix}skin_weights", rig.skin_weights, 16, "box")
    writer.floats(f"{prefix}pose_basis", rig.pose_basis, 16, "scaled")
    writer.floats(f"{prefix}joints_expression", rig.joints_expression, 16, "scaled")
    return {
        "kind": rig.kind,
        "source": "embedded",
        "expression_names": list(rig.expression_names),
        "joint_names": list(rig.joint_names),
        "parents": list(rig.parents),
        "parts": [n for n in ("pose_basis", "joints_expression") if getattr(rig, n) is not None],
    }


def read_rig(
    reader: Reader, entry: Mapping[str, Any], *, models_dir: Path | None = None, prefix: str = "rig."
) -> tuple[Rig, RigReference | None]:
    """The rig and, where it is kept elsewhere, how it is named; `models_dir` as for `resolve`.

    Raises AvatarError as `resolve` does, and ValueError, KeyError or TypeError for what is damaged.
    """
    kind = str(entry["kind"])
    if kind not in RIGS:
        raise ValueError(f"unknown kind of rig {kind!r}")
    if "fingerprint" in entry:
        reference = _read_reference(reader, entry, prefix)
        return resolve(reference, kind, models_dir), reference
    if not RIGS[kind].embeddable:
        raise ValueError(f"a whole {kind} rig, which no file of ours may hold")
    template = reader.floats(f"{prefix}template", (None, 3))
    expressions = tuple(str(name) for name in entry["expression_names"])
    joints = tuple(str(name) for name in entry["joint_names"])
    if len(joints) > 1024 or len(expressions) > 4096:
        raise ValueError(f"{len(joints)} joints and {len(expressions)} expressions are more than any rig has")
    v, e, j = template.shape[0], len(expressions), len(joints)
    optional: dict[str, tuple[int, ...]] = {
        "pose_basis": ((j - 1) * 9, v * 3),
        "joints_expression": (e, j * 3),
    }
    given = {n: reader.floats(prefix + n, optional[n]) for n in _parts(reader, entry, optional, prefix)}
    rig = Rig(
        kind=kind,
        template=template,
        faces=reader.indices(f"{prefix}faces", (None, 3), below=v),
        expression_names=expressions,
        expression_basis=reader.floats(f"{prefix}expression_basis", (e, v * 3)),
        joint_names=joints,
        parents=tuple(int(p) for p in entry["parents"]),
        joints_template=reader.floats(f"{prefix}joints_template", (j, 3)),
        skin_weights=reader.weights(f"{prefix}skin_weights", (v, j)),
        pose_basis=given.get("pose_basis"),
        joints_expression=given.get("joints_expression"),
    )
    return rig, None


def _read_reference(reader: Reader, entry: Mapping[str, Any], prefix: str) -> RigReference:
    num_shapes = entry.get("num_shapes")
    parts = _parts(reader, entry, _PERSONAL, prefix)
    return RigReference(
        str(entry["fingerprint"]),
        str(entry["file_hint"]),
        None if num_shapes is None else int(num_shapes),
        **{name: reader.floats(prefix + name, _PERSONAL[name]) for name in parts},
    )


def _parts(reader: Reader, entry: Mapping[str, Any], known: Mapping[str, object], prefix: str) -> list[str]:
    """Names of the optional arrays; datasets did not list theirs once."""
    return list(entry["parts"]) if "parts" in entry else [name for name in known if prefix + name in reader]


def resolve(reference: RigReference, kind: str, models_dir: Path | None = None) -> Rig:
    """Open the referenced rig, check its fingerprint, and rebuild the avatar's own from it.

    A model file is looked for under its name in `models_dir`, by default the folder VISAVIS_MODELS.
    Raises AvatarError when it is not there, is another model, or does not fit.
    """
    row = RIGS[kind]
    if row.shipped is not None:
        kept, where = row.shipped(), row.title
        remedy = "import the avatar again with this version of visavis"
    elif row.opened is not None:
        file = _model_file(reference, row.title, models_dir)
        kept, where = row.opened(file, reference.num_shapes), str(file)
        remedy = f"put the model the avatar was made with there, named {reference.file_hint}"
    else:
        raise AvatarError(
            f"a rig of kind {kind} is never kept apart from its avatar; import the avatar again"
        )
    if not kept.is_named_by(reference.fingerprint):
        found, needed = (
            f.removeprefix(FINGERPRINT_MARK)[:12] for f in (kept.fingerprint, reference.fingerprint)
        )
        raise AvatarError(
            f"{where} is another rig than the avatar's: its fingerprint is {found}, "
            f"the avatar needs {needed}; {remedy}"
        )
    return reference.rebuild(kept.rig)


def _model_file(reference: RigReference, title: str, models_dir: Path | None) -> Path:
    name = reference.file_hint
    if not name or Path(name).name != name:
        raise AvatarError(f"the avatar names no {title} model file but {name!r}; import it again")
    folder = models_dir or Path(os.environ.get("VISAVIS_MODELS", ""))
    if models_dir is None and not os.environ.get("VISAVIS_MODELS"):
        raise AvatarError(
            f"this avatar needs the {title} model file {name}, which its licence keeps out of avatar files; "
            "set VISAVIS_MODELS to the folder that holds it"
        )
    file = folder / name
    if not file.is_file():
        raise AvatarError(
            f"this avatar needs the {title} model file {name}, which is not in {folder}; "
            "put it there, or set VISAVIS_MODELS to the folder that holds it"
        )
    return file
