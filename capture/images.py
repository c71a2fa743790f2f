"""A folder of pictures as a video."""

from __future__ import annotations

import math
import re
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from capture.closing import Closing
from capture.errors import SourceError
from capture.frame import Frame

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})


class ImageFolder(Closing):
    """Reads the pictures of a folder in natural order (frame2 before frame10) at a given frame rate.

    Raises SourceError for a folder that is missing or has no pictures, or (from `read`) a picture that is
    broken.
    """

    def __init__(self, folder: str | Path, fps: float = 25.0) -> None:
        if not (math.isfinite(fps) and fps > 0):
            raise SourceError(f"a frame rate of {fps} is no rate: give a number above 0")
        folder = Path(folder)
        if not folder.is_dir():
            raise SourceError(f"{folder} is no folder: check the path")
        self._fps = fps
        self._index = 0
        self._paths = sorted(
            (path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and path.is_file()),
            key=_natural_key,
        )
        if not self._paths:
            raise SourceError(
                f"{folder} holds no pictures ({', '.join(sorted(_SUFFIXES))}): give another folder"
            )
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

    def read(self) -> Frame | None:
        """The next picture; None after the last."""
        if self._index >= len(self._paths):
            return None
        index, self._index = self._index, self._index + 1
        return Frame(read_picture(self._paths[index]), round(index * 1e9 / self._fps), index)

    def close(self) -> None:
        self._index = len(self._paths)


def read_picture(path: str | Path) -> NDArray[np.uint8]:
    """A picture file as RGB [H, W, 3], turned as its EXIF says. Raises SourceError when it cannot be read."""
    try:
        with av.open(f"file:{path}") as container:
            decoded = next(container.decode(video=0), None)
            if decoded is not None:
                rgb = decoded.to_ndarray(format="rgb24")
                return np.ascontiguousarray(np.rot90(rgb, round((decoded.rotation or 0) / 90) % 4))
    except (av.FFmpegError, OSError, IndexError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"{path} is no picture FFmpeg can read ({reason}): remove it or mend it") from error
    raise SourceError(f"{path} holds no picture: remove it or mend it")


def _natural_key(path: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
