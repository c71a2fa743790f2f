"""Which cameras there are, and opening one through PyAV."""

from __future__ import annotations

import errno
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import av
import av.device
import numpy as np
from numpy.typing import NDArray

from capture.errors import SourceError
from capture.frame_rate import plausible

_SYSFS = Path("/sys/class/video4linux")
_OPEN_TIMEOUT_S = 10.0
_READ_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """One camera of this machine."""

    index: int  # what `--camera` takes
    name: str
    device: str  # what FFmpeg opens


@dataclass(frozen=True, slots=True)
class CameraMode:
    """What is asked of a camera; it may give the nearest mode it has."""

    width: int = 640
    height: int = 480
    fps: float = 30.0


class CameraDevice(Protocol):
    """An open camera. Tests put a fake in its place."""

    @property
    def fps(self) -> float: ...

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""

    def read(self) -> NDArray[np.uint8]:
        """Wait for the next picture, RGB [H, W, 3]. Raises OSError when the camera is gone."""

    def close(self) -> None: ...


def list_cameras(sysfs: Path = _SYSFS) -> list[CameraInfo]:
    """The cameras of this machine, in the order of their numbers."""
    if sys.platform == "linux":
        return _linux_cameras(sysfs)
    try:
        devices = av.device.enumerate_input_devices(_backend())
    except (ValueError, av.FFmpegError):
        return []
    videos = [device for device in devices if not device.media_types or "video" in device.media_types]
    return [
        CameraInfo(index, device.description or device.name, device.name)
        for index, device in enumerate(videos)
    ]


def find_camera(camera: str | int, cameras: list[CameraInfo]) -> CameraInfo:
    """The camera of that number, name or device path. Raises SourceError that lists the cameras."""
    wanted = str(camera)
    for info in cameras:
        if wanted in (str(info.index), info.name, info.device):
            return info
    if sys.platform == "linux" and Path(wanted).is_char_device():
        return CameraInfo(-1, wanted, wanted)
    if not cameras:
        raise SourceError(
            f"no camera {wanted!r}, no camera at all here: plug one in or give a video with --input"
        )
    known = ", ".join(f"{info.index} = {info.name}" for info in cameras)
    raise SourceError(f"no camera {wanted!r}; the cameras here: {known}")


def open_camera(info: CameraInfo, mode: CameraMode) -> CameraDevice:
    """Open a camera, asking for motion JPEG first: raw video over USB 2 drops to 10 fps or less at 720p.

    Raises SourceError, one line with the camera and the next step.
    """
    asked = {"video_size": f"{mode.width}x{mode.height}", "framerate": f"{mode.fps:g}"}
    attempts: list[dict[str, str]] = [asked, {}]
    if sys.platform == "linux":
        attempts.insert(0, asked | {"input_format": "mjpeg"})
    failure: Exception | None = None
    for options in attempts:
        try:
            return _AvCamera(info, options)
        except (av.FFmpegError, OSError) as error:
            failure = error
            if error.errno in (errno.ENOENT, errno.ENODEV, errno.EBUSY, errno.EACCES, errno.EPERM):
                break  # another mode would fail the same way
    raise SourceError(f"camera {info.name} cannot be opened: {_advice(failure)}") from failure


class _AvCamera:
    """A camera through libavdevice."""

    def __init__(self, info: CameraInfo, options: dict[str, str]) -> None:
        self._name = info.name
        self._container = av.open(
            info.device, format=_backend(), options=options, timeout=(_OPEN_TIMEOUT_S, _READ_TIMEOUT_S)
        )
        try:
            self._stream = self._container.streams.video[0]
            # Frame threads would hold back as many frames as there are threads.
            self._stream.thread_type = "SLICE"
            self._decoded = self._decode()
        except BaseException:
            self._container.close()
            raise

    @property
    def fps(self) -> float:
        return plausible((self._stream.average_rate, self._stream.guessed_rate))

    @property
    def size(self) -> tuple[int, int]:
        return self._stream.codec_context.width, self._stream.codec_context.height

    def read(self) -> NDArray[np.uint8]:
        try:
            decoded = next(self._decoded, None)
        except (av.FFmpegError, OSError) as error:
            raise SourceError(f"camera {self._name} stopped: {_advice(error)}") from error
        if decoded is None:
            raise SourceError(f"camera {self._name} stopped: it is unplugged or another program took it")
        return decoded.to_ndarray(format="rgb24", threads=1).astype(np.uint8, copy=False)

    def close(self) -> None:
        self._decoded.close()
        self._container.close()

    def _decode(self) -> Generator[av.VideoFrame]:
        for packet in self._container.demux(self._stream):
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                continue  # cameras send a broken JPEG now and then; the next one is 33 ms away


def _linux_cameras(sysfs: Path) -> list[CameraInfo]:
    if not sysfs.is_dir():
        return []
    found = []
    for node in sysfs.iterdir():
        number = node.name.removeprefix("video")
        if number == node.name or not number.isdecimal():
            continue
        # A camera has several nodes; the first carries pictures, the others metadata.
        if _sysfs_text(node / "index", "0") == "0":
            found.append(CameraInfo(int(number), _sysfs_text(node / "name", node.name), f"/dev/{node.name}"))
    return sorted(found, key=lambda info: info.index)


def _sysfs_text(path: Path, missing: str) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return missing


def _backend() -> str:
    return {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}.get(sys.platform, "v4l2")


def _advice(error: Exception | None) -> str:
    number = getattr(error, "errno", None)
    if number in (errno.EACCES, errno.EPERM):
        return "permission denied; allow this program to use the camera (on Linux: join the group `video`)"
    if number == errno.EBUSY:
        return "another program uses it; close that program"
    if number in (errno.ENOENT, errno.ENODEV):
        return "it is not there; plug it in"
    return str(getattr(error, "strerror", None) or error)
