"""Avatars by name: the built-in people, or any avatar file by its path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from render.errors import AvatarError

if TYPE_CHECKING:
    from render.avatars.avatar import Avatar

SUFFIX = ".avatar"
DEFAULT_AVATAR = "vera"
_ASSETS = Path(__file__).parents[1] / "assets"


def builtin_names() -> tuple[str, ...]:
    """Names of the built-in avatars, in alphabetical order."""
    return tuple(sorted(file.stem for file in _ASSETS.glob(f"*{SUFFIX}")))


def builtin_path(name: str) -> Path:
    """The file of a built-in avatar."""
    return _ASSETS / f"{name}{SUFFIX}"


def open_avatar(name_or_path: str | Path) -> Avatar:
    """A built-in avatar by name, or an avatar file by path; a built-in name wins over a file of that name.

    Raises AvatarError when there is neither, or the file is not a valid avatar.
    """
    from render.avatars.file import load_avatar  # with torch, which a name alone does not need

    name = str(name_or_path)
    if name in builtin_names():
        return load_avatar(builtin_path(name))
    path = Path(name_or_path)
    if not path.exists():
        known = ", ".join(builtin_names()) or "none"
        raise AvatarError(f"no avatar {name}: neither a file nor a built-in one ({known}); name one of these")
    if path.is_dir():
        raise AvatarError(
            f"{path} is a folder; import it with `visavis avatar import {path} -o NAME{SUFFIX}`"
        )
    return load_avatar(path)
