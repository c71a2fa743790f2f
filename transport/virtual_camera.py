"""The avatar as a camera of this machine, which any meeting program can choose.

Linux: a device of the kernel module v4l2loopback; macOS and Windows: OBS's virtual camera; all by the package
pyvirtualcam.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capture.latest import Latest
from transport.errors import OutputError

INSTALL = "pip install pyvirtualcam"
_SET_UP = {
    "linux": "sudo apt-get install v4l2loopback-dkms && "
    "sudo modprobe v4l2loopback devices=1 exclusive_caps=1 card_label=visavis",
    "other": "install OBS (https://obsproject.com), press Start Virtual Camera in it once, and close it",
}
_END_S = 2.0  # a device that takes a picture for longer is left to itself


class VirtualCamera:
    """A `Sink` that shows the newest picture on a virtual camera; a device that is slow misses some.

    `device` names one, such as /dev/video10; None: the first there is. `backend` is one of pyvirtualcam's.
    Raises OutputError where there is none, with what to do.
    """

    def __init__(
        self, width: int, height: int, fps: float, device: str | None = None, backend: str | None = None
    ) -> None:
        try:
            import pyvirtualcam
        except ImportError as error:
            raise OutputError(f"a virtual camera needs pyvirtualcam: {INSTALL}") from error
        try:
            self._camera: Any = pyvirtualcam.Camera(
                width, height, fps, fmt=pyvirtualcam.PixelFormat.I420, device=device, backend=backend
            )
        except (RuntimeError, KeyError) as error:
            set_up = _SET_UP.get(sys.platform, _SET_UP["other"])
            named = f"no virtual camera {device}" if device else "no virtual camera is there"
            why = " ".join(str(error).split())
            raise OutputError(f"{named} ({why}): {set_up}") from error
        self.device: str = self._camera.device
        self._pictures: Latest[NDArray[np.uint8]] = Latest()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="virtual camera", daemon=True)
        self._thread.start()

    @property
    def watched(self) -> bool:
        """Always: a device does not tell whether a program reads it."""
        return True

    def put(self, picture: NDArray[np.uint8], capture_ns: int) -> None:
        """Show a picture, I420. Raises OutputError once the device has gone."""
        if self._error is not None:
            raise OutputError(
                f"the virtual camera {self.device} took no more pictures ({self._error}); start again"
            ) from self._error
        self._pictures.put(picture)

    def close(self) -> None:
        self._pictures.close()
        if self._thread is not threading.current_thread():
            self._thread.join(_END_S)

    def _run(self) -> None:
        try:
            while (picture := self._pictures.read()) is not None:
                self._camera.send(picture)
        except Exception as error:  # whatever a driver raises, the one who draws must hear of it
            self._error = error
        finally:
            self._camera.close()
