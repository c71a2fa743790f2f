"""A live camera: a thread always drains the device, the reader gets the newest frame."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable

from capture.cameras import CameraDevice, CameraInfo, CameraMode, find_camera, list_cameras, open_camera
from capture.closing import Closing
from capture.errors import SourceError
from capture.frame import Frame
from capture.latest import Latest

_BACK_OFF_S = (0.5, 1.0, 2.0, 4.0)  # the last one repeats
_JOIN_TIMEOUT_S = 15.0  # above the device's own read timeout, so that a camera that hangs still ends


class Webcam(Closing):
    """Frames of a camera as they arrive; a slow reader misses frames and never falls behind.

    A camera that cannot be opened raises SourceError here, and building it again may succeed. A camera lost
    later is reopened with growing pauses until it is back; `trouble` says why meanwhile, and `read` waits.
    """

    def __init__(
        self,
        camera: str | int = 0,
        mode: CameraMode | None = None,
        *,
        cameras: Callable[[], list[CameraInfo]] = list_cameras,
        opener: Callable[[CameraInfo, CameraMode], CameraDevice] = open_camera,
        clock_ns: Callable[[], int] = time.time_ns,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ) -> None:
        self._mode = mode if mode is not None else CameraMode()
        self._opener = opener
        self._clock_ns = clock_ns
        self._wait = wait
        self._cameras = cameras
        self._info = find_camera(camera, cameras())
        self._latest: Latest[Frame] = Latest()
        self._stop = threading.Event()
        self._trouble: str | None = None
        self._num_read = 0
        device = opener(self._info, self._mode)
        self._fps, self._size = device.fps, device.size
        self._thread = threading.Thread(target=self._run, args=(device,), name="webcam", daemon=True)
        self._thread.start()

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
    def num_frames(self) -> None:
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        return ()

    @property
    def name(self) -> str:
        return self._info.name

    @property
    def trouble(self) -> str | None:
        """Why no frames come at the moment, in one line; None while they do."""
        return self._trouble

    @property
    def num_dropped(self) -> int:
        """Frames the reader was too slow for."""
        return self._latest.num_dropped

    def read(self, timeout_s: float | None = None) -> Frame | None:
        """Wait for a frame newer than the last one read; None after `close`.

        Raises TimeoutError when none came in time (look at `trouble` then).
        """
        frame = self._latest.read(timeout_s)
        if frame is None:
            return None
        index, self._num_read = self._num_read, self._num_read + 1
        return dataclasses.replace(frame, index=index)

    def close(self) -> None:
        """End the thread and free the camera. Raises SourceError when the driver hangs."""
        self._stop.set()
        self._latest.close()
        self._thread.join(_JOIN_TIMEOUT_S)
        if self._thread.is_alive():
            raise SourceError(f"camera {self._info.name} does not answer: unplug it")

    def _run(self, first: CameraDevice) -> None:
        device: CameraDevice | None = first
        try:
            while device is not None:
                self._drain(device)
                device = None if self._stop.is_set() else self._reopen()
        except BaseException as error:
            self._latest.fail(error)

    def _drain(self, device: CameraDevice) -> None:
        """Take every frame the camera gives until it fails or this is closed."""
        try:
            self._fps, self._size = device.fps, device.size
            while not self._stop.is_set():
                rgb = device.read()
                self._trouble = None
                self._latest.put(Frame(rgb, self._clock_ns(), 0))
        except OSError as error:
            self._trouble = str(error)
        finally:
            device.close()

    def _reopen(self) -> CameraDevice | None:
        """The camera again, however long it takes; None when closed meanwhile."""
        num_tries = 0
        while not self._wait(self._stop, _BACK_OFF_S[min(num_tries, len(_BACK_OFF_S) - 1)]):
            num_tries += 1
            try:
                self._info = self._found_again()
                return self._opener(self._info, self._mode)
            except OSError as error:
                self._trouble = str(error)
        return None

    def _found_again(self) -> CameraInfo:
        """The same camera; plugged in again it may have another device path, but keeps its name."""
        cameras = self._cameras()
        if self._info.index < 0 or self._info in cameras:
            return self._info
        return find_camera(self._info.name, cameras)
