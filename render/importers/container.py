"""Files that belong together, in a folder or in a .zip of one, read within bounds and never unpacked."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from render.errors import AvatarError
from render.importers.sound import check_expansion

# A head of LAM takes 4 MiB, ten million Gaussians of SOG 40 in the largest picture.
_MAX_FILE_BYTES = 256 << 20
_MAX_ENTRIES = 100_000
_DAMAGE = (OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError)


class Container:
    """Files by name in the one folder that holds `marker`: `path` itself, or the outermost one in it.

    Raises AvatarError, in one line with the path, when `path` is neither a folder nor an archive, when no
    folder or more than one holds the marker, and when an archive is damaged, encrypted or a trap.
    """

    def __init__(self, path: Path, marker: str) -> None:
        self.path = path
        self._zip = None if path.is_dir() else _opened(path)
        if self._zip is None:
            inside = sorted(p.parent for p in path.glob(f"*/{marker}") if not p.parent.name.startswith("."))
            folders = [path] if (path / marker).is_file() else inside
            self._folder = str(_only(folders, path, marker))
        else:
            self._entries = {_name(i, path): i for i in self._zip.infolist()}
            names = (PurePosixPath(n) for n in self._entries if not n.startswith("__MACOSX/"))
            self._folder = str(_only([n.parent for n in names if n.name == marker], path, marker))

    def where(self, name: str) -> Path:
        """How an error names a file of it."""
        return Path(self._folder, name) if self._zip is None else self.path / self._folder / name

    def read(self, name: str) -> bytes:
        """A whole file. Raises AvatarError when there is none of that name, or it is too large or damaged."""
        where = self.where(name)
        if PurePosixPath(name.replace("\\", "/")).name != name:
            raise AvatarError(f"{self.path} names {name!r}, which is no file beside it; export it again")
        try:
            if self._zip is None:
                _check_size(where, where.stat().st_size)
                return where.read_bytes()
            entry = self._entries.get(str(PurePosixPath(self._folder, name)))
            if entry is None:
                raise FileNotFoundError
            _check_size(where, entry.file_size, entry.compress_size)
            if entry.flag_bits & 1:
                raise AvatarError(
                    f"{self.path} is encrypted; unpack it with its password and name the folder"
                )
            with self._zip.open(entry) as file:
                return file.read(_MAX_FILE_BYTES + 1)
        except FileNotFoundError as error:
            raise AvatarError(f"{self.path} holds no {name}; export it again") from error
        except (*_DAMAGE, RuntimeError) as error:
            reason = " ".join(str(error).split())[:160]
            raise AvatarError(f"{where} cannot be read ({reason}); export it again") from error

    def close(self) -> None:
        if self._zip is not None:
            self._zip.close()

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def archive_names(path: Path) -> list[str]:
    """The files in a .zip, without what macOS adds. Raises AvatarError when it is damaged or a trap."""
    with _opened(path) as archive:
        names = [_name(entry, path) for entry in archive.infolist()]
    return [n for n in names if not n.startswith("__MACOSX/") and not n.endswith("/")]


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(path)
    except (*_DAMAGE, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise AvatarError(f"{path} is no whole .zip ({reason}); copy or download it again") from error
    if len(archive.infolist()) > _MAX_ENTRIES:
        archive.close()
        raise AvatarError(f"{path} holds more than {_MAX_ENTRIES} files; unpack it and name the folder")
    return archive


def _name(entry: zipfile.ZipInfo, path: Path) -> str:
    """An entry's name; some of Windows' archivers write backslashes."""
    name = entry.filename.replace("\\", "/")
    if name.startswith("/") or ".." in name.split("/") or name[1:2] == ":":
        raise AvatarError(f"{path} holds {name[:80]!r}, which leads out of it; do not trust it")
    return name


def _only(folders: list[Path] | list[PurePosixPath], path: Path, marker: str) -> Path | PurePosixPath:
    """The outermost of several folders."""
    if not folders:
        raise AvatarError(f"{path} holds no {marker}; name a folder or .zip that does")
    depth = min(len(f.parts) for f in folders)
    outermost = [f for f in folders if len(f.parts) == depth]
    if len(outermost) > 1:
        raise AvatarError(f"{path} holds {marker} in {len(outermost)} folders; name one of them")
    return outermost[0]


def _check_size(where: Path, size: int, packed: int | None = None) -> None:
    if size > _MAX_FILE_BYTES:
        raise AvatarError(f"{where} claims {size} bytes, more than the {_MAX_FILE_BYTES} that are read")
    if packed is not None:
        check_expansion(where, packed, size)
