"""Opening and closing MediaPipe's tasks: nothing leaves the machine, and what fails is said in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from capture.closing import Closing
from render.versions import check_version
from tracking.detect.mediapipe_guard import block_telemetry, native_stderr_hidden, unblock_telemetry
from tracking.errors import TrackingError

# Results are read from the C library's own structures (tracking/detect/face_detector.py), and what keeps the
# usage statistics here (tracking/detect/mediapipe_guard.py) was watched in these versions.
KNOWN_MEDIAPIPE = ("1.2", "1.3")

DetectorMode = Literal["video", "image"]

# How far the clock moves on when a source starts again from an earlier time (a looped file): one frame at 30
# fps.
_RESTART_STEP_NS = 33_333_333


class StreamClock:
    """Turns frame times into the strictly rising milliseconds that MediaPipe's video mode demands.

    Repeated times advance by 1 ms; a source that jumps back carries on one frame later, so that the
    detector's smoothing, which divides by time differences, never sees a run of 1 ms steps.
    """

    def __init__(self) -> None:
        self._offset_ns = 0
        self._last_ns: int | None = None
        self._last_ms = -1

    def skip(self, seconds: float) -> None:
        """Let the next picture come so much later than its own time says."""
        self._offset_ns += round(seconds * 1e9)

    def milliseconds(self, capture_ns: int) -> int:
        if self._last_ns is None:
            self._offset_ns = -capture_ns
        elif capture_ns < self._last_ns:
            self._offset_ns += self._last_ns - capture_ns + _RESTART_STEP_NS
        self._last_ns = capture_ns
        self._last_ms = max(self._last_ms + 1, round((capture_ns + self._offset_ns) / 1e6))
        return self._last_ms


class MediaPipeTask(Closing):
    """One open task; the base of what wraps it. While one is open, this process cannot fetch over HTTPS."""

    def __init__(self, path: Path, what: str, create: Callable[[], Any]) -> None:
        """`what` the model at `path` is, for messages. `create` imports MediaPipe and makes its object.

        Raises TrackingError when the model is missing or is another one, or MediaPipe cannot load or is of a
        version whose inner parts are not known here.
        """
        self._open_task: Any = None
        check_version("mediapipe", KNOWN_MEDIAPIPE, TrackingError)
        if not path.is_file():
            raise TrackingError(f"no {what} at {path}: run `visavis models fetch`")
        block_telemetry()
        try:
            with native_stderr_hidden():
                self._open_task = create()
        except BaseException as error:
            unblock_telemetry()
            if isinstance(error, OSError):
                raise TrackingError(
                    f"MediaPipe cannot load ({error}); on Debian or Ubuntu: apt-get install libegl1 libgles2"
                ) from error
            if isinstance(error, ValueError | RuntimeError):
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                raise TrackingError(
                    f"{path} is no {what} MediaPipe can open ({reason}): "
                    "delete it and run `visavis models fetch`"
                ) from error
            raise

    @property
    def _task(self) -> Any:
        """MediaPipe's object. Raises RuntimeError when it is closed."""
        if self._open_task is None:
            raise RuntimeError(f"the {type(self).__name__} is closed")
        return self._open_task

    def close(self) -> None:
        """Free the model; closing twice does no harm."""
        task, self._open_task = self._open_task, None
        if task is None:
            return
        try:
            task.close()
        finally:
            unblock_telemetry()

    def __del__(self) -> None:
        # MediaPipe's own __del__ fails noisily at interpreter exit unless it was closed before.
        with contextlib.suppress(Exception):
            self.close()


def mediapipe_image(rgb: NDArray[np.uint8]) -> Any:
    """A picture [H, W, 3] as MediaPipe takes it."""
    import mediapipe as mp

    return mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(rgb))
