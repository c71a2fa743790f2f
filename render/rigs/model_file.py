"""A face model's file of whatever kind."""

from __future__ import annotations

from pathlib import Path

from render.errors import AvatarError
from render.rigs.reference import KeptRig
from render.rigs.table import RIGS


def open_model(path: Path, num_shapes: int | None = None) -> KeptRig:
    """The rig of a model file: the first kind in the table that it fits.

    Raises AvatarError when it is missing, damaged or of no known model, or tries to run code.
    """
    refusals = []
    for row in RIGS.values():
        if row.opened is not None:
            try:
                return row.opened(path, num_shapes)
            except AvatarError as error:
                refusals.append((row.title, str(error)))
    messages = {message for _, message in refusals}
    if len(messages) == 1:
        raise AvatarError(messages.pop())
    reasons = "; ".join(f"not {title}: {message.removeprefix(f'{path}: ')}" for title, message in refusals)
    raise AvatarError(f"{path} is no face model's file ({reasons})")
