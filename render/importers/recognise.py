"""What kind of avatar or Gaussian file something is, by what it holds and not by what it is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from render.avatars.avatar import Avatar
from render.errors import AvatarError
from render.importers import sog, spz
from render.importers.container import archive_names
from render.importers.ply import Axes, read_splat_ply, static_avatar
from render.importers.splat import looks_like_splat, read_splat
from render.importers.splats import Splats

Kind = Literal["lam", "model", "ply", "spz", "splat", "sog"]

_READERS: dict[str, Callable[[Path], Splats]] = {
    "ply": read_splat_ply,
    "spz": spz.read_spz,
    "splat": read_splat,
    "sog": sog.read_sog,
}
_HEAD_BYTES = 32 * 1024
_PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"glTF", "a binary glTF; a LAM head is its whole folder, Gaussians in glTF go through a .ply"),
    (0, b"version https://git-lfs", "a pointer of Git LFS, not the file itself; fetch it with git lfs pull"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it first"),
    (0, b"BZh", "compressed with bzip2; unpack it first"),
    (0, b"\xfd7zXZ", "compressed with xz; unpack it first"),
    (0, b"7z\xbc\xaf", "a 7-Zip archive; unpack it first"),
    (0, b"Rar!", "a RAR archive; unpack it first"),
    (257, b"ustar", "a tar archive; unpack it first"),
    (0, b"\x89PNG", "a picture, no avatar"),
    (0, b"\xff\xd8\xff", "a picture, no avatar"),
    (8, b"WEBP", "one picture; of a SOG, name the folder or its meta.json"),
    (4, b"ftyp", "a film, no avatar"),
    (0, b"PXR-USDC", "a USD scene; export a .ply instead"),
    (8, b'{"', "an .avatar or other safetensors file; what is an .avatar needs no import"),
)


def kind_of(path: Path) -> Kind:
    """The kind of a file or folder. Raises AvatarError that says what it is for one that cannot be read."""
    if path.is_dir():
        return "lam" if (path / "skin.glb").is_file() or not (path / sog.MARKER).is_file() else "sog"
    if not path.is_file():
        raise AvatarError(f"{path} is neither a file nor a folder; save what it gives to a file first")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        if not head:
            raise AvatarError(f"{path} is empty; copy or download it again")
        return _kind_of_bytes(head, path)
    except OSError as error:
        raise AvatarError(f"{path} cannot be read: {error.strerror or error}; check the path") from error


def import_splats(path: Path | str, *, axes: Axes = "y-up") -> Avatar:
    """Bare Gaussians of any kind as a static avatar; `axes` says where up is in the file.

    Raises AvatarError when the file is damaged or holds none.
    """
    path = Path(path)
    kind = kind_of(path)
    if kind not in _READERS:
        raise AvatarError(f"{path} holds no bare Gaussians; import it as what it is")
    # A SOG's meta.json stands for its folder.
    place = path.parent if kind == "sog" and path.name == sog.MARKER else path
    try:
        splats = _READERS[kind](place)
    except OSError as error:
        raise AvatarError(f"{path} cannot be read: {error.strerror or error}; check the path") from error
    except MemoryError as error:
        raise AvatarError(f"{path} needs more memory than there is; cut it first") from error
    return static_avatar(splats, place, axes=axes)


def _kind_of_bytes(head: bytes, path: Path) -> Kind:
    if head[:3] == b"ply" and head[3:4] in (b"\n", b"\r", b" ", b"\t"):
        return "ply"
    if head.startswith(spz.MAGIC):
        return "spz"
    if head.startswith(b"\x1f\x8b"):
        inside = spz.gzip_begins_with(path)
        if inside.startswith(spz.MAGIC):
            return "spz"
        raise AvatarError(
            f"{path} is {'a .ply' if inside[:3] == b'ply' else 'a file'} in gzip; unpack it first"
        )
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _kind_of_archive(path)
    if looks_like_splat(head):
        return "splat"  # before all that a few bytes tell: it has no magic of its own, and may begin like any
    if head[:2] in _PICKLES or path.suffix.lower() == ".pkl":
        return _model(path, ".pkl")
    for place, magic, what in _OTHERS:
        if head.startswith(magic, place):
            raise AvatarError(f"{path} is {what}")
    if path.suffix.lower() == ".ksplat":
        raise AvatarError(f"{path} is a .ksplat, which is not read; open it in SuperSplat and export a .ply")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"{") and path.name == sog.MARKER and sog.is_sog_meta(path.read_bytes()):
        return "sog"
    if text[:1] == b"<":
        raise AvatarError(f"{path} is a web page or XML, no avatar; download the file itself")
    raise AvatarError(
        f"{path} is no LAM folder, no .ply and no face model (.pkl, .npz), and no LAM .zip, .spz, .splat or "
        ".sog; those can be imported"
    )


def _model(path: Path, suffix: str) -> Kind:
    """A face model goes by its name from then on, so it must have the right one."""
    if path.suffix.lower() != suffix:
        raise AvatarError(f"{path} holds what a {suffix} does; if it is a face model, rename it to {suffix}")
    return "model"


def _kind_of_archive(path: Path) -> Kind:
    names = archive_names(path)
    files = {name.rpartition("/")[2] for name in names}
    if "skin.glb" in files or "offset.ply" in files:
        return "lam"
    if sog.MARKER in files:
        return "sog"
    if any(name.endswith(".npy") for name in files):
        return _model(path, ".npz")
    if "data.pkl" in files:
        raise AvatarError(f"{path} is a PyTorch checkpoint; export its Gaussians as a .ply")
    held = ", ".join(sorted(files)[:3]) or "nothing"
    raise AvatarError(f"{path} is a .zip of {held}: no LAM head and no SOG; unpack it and name what is in it")
