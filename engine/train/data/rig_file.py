"""The rig of a dataset: named where it is kept elsewhere, written out where it is its own."""

from __future__ import annotations

import json
from pathlib import Path

from engine.errors import UsageError
from render.avatars.reader import ArrayReader
from render.avatars.writer import ArrayWriter
from render.errors import AvatarError
from render.rigs import storage
from render.rigs.reference import RigReference
from render.rigs.rig import Rig


def write_rig(path: Path, rig: Rig, reference: RigReference | None) -> None:
    """Write the reference, or the whole rig where there is none.

    Raises AvatarError for a rig whose licence forbids copies and that has no reference.
    """
    from safetensors.numpy import save_file

    writer = ArrayWriter(compact=False)
    entry = storage.write_rig(writer, rig, reference, prefix="")
    save_file(writer.arrays, path, {"rig": json.dumps(entry)})


def read_rig(path: Path) -> tuple[Rig, RigReference | None]:
    """The rig and how it is named. Raises UsageError naming the file; AvatarError from the model it names."""
    from safetensors import SafetensorError

    try:
        with ArrayReader(path) as reader:
            return storage.read_rig(reader, json.loads(reader.metadata["rig"]), prefix="")
    except AvatarError:
        raise
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} holds no usable rig ({error}): prepare the dataset again") from error
