"""A visitor's camera, sent by a browser or another WHIP client, as a source of frames."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from capture.closing import Closing
from capture.frame import Frame
from capture.latest import Latest

if TYPE_CHECKING:
    from av import VideoFrame

NOMINAL_FPS = 30.0


class BrowserCamera(Closing):
    """The newest frame of whoever sends a camera; a `capture.source.Source` that waits while nobody does.

    Frames come in a decoder's thread: `accept` turns them to RGB and leaves them in `latest`.
    """

    def __init__(self) -> None:
        self.latest: Latest[Frame] = Latest()
        self._index = 0
        self._size = (640, 480)
        self._senders = 0
        self._changing = threading.Lock()

    @property
    def fps(self) -> float:
        return NOMINAL_FPS

    @property
    def size(self) -> tuple[int, int]:
        """Of the newest frame; 640x480 before the first."""
        return self._size

    @property
    def has_audio(self) -> bool:
        return False

    @property
    def num_frames(self) -> int | None:
        return None

    @property
    def connected(self) -> bool:
        """Whether someone sends at the moment."""
        return self._senders > 0

    def read(self) -> Frame | None:
        """Wait for the next frame; None after `close`."""
        return self.latest.read()

    def close(self) -> None:
        self.latest.close()

    def begin(self) -> None:
        """A sender connected."""
        with self._changing:
            self._senders += 1

    def end(self) -> None:
        """A sender left."""
        with self._changing:
            self._senders -= 1

    def accept(self, picture: VideoFrame, arrival_ns: int) -> None:
        """Take a decoded picture that arrived at this Unix time."""
        # swscale honours the stream's own colour matrix; by itself it would wake dozens of threads for it
        rgb = np.ascontiguousarray(picture.to_ndarray(format="rgb24", threads=1), np.uint8)
        with self._changing:
            index = self._index
            self._index += 1
            self._size = (picture.width, picture.height)
        self.latest.put(Frame(rgb, arrival_ns, index))
