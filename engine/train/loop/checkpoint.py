"""The file a training run continues from, read by torch's weights-only loader: nothing in it is run."""

from __future__ import annotations

import errno
import io
from pathlib import Path
from typing import Any

import torch

from engine.errors import UsageError
from render.whole_file import whole_file
from transport.errors import OutputError

FORMAT = "visavis training checkpoint"
VERSION = 1


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replace `path` by tensors, numbers, strings, lists and dicts of them, all or nothing.

    Until the new one is safely on the disk the old one stays. Raises OutputError when the disk refuses.
    """
    data = io.BytesIO()  # torch hides the disk's own error when it writes to a path
    torch.save({"format": FORMAT, "version": VERSION, "state": state}, data)
    try:
        with whole_file(path) as temporary:
            temporary.write_bytes(data.getbuffer())
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        size = f"{data.getbuffer().nbytes / 2**20:.1f} MiB"
        reason = f"no room for {size} on the disk" if full else (error.strerror or str(error))
        kept = "; the last good checkpoint stays, make room and go on with --resume" if path.exists() else ""
        raise OutputError(f"cannot write {path}: {reason}{kept}") from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state that `write_checkpoint` was given, on the CPU. Raises UsageError for anything else."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UsageError(f"there is no checkpoint {path} to resume from; start without --resume") from error
    except Exception as error:  # of damaged bytes torch raises whatever they lead it to
        raise UsageError(
            f"{path} is not a training checkpoint, or damaged; delete it and start without --resume"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UsageError(f"{path} is not a training checkpoint; delete it and start without --resume")
    if content["version"] != VERSION:
        raise UsageError(
            f"{path} was written by another version of visavis (format {content['version']}, "
            f"this one reads {VERSION}); delete it and start without --resume"
        )
    return dict(content["state"])
