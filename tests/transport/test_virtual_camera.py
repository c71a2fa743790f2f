"""The avatar as a camera: on a device that stands in for the kernel's, and on a real one if there is one."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvirtualcam

from transport.errors import OutputError
from transport.virtual_camera import VirtualCamera

WIDTH, HEIGHT = 64, 48
LOOPBACK = [
    Path("/dev") / name.parent.name for name in Path("/sys/devices/virtual/video4linux").glob("video*/name")
]


class Device:
    """What pyvirtualcam asks of a backend."""

    made: list[Device]
    refuses = ""  # why none can be opened
    gate = threading.Event()  # set while pictures are taken
    breaks = False

    def __init__(
        self, *, width: int, height: int, fps: float, fourcc: int, device: str | None, **_: Any
    ) -> None:
        if Device.refuses:
            raise RuntimeError(Device.refuses)
        self.size, self.fps, self.name = (width, height), fps, device or "/dev/video10"
        self.pictures: list[np.ndarray] = []
        self.closed = False
        Device.made.append(self)

    def send(self, frame: np.ndarray) -> None:
        assert not self.closed
        Device.gate.wait(5)
        if Device.breaks:
            raise RuntimeError("unplugged")
        self.pictures.append(frame.copy())

    def close(self) -> None:
        self.closed = True

    def device(self) -> str:
        return self.name

    def native_fourcc(self) -> int | None:
        return None


@pytest.fixture(autouse=True)
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(pyvirtualcam.camera.BACKENDS, "fake", Device)
    Device.made, Device.refuses, Device.breaks = [], "", False
    Device.gate.set()
    yield
    Device.gate.set()


def picture(value: int) -> np.ndarray:
    return np.full((HEIGHT * 3 // 2, WIDTH), value, np.uint8)


def until(true: Any) -> None:
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def open_camera(device: str | None = None) -> VirtualCamera:
    return VirtualCamera(WIDTH, HEIGHT, 30.0, device, backend="fake")


def test_pictures_reach_the_device_as_they_are() -> None:
    camera = open_camera()
    (device,) = Device.made
    assert (device.size, device.fps, camera.device) == ((WIDTH, HEIGHT), 30.0, "/dev/video10")
    assert camera.watched
    rng = np.random.default_rng(0)
    sent = rng.integers(0, 256, (HEIGHT * 3 // 2, WIDTH)).astype(np.uint8)
    camera.put(sent, 0)
    until(lambda: device.pictures)
    np.testing.assert_array_equal(device.pictures[0], sent.ravel())
    camera.close()
    assert device.closed
    camera.close()  # twice does no harm
    assert open_camera("/dev/video3").device == "/dev/video3"


def test_a_slow_device_holds_up_nobody_and_shows_the_newest() -> None:
    Device.gate.clear()
    camera = open_camera()
    (device,) = Device.made
    camera.put(picture(0), 0)
    time.sleep(0.05)
    began = time.monotonic()
    for value in range(1, 200):
        camera.put(picture(value), 0)
    assert time.monotonic() - began < 2, "the device takes five seconds for its first"
    Device.gate.set()
    until(lambda: len(device.pictures) == 2)
    assert [int(shown[0]) for shown in device.pictures] == [0, 199]
    camera.close()


def test_a_device_that_goes_is_told_to_the_one_who_draws() -> None:
    camera = open_camera()
    Device.breaks = True
    camera.put(picture(1), 0)
    until(lambda: Device.made[0].closed)
    with pytest.raises(OutputError, match=r"/dev/video10 took no more pictures \(unplugged\)"):
        camera.put(picture(2), 0)
    camera.close()


@pytest.mark.parametrize(
    ("platform", "said"),
    [("linux", "modprobe v4l2loopback"), ("darwin", "obsproject"), ("win32", "obsproject")],
)
def test_without_a_device_the_next_step_is_told(
    platform: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    Device.refuses = "No device was\nfound"
    with pytest.raises(OutputError, match=said) as told:
        open_camera()
    assert "\n" not in str(told.value)
    with pytest.raises(OutputError, match="no virtual camera /dev/video7"):
        open_camera("/dev/video7")


def test_without_the_package_the_next_step_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(OutputError, match="pip install"):
        open_camera()


@pytest.mark.skipif(not LOOPBACK, reason="no v4l2loopback device on this machine")
def test_a_real_device_shows_what_was_put() -> None:
    import cv2

    camera = VirtualCamera(640, 480, 30.0, str(LOOPBACK[0]))
    shown = np.full((720, 640), 128, np.uint8)
    shown[:480] = np.linspace(16, 235, 640).astype(np.uint8)
    stop = threading.Event()

    def feed() -> None:
        while not stop.wait(1 / 30):
            camera.put(shown, 0)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        reader = cv2.VideoCapture(str(LOOPBACK[0]))
        ok, got = reader.read()
        assert ok
        assert got[:, 600:].mean() > 200 > 60 > got[:, :40].mean()
    finally:
        stop.set()
        thread.join()
        camera.close()
