"""`visavis live` with a clip in the camera device's place, which signals unplug and plug in again.

    python -m bench.viewing.unpluggable live --port 0 ..., the clip in VISAVIS_BENCH_CLIP

Everything but the device is the product's own. SIGUSR1 unplugs: reads fail and the device is gone from the
list of cameras; SIGUSR2 plugs it in.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
import time

import numpy as np
from numpy.typing import NDArray

import capture.webcam
from capture.cameras import CameraDevice, CameraInfo, CameraMode
from capture.errors import SourceError
from capture.video import VideoFile

INFO = CameraInfo(0, "clip", "clip")
_plugged = threading.Event()


class ClipCamera:
    """Plays a clip as a camera device; frames come at their time."""

    def __init__(self, clip: str) -> None:
        self._clip = clip
        self._video = VideoFile(clip)
        self._due_s = time.monotonic()

    @property
    def fps(self) -> float:
        return self._video.fps

    @property
    def size(self) -> tuple[int, int]:
        return self._video.size

    def read(self) -> NDArray[np.uint8]:
        if not _plugged.is_set():
            raise SourceError("camera clip stopped: it is unplugged or another program took it")
        frame = self._video.read()
        if frame is None:
            self._video.close()
            self._video = VideoFile(self._clip)
            frame = self._video.read()
            assert frame is not None
        self._due_s = max(self._due_s + 1 / self.fps, time.monotonic() - 1 / self.fps)
        time.sleep(max(0.0, self._due_s - time.monotonic()))
        return frame.rgb

    def close(self) -> None:
        self._video.close()


def _cameras() -> list[CameraInfo]:
    return [INFO] if _plugged.is_set() else []


def _open(info: CameraInfo, mode: CameraMode) -> CameraDevice:
    if not _plugged.is_set():
        raise SourceError(f"camera {info.name} cannot be opened: it is not there; plug it in")
    return ClipCamera(os.environ["VISAVIS_BENCH_CLIP"])


def main() -> int:
    from engine import cli

    _plugged.set()
    signal.signal(signal.SIGUSR1, lambda number, frame: _plugged.clear())
    signal.signal(signal.SIGUSR2, lambda number, frame: _plugged.set())
    capture.webcam.Webcam = functools.partial(  # type: ignore[misc, assignment]
        capture.webcam.Webcam, cameras=_cameras, opener=_open
    )
    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
