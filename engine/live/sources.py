"""Where live frames come from: a camera, a file played in real time, or a visitor's browser."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Protocol

from capture.closing import Closing
from capture.frame import Frame
from capture.latest import Latest
from capture.source import Source

LATE_S = 0.25  # behind by more than this, a player counts on from now instead of catching up


class LiveSource(Protocol):
    """Frames as they arrive, stamped with Unix time; the newest wins.

    Such are `Webcam`, `FilePlayer` and `BrowserCamera`.
    """

    @property
    def fps(self) -> float: ...

    @property
    def trouble(self) -> str | None:
        """Why no frames come at the moment, in one line; None while they do."""
        ...

    @property
    def num_dropped(self) -> int:
        """Frames that were replaced by newer ones before anyone read them."""
        ...

    def read(self, timeout_s: float | None = None) -> Frame | None:
        """Wait for a frame newer than the last one read; None after `close`. Raises TimeoutError."""
        ...

    def close(self) -> None: ...


class FilePlayer(Closing):
    """Plays a source at its own speed, over and over, as if it were a camera.

    Every frame is decoded before it is due, then stamped and handed out at its time. Opening it again for the
    next round may fail; the error is raised at the reader.
    """

    def __init__(
        self,
        opener: Callable[[], Source],
        *,
        clock: Callable[[], float] = time.monotonic,
        clock_ns: Callable[[], int] = time.time_ns,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ) -> None:
        """`opener` gives the source from its beginning. Raises SourceError as it does."""
        self._opener = opener
        self._clock = clock
        self._clock_ns = clock_ns
        self._wait = wait
        self._latest: Latest[Frame] = Latest()
        self._stop = threading.Event()
        first = opener()
        self._fps, self._size = first.fps, first.size
        self._num_played = 0
        self._thread = threading.Thread(target=self._run, args=(first,), name="file-player", daemon=True)
        self._thread.start()

    @property
    def fps(self) -> float:
        return self._fps

    @property
    def size(self) -> tuple[int, int]:
        return self._size

    @property
    def trouble(self) -> str | None:
        return None

    @property
    def num_dropped(self) -> int:
        return self._latest.num_dropped

    def read(self, timeout_s: float | None = None) -> Frame | None:
        """Wait for the next frame; None after `close`. Raises TimeoutError, or what ended the player."""
        return self._latest.read(timeout_s)

    def close(self) -> None:
        self._stop.set()
        self._latest.close()
        self._thread.join()

    def _run(self, first: Source) -> None:
        try:
            source = first
            begin_s = self._clock()
            while not self._stop.is_set():
                with source:
                    begin_s = self._play(source, begin_s)
                if not self._stop.is_set():
                    source = self._opener()
        except BaseException as error:
            self._latest.fail(error)

    def _play(self, source: Source, begin_s: float) -> float:
        """Play to the end; gives the time the next round begins."""
        last_s = 0.0
        while not self._stop.is_set() and (frame := source.read()) is not None:
            last_s = frame.capture_ns / 1e9
            ahead_s = begin_s + last_s - self._clock()
            if ahead_s > 0:
                self._wait(self._stop, ahead_s)
            elif ahead_s < -LATE_S:
                begin_s -= ahead_s
            index, self._num_played = self._num_played, self._num_played + 1
            self._latest.put(dataclasses.replace(frame, capture_ns=self._clock_ns(), index=index))
        return begin_s + last_s + 1 / source.fps
