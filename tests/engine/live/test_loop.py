"""The whole loop with a real server: buttons, errors, and that nothing is left behind."""

from __future__ import annotations

import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from capture.cameras import CameraInfo, CameraMode
from capture.webcam import Webcam
from engine.live.detecting import Detector
from engine.live.lifeline import Lifeline
from engine.live.loop import LiveLoop, LiveSettings
from engine.live.scene import Cast
from engine.live.serve import on_air
from engine.live.sources import LiveSource
from engine.look import Look
from render.avatars.avatar import Avatar
from tests.engine.live.fakes import FakeDetector, FakeSink, FakeSource, cast_of, frame, small_avatar
from tests.transport.live_client import ask
from tracking.detect.face_detector import FaceDetectorFactory
from tracking.detect.process import DetectorLostError, DetectorProcess
from transport.errors import OutputError
from transport.http.controls import Background, ControlError, SourceKind
from transport.http.server import LiveServer, ServerSettings
from transport.sink import Sink

LOOK = Look(400, 240, (0.2, 0.4, 0.6))


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return small_avatar()


class CastingOf:
    """Has one avatar under every name."""

    def __init__(self, cast: Cast) -> None:
        self.first = cast.choice
        self._cast = cast

    def cast(self, choice: str, tell: Callable[[str], None] = lambda line: None) -> Cast:
        return replace(self._cast, choice=choice)


def show(
    cast: Cast,
    source: LiveSource | None = None,
    detector: Detector | None = None,
    *,
    kind: SourceKind = "camera",
    port: int = 0,
    sinks: Sequence[Sink] = (),
) -> AbstractContextManager[tuple[LiveLoop, LiveServer]]:
    """What `visavis live` runs, on any free port."""
    return on_air(
        LiveSettings(LOOK, kind),
        ServerSettings(port=port),
        CastingOf(cast),
        source,
        detector,
        sinks=sinks,
    )


def until(condition: Callable[[], Any]) -> Any:
    for _ in range(2000):
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError("did not happen within 20 s")


class Leftovers:
    """Threads, processes and descriptors of this process."""

    def __init__(self) -> None:
        gc.collect()
        self.threads = {thread.name for thread in threading.enumerate()}
        self.children = set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())
        self.descriptors = len(os.listdir("/proc/self/fd"))


def _taken(loop: LiveLoop, number: int) -> bool:
    return loop.statistics.total("source") > number


linux = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads /proc")


def shared_memory() -> set[Path]:
    """Blocks of multiprocessing's shared memory that this process has open."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {Path(line.split(maxsplit=5)[5]) for line in lines if "/dev/shm/psm_" in line}


def test_pictures_go_to_further_sinks_too(avatar: Avatar) -> None:
    """As to a virtual camera, while nobody has the page open."""
    sink = FakeSink()
    with show(Cast("vera", avatar), kind="motion", sinks=[sink]):
        until(lambda: len(sink.shown) > 5)
        assert {shown.shape for shown, _ in sink.shown} == {(LOOK.height * 3 // 2, LOOK.width)}
        assert not sink.closed
    assert sink.closed


def run_for_a_moment(cast: Cast, source: FakeSource, detector: FakeDetector) -> None:
    with show(cast, source, detector) as (loop, server):
        for number in range(3):
            source.latest.put(frame(number, time.time_ns()))
            until(partial(_taken, loop, number))
        until(lambda: loop.statistics.total("render") > 0)
        assert ask(server.address + "healthz").json == {"status": "ok"}


@linux
def test_nothing_is_left_behind(avatar: Avatar) -> None:
    def once() -> FakeDetector:
        source, detector = FakeSource(), FakeDetector()
        run_for_a_moment(cast_of(avatar), source, detector)
        assert source.closed
        assert detector.closed
        return detector

    once()  # libraries keep a few things from their first use
    before = Leftovers()
    once()
    after = Leftovers()
    assert after.threads == before.threads
    assert after.descriptors == before.descriptors
    assert after.children == before.children


@linux
def test_a_tracker_process_and_its_memory_are_gone_too(avatar: Avatar, models_dir: Path) -> None:
    before = Leftovers()
    source, detector = FakeSource(), DetectorProcess(FaceDetectorFactory())
    with show(cast_of(avatar), source, detector) as (loop, _):
        source.latest.put(frame(0, time.time_ns()))
        until(lambda: loop.statistics.total("track") == 1)
        killed = detector.pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        source.latest.put(frame(1, time.time_ns()))
        until(lambda: loop.statistics.total("tracker_restart") == 1)
        source.latest.put(frame(2, time.time_ns()))
        until(lambda: loop.statistics.total("track") == 2)  # the stream goes on with a new process
        assert detector.pid != killed
        memory = shared_memory()
        assert memory
    after = Leftovers()
    # multiprocessing's resource tracker serves this process until its end
    assert len(after.children - before.children) <= 1
    assert not shared_memory()
    assert not any(path.exists() for path in memory)
    assert not [name for name in after.threads - before.threads if "tracker" in name or "stage" in name]


def test_a_hanging_tracker_does_not_hold_up_the_end(avatar: Avatar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.live.loop.JOIN_S", 0.2)
    release = threading.Event()

    def hang(number: int) -> None:
        release.wait(20)
        raise DetectorLostError("the face detector's process died (exit code -9)")

    monkeypatch.setattr("engine.live.detecting.os.kill", lambda pid, signal: release.set())
    source, detector = FakeSource(), FakeDetector(hang)
    detector.pid = 4242
    with show(cast_of(avatar), source, detector) as (loop, _):
        source.latest.put(frame(0, time.time_ns()))
        until(lambda: detector.num_asked)
    assert release.is_set()
    loop.wait(0)  # no error: it was asked to end


def test_a_stages_error_ends_the_loop_and_is_raised_in_main(avatar: Avatar) -> None:
    class Broken:
        def update(self, detection: object) -> None:
            raise ZeroDivisionError("in the solver")

    driver: Any = Broken()
    source = FakeSource()
    with show(Cast("vera", avatar, driver), source, FakeDetector()) as (loop, _):
        source.latest.put(frame(0, time.time_ns()))
        with pytest.raises(ZeroDivisionError) as raised:
            loop.wait(20)
    assert raised.traceback[-1].name == "update"
    assert source.closed


def test_a_taken_port_is_told_and_the_inputs_are_closed(avatar: Avatar) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        source, detector = FakeSource(), FakeDetector()
        port = taken.getsockname()[1]
        told = pytest.raises(OutputError, match="another program listens there")
        with told, show(cast_of(avatar), source, detector, port=port):
            pass
    assert source.closed
    assert detector.closed


def test_a_camera_that_is_unplugged_leaves_the_stream_alive(avatar: Avatar) -> None:
    camera = PluggableCamera()
    info = CameraInfo(0, "cam", "/dev/video0")
    source = Webcam(0, cameras=lambda: [info], opener=camera.open, wait=lambda stop, seconds: stop.wait(0.01))
    with show(cast_of(avatar), source, FakeDetector()) as (loop, server):
        state = server.address + "api/state"
        until(lambda: ask(state).json["source_ok"])
        camera.plugged.clear()
        told = until(lambda: (answer := ask(state).json)["source_ok"] is False and answer)
        assert "unplugged" in told["message"]
        rendered = loop.statistics.total("render")
        until(lambda: loop.statistics.total("render") > rendered)  # it idles on
        camera.plugged.set()
        until(lambda: ask(state).json["source_ok"])
    assert camera.num_open == 0


class PluggableCamera:
    """A camera that is there while `plugged` is set."""

    fps, size = 30.0, (64, 48)

    def __init__(self) -> None:
        self.plugged = threading.Event()
        self.plugged.set()
        self.num_open = 0

    def open(self, info: CameraInfo, mode: CameraMode) -> PluggableCamera:
        if not self.plugged.is_set():
            raise OSError("camera cam is unplugged")
        self.num_open += 1
        return self

    def read(self) -> Any:
        time.sleep(0.02)
        if not self.plugged.is_set():
            raise OSError("camera cam is unplugged")
        return np.zeros((48, 64, 3), np.uint8)

    def close(self) -> None:
        self.num_open -= 1


# --- the page's buttons -----------------------------------------------------------------------------------


def test_the_pages_buttons_reach_the_scene(avatar: Avatar) -> None:
    source = FakeSource()
    cast = cast_of(avatar)
    with show(cast, source, FakeDetector()) as (loop, _):
        controls, scene = loop.controls, loop.scene
        controls.set_mirror(True)
        controls.orbit(20.0, 89.9, 1.5)
        controls.set_background(Background((255, 0, 0)))
        assert scene.view.mirror
        assert (scene.view.yaw_deg, scene.view.zoom) == (20.0, 1.5)
        assert scene.view.pitch_deg < 89  # from straight above no way is up
        assert scene.view.background == (1.0, 0.0, 0.0)
        with pytest.raises(ControlError, match="no face is seen"):
            controls.remeasure_neutral()
        source.latest.put(frame(0, time.time_ns()))
        until(lambda: loop.stage.face_found)
        controls.remeasure_neutral()
        until(lambda: cast.driver.num_neutral_wishes)  # type: ignore[union-attr]
        assert controls.state().has_neutral
        controls.choose_avatar("elias")
        assert controls.state().avatar == "elias"
        about = "small: nobody said whose likeness this is; no licence stated; not signed"
        assert controls.state().about == about
        assert not controls.state().has_neutral
        with pytest.raises(ControlError, match="no avatar of this name"):
            controls.choose_avatar("../../etc/passwd")
        picture = controls.avatar_picture("vera")
        assert picture is not None
        assert picture.startswith(b"\xff\xd8\xff"), "a JPEG"
        assert len(picture) < 25_000, "a phone loads one of everybody"
        assert controls.avatar_picture("../../etc/passwd") is None
        figures = controls.figures()
        assert figures["track_p50_ms"] >= 0
        assert figures["render_scale"] == 1.0


def test_the_motion_needs_no_source(avatar: Avatar) -> None:
    with show(Cast("vera", avatar), kind="motion") as (loop, server):
        until(lambda: loop.statistics.total("render"))
        state = ask(server.address + "api/state").json
        assert state["source"] == "motion"
        assert state["source_ok"]
        with pytest.raises(ControlError, match="no face to measure"):
            loop.controls.remeasure_neutral()
    assert "pictures in" in loop.summary()


class NullCamera:
    """A virtual camera that shows its pictures to nobody: all that a new sink has to be."""

    watched = True

    def __init__(self) -> None:
        self.times_ns: list[int] = []
        self.shapes: set[tuple[int, ...]] = set()
        self.closed = False

    def put(self, picture: NDArray[np.uint8], capture_ns: int) -> None:
        self.times_ns.append(capture_ns)
        self.shapes.add(picture.shape)

    def close(self) -> None:
        self.closed = True


def test_every_sink_gets_every_picture(avatar: Avatar) -> None:
    source, camera, other = FakeSource(), NullCamera(), FakeSink(watched=False)
    settings = LiveSettings(LOOK, "camera")
    cast = cast_of(avatar)
    with LiveLoop(settings, cast, lambda name: cast, [camera, other], source, FakeDetector()) as loop:
        loop.start()
        sent = []
        for number in range(5):
            sent.append(time.time_ns())
            source.latest.put(frame(number, sent[-1]))
            until(lambda: sent[-1] in camera.times_ns)
    assert [time_ns for time_ns in camera.times_ns if time_ns in sent] == sent  # it idles between them too
    assert [time_ns for _, time_ns in other.shown] == camera.times_ns  # one watched sink has all of it drawn
    assert camera.shapes == {(LOOK.height * 3 // 2, LOOK.width)}
    assert loop.statistics.total("render") == len(camera.times_ns)
    assert camera.closed
    assert other.closed


def test_a_sink_that_fails_ends_the_loop_with_its_error(avatar: Avatar) -> None:
    class Broken(NullCamera):
        def put(self, picture: NDArray[np.uint8], capture_ns: int) -> None:
            raise OutputError("the virtual camera is gone")

    broken = Broken()
    settings = LiveSettings(LOOK, "motion")
    with LiveLoop(settings, Cast("vera", avatar), lambda name: Cast(name, avatar), [broken]) as loop:
        loop.start()
        with pytest.raises(OutputError, match="camera is gone"):
            loop.wait(20)
    assert broken.closed


def test_waiting_ends_by_itself_or_when_stopped() -> None:
    lifeline = Lifeline()
    assert not lifeline.wait(0.001)
    lifeline.stop()
    assert lifeline.wait(10)
