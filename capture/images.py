"""Pictures, and a folder of them as a video."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from capture.closing import Closing
from capture.errors import SourceError
from capture.frame import Frame
from capture.media import HEIC_SUFFIXES, heic_advice, is_heic, open_picture, reason
from capture.upright import Upright, fitted

PICTURE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".avif", ".tif", ".tiff", ".ppm", ".pgm"}
)
# What cameras and phones put beside their pictures and nothing here reads as one.
_RAW_SUFFIXES = frozenset({".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2"})
_FILM_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".3gp", ".mts"})


class ImageFolder(Closing):
    """Reads the pictures of a folder in natural order (frame2 before frame10) at a given frame rate.

    All of them are given the size of the first: others are fitted into it, black beside them. Hidden files,
    and so what systems leave beside pictures, are no pictures; `notes` says what else was left out.

    Raises SourceError for a folder that is missing or has no pictures, or (from `read`) a picture that is
    broken.
    """

    def __init__(self, folder: str | Path, fps: float = 25.0) -> None:
        if not (math.isfinite(fps) and fps > 0):
            raise SourceError(f"a frame rate of {fps} is no rate: give a number above 0")
        folder = Path(folder)
        if not folder.is_dir():
            raise SourceError(f"{folder} is no folder: check the path")
        self._folder = folder
        self._fps = fps
        self._index = 0
        self._num_fitted = 0
        try:
            shown = [path for path in folder.iterdir() if not path.name.startswith(".")]
        except OSError as error:
            raise SourceError(f"{folder} cannot be read ({reason(error)}): check its permissions") from error
        named = [path for path in shown if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()]
        self._paths = sorted((path for path in named if not is_heic(path)), key=_natural_key)
        self._left_out = _left_out(shown, set(self._paths))
        if not self._paths:
            raise SourceError(_no_pictures(folder, shown, self._left_out))
        height, width = read_picture(self._paths[0]).shape[:2]
        self._size = (width, height)

    @property
    def paths(self) -> list[Path]:
        """The pictures in order."""
        return self._paths

    @property
    def fps(self) -> float:
        return self._fps

    @property
    def size(self) -> tuple[int, int]:
        return self._size

    @property
    def has_audio(self) -> bool:
        return False

    @property
    def num_frames(self) -> int:
        return len(self._paths)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, and after the end how many pictures had another size; a line each."""
        notes = [f"{self._folder}: left out {self._left_out}"] if self._left_out else []
        if self._num_fitted:
            width, height = self._size
            notes.append(
                f"{self._folder}: {self._num_fitted} of {len(self._paths)} pictures have another size than "
                f"the first, {width}x{height}, and were fitted into it"
            )
        return tuple(notes)

    def read(self) -> Frame | None:
        """The next picture; None after the last."""
        if self._index >= len(self._paths):
            return None
        index, self._index = self._index, self._index + 1
        rgb = read_picture(self._paths[index])
        if rgb.shape[1::-1] != self._size:
            self._num_fitted += 1
            rgb = fitted(rgb, self._size)
        return Frame(rgb, round(index * 1e9 / self._fps), index)

    def close(self) -> None:
        self._index = len(self._paths)


def read_picture(path: str | Path) -> NDArray[np.uint8]:
    """A picture file as RGB [H, W, 3], turned as its EXIF says. Raises SourceError when it cannot be read."""
    with open_picture(path) as container:
        try:
            decoded = next(container.decode(video=0), None)
        except (av.FFmpegError, IndexError) as error:
            raise SourceError(
                f"{path} is no picture FFmpeg can read ({reason(error)}): remove it or mend it"
            ) from error
    if decoded is None:
        raise SourceError(f"{path} holds no picture: remove it or mend it")
    return Upright(decoded, still=True)(decoded)


def _left_out(shown: Iterable[Path], taken: set[Path]) -> str:
    """What of a folder may have been meant and is not read, in a few words."""
    kinds: dict[str, list[str]] = {}
    for path in shown:
        if path not in taken and (kind := _kind(path)):
            kinds.setdefault(kind, []).append(path.name)
    parts = []
    for kind, names in sorted(kinds.items()):
        some = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
        parts.append(f"{len(names)} {kind}{'s' if len(names) > 1 else ''} ({some})")
    return ", ".join(parts)


def _kind(path: Path) -> str | None:
    suffix = path.suffix.lower()
    if path.is_dir():
        return None if path.name == "__MACOSX" else "subfolder"
    if suffix in HEIC_SUFFIXES or (suffix in PICTURE_SUFFIXES and is_heic(path)):
        return "HEIC picture"
    if suffix in _RAW_SUFFIXES:
        return "raw picture"
    return "film" if suffix in _FILM_SUFFIXES else None


def _no_pictures(folder: Path, shown: Iterable[Path], left_out: str) -> str:
    heic = next((path for path in sorted(shown) if _kind(path) == "HEIC picture"), None)
    if heic is not None:
        return heic_advice(heic)
    known = ", ".join(sorted(PICTURE_SUFFIXES))
    besides = f", only {left_out}" if left_out else ""
    return f"{folder} holds no pictures ({known}){besides}: give another folder"


def _natural_key(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    parts = re.split(r"(\d+)", path.name.lower())
    # the name itself tells 1.png from 01.png
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts], path.name
