"""Reading the files that are installed with the tracker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tracking.errors import TrackingError


@contextmanager
def opened_asset(path: Path, what: str) -> Iterator[Any]:
    """A safetensors file to read NumPy arrays from; `what` names it in messages.

    Raises TrackingError when the file, or something that is looked for in it, is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            yield file
    except (OSError, SafetensorError, KeyError) as error:
        message = f"{path}: the {what} cannot be read ({error}); install visavis again"
        raise TrackingError(message) from error
