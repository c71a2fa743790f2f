"""Opening a camera through FFmpeg: its own test picture stands in for the device."""

from __future__ import annotations

import pytest

from capture import cameras
from capture.cameras import CameraInfo, CameraMode, open_camera
from capture.errors import SourceError


def test_a_device_gives_rgb_pictures_of_its_own_size(monkeypatch):
    monkeypatch.setattr(cameras, "_backend", lambda: "lavfi")
    device = open_camera(CameraInfo(0, "test picture", "color=c=red:size=64x48:rate=15"), CameraMode(64, 48))
    try:
        rgb = device.read()
        assert (device.size, device.fps) == ((64, 48), 15.0)
        assert rgb.shape == (48, 64, 3)
        # limited-range YUV rounds pure red by a few steps
        assert rgb[0, 0, 0] > 245
        assert rgb[0, 0, 1] < 10
    finally:
        device.close()


def test_a_device_that_ends_says_that_it_stopped(monkeypatch):
    monkeypatch.setattr(cameras, "_backend", lambda: "lavfi")
    info = CameraInfo(0, "test picture", "testsrc=size=32x32:rate=10:duration=0.1")
    device = open_camera(info, CameraMode())
    try:
        device.read()
        with pytest.raises(SourceError, match="camera test picture stopped: it is unplugged"):
            device.read()
    finally:
        device.close()


def test_a_device_that_is_not_there_is_one_line_with_the_next_step():
    with pytest.raises(SourceError) as raised:
        open_camera(CameraInfo(0, "Desk Camera", "/nonexistent/video0"), CameraMode())
    assert str(raised.value) == "camera Desk Camera cannot be opened: it is not there; plug it in"


def test_a_file_that_is_no_device_is_refused(tmp_path):
    path = tmp_path / "video0"
    path.write_bytes(b"no device")
    with pytest.raises(SourceError, match=r"^camera Desk Camera cannot be opened: .+$"):
        open_camera(CameraInfo(0, "Desk Camera", str(path)), CameraMode())
