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
    """The newest frame of whoever sends a camera; waits and says so while nobody does.

    Frames come in a decoder's thread: `accept` turns them to RGB and leaves them for `read`.
    """

    def __init__(self) -> None:
        self._latest: Latest[Frame] = Latest()
        self._index = 0
        self._senders = 0
        self._changing = threading.Lock()

    @property
    def fps(self) -> float:
        return NOMINAL_FPS

    @property
    def trouble(self) -> str | None:
        """Why no frames come at the moment; None while they do."""
        return None if self.connected else "waiting for a camera: press Start"

    @property
    def num_dropped(self) -> int:
        """Frames that were replaced by newer ones before anyone read them."""
        return self._latest.num_dropped

    @property
    def connected(self) -> bool:
        """Whether someone sends at the moment."""
        return self._senders > 0

    def read(self, timeout_s: float | None = None) -> Frame | None:
        """Wait for a frame newer than the last one read; None after `close`. Raises TimeoutError."""
        return self._latest.read(timeout_s)

    def close(self) -> None:
        self._latest.close()

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
        self._latest.put(Frame(rgb, arrival_ns, index))
