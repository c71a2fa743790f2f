"""A file played in real time, on a clock that the test moves."""

from __future__ import annotations

import threading
from pathlib import Path

import av
import pytest

from capture.errors import SourceError
from capture.source import Source, open_input
from capture.synthetic import SyntheticSource
from engine.live.sources import FilePlayer
from tests.engine.live.fakes import FakeClock
from transport.webrtc.camera import BrowserCamera


class Stepped:
    """A clock whose waits are over only when the test has read the frame before."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.waiting = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.waiting.release()
        self.go.acquire(timeout=10)
        return self.clock.wait(event, seconds)


@pytest.fixture
def stepped() -> Stepped:
    return Stepped()


def player(stepped: Stepped, opened: list[Source], fps: float = 25.0, num_frames: int = 3) -> FilePlayer:
    def opener() -> Source:
        opened.append(SyntheticSource(64, 48, fps, num_frames))
        return opened[-1]

    return FilePlayer(opener, clock=stepped.clock, clock_ns=stepped.clock.ns, wait=stepped.wait)


def test_frames_come_at_their_times_and_the_file_begins_again(stepped: Stepped) -> None:
    opened: list[Source] = []
    playing = player(stepped, opened)
    try:
        begin_ns = stepped.clock.ns()
        frames = [playing.read(10)]  # the first is due at once
        for _ in range(6):
            stepped.go.release()
            frames.append(playing.read(10))
        assert [f.index for f in frames if f] == list(range(7))
        # 25 a second, across the joins too
        expected = [begin_ns + number * 40_000_000 for number in range(7)]
        assert [f.capture_ns for f in frames if f] == pytest.approx(
            expected, abs=1000
        )  # rounding of the clock
        assert len(opened) == 3
    finally:
        stepped.go.release(10)
        playing.close()
    assert all(source.read() is None for source in opened)  # closed


def test_a_player_that_fell_behind_goes_on_from_now(stepped: Stepped) -> None:
    playing = player(stepped, [], num_frames=100)
    try:
        stepped.waiting.acquire(timeout=10)
        stepped.clock.now_s += 5  # the machine slept
        stepped.go.release()
        stepped.waiting.acquire(timeout=10)
        late = playing.read(10)
        assert late is not None
        assert late.index == 2  # the one that was due, and the next: no burst of 125
        assert max(stepped.clock.waits) <= 0.0401
    finally:
        stepped.go.release(100)
        playing.close()


def test_a_file_that_cannot_be_opened_raises_at_once_and_leaves_no_thread() -> None:
    def opener() -> Source:
        raise SourceError("talk.mp4 does not exist: check the path")

    before = threading.active_count()
    with pytest.raises(SourceError, match="does not exist"):
        FilePlayer(opener)
    assert threading.active_count() == before


def test_a_file_that_vanishes_is_told_at_the_reader(stepped: Stepped) -> None:
    sources = iter([SyntheticSource(64, 48, 25.0, 1)])

    def opener() -> Source:
        source = next(sources, None)
        if source is None:
            raise SourceError("talk.mp4 does not exist: check the path")
        return source

    playing = FilePlayer(opener, clock=stepped.clock, clock_ns=stepped.clock.ns, wait=stepped.wait)
    try:
        with pytest.raises(SourceError, match="does not exist"):
            last_of(playing)
    finally:
        playing.close()


def last_of(playing: FilePlayer) -> None:
    while playing.read(10) is not None:
        pass


def test_a_visitors_camera_says_that_nobody_sends() -> None:
    source = BrowserCamera()
    assert source.trouble is not None
    source.begin()
    assert source.trouble is None
    source.accept(av.VideoFrame(64, 48, "yuv420p"), 7)
    taken = source.read(1)
    assert taken is not None
    assert taken.capture_ns == 7
    with pytest.raises(TimeoutError):
        source.read(0.001)
    source.close()
    assert source.read(1) is None


def test_a_browsers_recording_plays_at_its_frames_own_rate(testdata_dir: Path) -> None:
    """That file states no rate; what is sent out is encoded for the one that is found here."""
    playing = FilePlayer(lambda: open_input(testdata_dir / "cases" / "browser_recording.webm"))
    try:
        assert playing.fps == 30
        assert playing.read(10) is not None
    finally:
        playing.close()
