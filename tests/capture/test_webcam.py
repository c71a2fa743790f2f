"""The camera thread against a fake device: no sleeps, no hardware."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

import numpy as np
import pytest

from capture.cameras import CameraInfo, CameraMode, find_camera, list_cameras
from capture.errors import SourceError
from capture.source import Source
from capture.webcam import Webcam

CAMERAS = [CameraInfo(0, "Desk Camera", "/dev/video0"), CameraInfo(2, "Other", "/dev/video2")]


class FakeDevice:
    """Gives the pictures a test puts into it; an exception put in is raised, as if the cable were pulled."""

    fps = 30.0
    size = (4, 2)

    def __init__(self) -> None:
        self.pictures: queue.Queue[int | Exception] = queue.Queue()
        self.num_reads = threading.Semaphore(0)
        self.closed = threading.Event()

    def show(self, value: int | Exception) -> None:
        self.pictures.put(value)

    def read(self) -> np.ndarray:
        self.num_reads.release()
        picture = self.pictures.get(timeout=10)
        if isinstance(picture, Exception):
            raise picture
        return np.full((2, 4, 3), picture, np.uint8)

    def close(self) -> None:
        self.closed.set()

    def wait_until_drained(self, num_pictures: int) -> None:
        """The thread asks for picture n+1 only after it has handed over picture n."""
        for _ in range(num_pictures + 1):
            assert self.num_reads.acquire(timeout=10)


class Bench:
    """Opens fake devices and a fake clock; records the pauses between tries."""

    def __init__(self, openings: list[FakeDevice | Exception]) -> None:
        self.openings = openings
        self.pauses: list[float] = []
        self.now_ns = 1_000
        self.opened_devices: list[str] = []
        self.before_each_pause: Callable[[], None] = lambda: None

    def open(self, info: CameraInfo, mode: CameraMode) -> FakeDevice:
        self.opened_devices.append(info.device)
        opening = self.openings.pop(0)
        if isinstance(opening, Exception):
            raise opening
        return opening

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.before_each_pause()
        return stop.is_set()

    def clock(self) -> int:
        self.now_ns += 33_000_000
        return self.now_ns

    def webcam(
        self, camera: str | int = 0, cameras: Callable[[], list[CameraInfo]] = lambda: CAMERAS
    ) -> Webcam:
        return Webcam(camera, cameras=cameras, opener=self.open, clock_ns=self.clock, wait=self.wait)


def webcam_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "webcam"]


def end(webcam: Webcam, device: FakeDevice) -> None:
    """Close; the fake needs one more event, as a real camera gives its next frame."""
    device.show(OSError("closing"))
    webcam.close()
    assert device.closed.is_set()
    assert not webcam_threads()


def test_the_reader_gets_the_newest_frame_with_its_arrival_time():
    device = FakeDevice()
    webcam = Bench([device]).webcam()
    assert isinstance(webcam, Source)
    for value in (1, 2, 3):
        device.show(value)
    device.wait_until_drained(3)
    frame = webcam.read(timeout_s=10)
    assert frame is not None
    assert frame.rgb[0, 0, 0] == 3
    assert frame.capture_ns == 1_000 + 3 * 33_000_000
    assert frame.index == 0
    assert webcam.num_dropped == 2
    end(webcam, device)
    assert webcam.read() is None


def test_indices_count_the_frames_read():
    device = FakeDevice()
    webcam = Bench([device]).webcam()
    for value in range(3):
        device.show(value)
        frame = webcam.read(timeout_s=10)
        assert frame is not None
        assert (frame.index, int(frame.rgb[0, 0, 0])) == (value, value)
    end(webcam, device)


def test_a_failed_start_leaves_no_thread_and_can_be_retried():
    device = FakeDevice()
    bench = Bench([SourceError("camera Desk Camera cannot be opened: busy"), device])
    with pytest.raises(SourceError, match="busy"):
        bench.webcam()
    assert not webcam_threads()
    webcam = bench.webcam()
    device.show(5)
    assert webcam.read(timeout_s=10) is not None
    end(webcam, device)


def test_a_lost_camera_is_reopened_with_growing_pauses_and_says_why():
    first, second = FakeDevice(), FakeDevice()
    bench = Bench([first, *[SourceError("not there")] * 5, second])
    webcam = bench.webcam()
    seen: list[str | None] = []
    bench.before_each_pause = lambda: seen.append(webcam.trouble)
    first.show(OSError("unplugged"))
    second.show(9)
    frame = webcam.read(timeout_s=10)
    assert frame is not None
    assert frame.rgb[0, 0, 0] == 9
    assert bench.pauses == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert seen == ["unplugged", *["not there"] * 5]
    assert webcam.trouble is None
    assert first.closed.is_set()
    end(webcam, second)


def test_a_camera_plugged_in_again_is_found_by_its_name():
    first, second = FakeDevice(), FakeDevice()
    bench = Bench([first, second])
    lists = iter([CAMERAS, [], [CameraInfo(4, "Desk Camera", "/dev/video4")]])
    webcam = bench.webcam(cameras=lambda: next(lists))
    first.show(OSError("unplugged"))
    second.show(1)
    assert webcam.read(timeout_s=10) is not None
    assert bench.opened_devices == ["/dev/video0", "/dev/video4"]
    end(webcam, second)


def test_closing_while_the_camera_is_lost_ends_the_thread():
    device = FakeDevice()
    bench = Bench([device])
    waiting = threading.Event()
    webcam = Webcam(
        0,
        cameras=lambda: CAMERAS,
        opener=bench.open,
        clock_ns=bench.clock,
        # A real wait, so that close must wake it: an hour stands for "forever".
        wait=lambda stop, seconds: (waiting.set(), stop.wait(3600))[1],
    )
    device.show(OSError("unplugged"))
    assert waiting.wait(10)
    webcam.close()
    webcam.close()
    assert not webcam_threads()
    assert webcam.read() is None


def test_no_frame_in_time_is_a_timeout_not_an_end():
    device = FakeDevice()
    webcam = Bench([device]).webcam()
    with pytest.raises(TimeoutError):
        webcam.read(timeout_s=0.0)
    end(webcam, device)


def test_a_bug_in_the_thread_is_raised_at_the_reader():
    device = FakeDevice()
    webcam = Bench([device]).webcam()
    device.show(ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        webcam.read(timeout_s=10)
    webcam.close()
    assert device.closed.is_set()
    assert not webcam_threads()


@pytest.mark.parametrize("camera", [2, "2", "Other", "/dev/video2"])
def test_a_camera_is_found_by_number_name_and_path(camera):
    assert find_camera(camera, CAMERAS) is CAMERAS[1]


def test_an_unknown_camera_lists_the_known_ones_in_one_line():
    with pytest.raises(SourceError) as raised:
        find_camera(7, CAMERAS)
    assert str(raised.value) == "no camera '7'; the cameras here: 0 = Desk Camera, 2 = Other"
    with pytest.raises(SourceError, match="plug one in"):
        find_camera(0, [])


def test_linux_cameras_are_read_from_sysfs_without_their_metadata_nodes(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    for number, index, name in (("10", "0", "Second"), ("0", "0", "First"), ("1", "1", "First")):
        node = tmp_path / f"video{number}"
        node.mkdir()
        (node / "index").write_text(f"{index}\n")
        (node / "name").write_text(f"{name}\n")
    (tmp_path / "vbi0").mkdir()
    assert list_cameras(tmp_path) == [
        CameraInfo(0, "First", "/dev/video0"),
        CameraInfo(10, "Second", "/dev/video10"),
    ]
    assert list_cameras(tmp_path / "missing") == []
