"""Where media files are opened: films, pictures and sound, to read and to write, whatever their names hold.

FFmpeg takes what stands before a colon for a protocol and a percent sign in a picture's name for a number;
PyAV takes tags for UTF-8 and names for text. None of it concerns a user, so all of it is settled here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.stream import Disposition

from capture.errors import SourceError
from capture.matroska import mended

HEIC_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})


def open_media(path: str | os.PathLike[str]) -> InputContainer:
    """Open a film or a sound to read.

    Raises SourceError, one line with the path and the next step: missing, a folder, a device or a pipe,
    empty, not permitted, or nothing that FFmpeg can read.
    """
    path = Path(path)
    _check_regular(path)
    try:
        container = _opened(path)
    except PermissionError as error:
        raise SourceError(
            f"{path} cannot be read (permission denied): check the file's permissions"
        ) from error
    except (av.FFmpegError, OSError) as error:
        raise SourceError(_unreadable(path, "video", error, "give another file")) from error
    return _whole(path, _mended(path, container))


def open_picture(path: str | os.PathLike[str]) -> InputContainer:
    """Open a picture file to read; a name such as `100%d.png` is this file's, not a series'.

    Raises SourceError as `open_media` does.
    """
    path = Path(path)
    _check_regular(path)
    try:
        container = av.open(BytesIO(path.read_bytes()), "r", metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise SourceError(_unreadable(path, "picture", error, "remove it or mend it")) from error
    return _whole(path, container)


def create_media(
    path: str | os.PathLike[str], container_format: str, options: Mapping[str, str]
) -> OutputContainer:
    """Open a file to write, replacing what is there. Raises OSError or av.FFmpegError."""
    return av.open(f"file:{os.fspath(path)}", "w", format=container_format, options=dict(options))


def is_heic(path: Path) -> bool:
    """Whether a file says that it is a HEIC picture, by its first bytes or, failing them, by its name."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError:
        head = b""
    if head[4:8] != b"ftyp":
        return path.suffix.lower() in HEIC_SUFFIXES
    length = int.from_bytes(head[:4], "big")
    return any(head[at : at + 4] in _HEIC_BRANDS for at in range(8, min(length, len(head)) - 3, 4))


def heic_advice(path: Path) -> str:
    """What to do with a HEIC picture that cannot be read."""
    return (
        f"{path} is a HEIC picture, which cannot be read here: save it as JPEG "
        "(iPhones: Settings, Camera, Formats, Most Compatible)"
    )


def reason(error: BaseException) -> str:
    """What an error of FFmpeg or the system says, in one line."""
    text = str(getattr(error, "strerror", None) or error)
    return (text.splitlines() or [type(error).__name__])[0]


def _unreadable(path: Path, what: str, error: BaseException, advice: str) -> str:
    if is_heic(path):
        return heic_advice(path)
    return f"{path} is no {what} FFmpeg can read ({reason(error)}): {advice}"


def _opened(path: Path) -> InputContainer:
    name = os.fspath(path)
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that are no UTF-8: PyAV takes text only
        with path.open("rb") as file:
            return av.open(f"file:/proc/self/fd/{file.fileno()}", metadata_errors="replace")
    # "file:" keeps FFmpeg from reading a colon in the name as a protocol, the option a % as a number.
    return av.open(f"file:{name}", metadata_errors="replace", options={"pattern_type": "none"})


def _mended(path: Path, container: InputContainer) -> InputContainer:
    """The same film read around a damaged header, where FFmpeg saw no picture for it."""
    blind = any(not stream.codec_context.width for stream in container.streams.video)
    if not blind or "matroska" not in container.format.name or (file := mended(path)) is None:
        return container
    container.close()
    return av.open(file, "r", metadata_errors="replace")


def _whole(path: Path, container: InputContainer) -> InputContainer:
    """Refuse a picture of tiles: FFmpeg gives them one by one, and would take the first for the picture."""
    tiles = any(stream.disposition & Disposition.dependent for stream in container.streams.video)
    if not tiles:
        return container
    container.close()
    raise SourceError(heic_advice(path))


def _check_regular(path: Path) -> None:
    try:
        facts = path.stat()
    except FileNotFoundError as error:
        scheme = str(path).partition(":/")[0]
        if scheme != str(path) and scheme.isalnum():
            raise SourceError(f"{path} is an address, not a file: download it first") from error
        raise SourceError(f"{path} does not exist: check the path") from error
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read ({reason(error)}): check the path") from error
    if stat.S_ISDIR(facts.st_mode):
        raise SourceError(f"{path} is a folder: give a video file")
    if not stat.S_ISREG(facts.st_mode):
        raise SourceError(f"{path} is a device or a pipe, which has no end: give a file")
    if facts.st_size == 0:
        raise SourceError(f"{path} is empty (0 bytes): give another file")
