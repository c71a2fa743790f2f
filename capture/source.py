"""What every source of frames can do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

from capture.frame import Frame


@runtime_checkable
class Source(Protocol):
    """A camera, a file or a made-up picture, read one frame at a time.

    A source is open when it is built: what cannot be opened raises SourceError there and leaves nothing
    behind.
    """

    @property
    def fps(self) -> float:
        """Nominal frames per second; the frames' own timestamps are the truth."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels as shown, after rotation and with square pixels."""

    @property
    def has_audio(self) -> bool:
        """Whether sound belongs to the pictures."""

    @property
    def num_frames(self) -> int | None:
        """About how many frames will come, for progress bars; None when nobody knows."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of what is read, one line each; complete after the end."""

    def read(self) -> Frame | None:
        """Wait for the next frame; None at the end or after `close`. Raises SourceError on failure."""

    def close(self) -> None:
        """Free the device or file and end every thread; closing twice does no harm."""

    def __enter__(self) -> Source: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def frames(source: Source) -> Iterator[Frame]:
    """Every frame of a source until its end."""
    while (frame := source.read()) is not None:
        yield frame


def open_input(path: str | Path, fps: float | None = None) -> Source:
    """Open a video file or a folder of pictures; `fps` is the folder's frame rate (25 unless told).

    Raises SourceError, one line with the path and the next step.
    """
    from capture.images import ImageFolder
    from capture.video import VideoFile

    if os.path.isdir(path):  # False, where Path's own would raise on a name that no file can have
        return ImageFolder(path, fps if fps is not None else 25.0)
    return VideoFile(path)
