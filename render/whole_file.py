"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_LONGEST_NAME = 255  # bytes, where the system does not say


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A new name beside `path` to write to: safely `path` at the end, or gone when anything fails.

    Raises OSError when the folder or the disk refuses.
    """
    temporary = temporary_name(path)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # gone after the rename; never there in a folder that is not
            temporary.unlink()


def temporary_name(path: Path) -> Path:
    """A hidden name beside `path`, of this process and with its ending, that fits wherever `path` does.

    What of the name does not fit, or is no text (bytes that are no UTF-8), is left out.
    """
    tail = f".{os.getpid()}.part{_text(path.suffix, 32)}"
    room = _longest_name(path.parent) - len(tail.encode()) - 1
    return path.with_name(f".{_text(path.stem, room)}{tail}")


def _text(name: str, most: int) -> str:
    """As much of a name as is text and fits `most` bytes."""
    return name.encode("utf-8", "ignore")[:most].decode("utf-8", "ignore")


def _longest_name(folder: Path) -> int:
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # not on Windows, nor in a folder that is not there
        return _LONGEST_NAME
