"""What is detected and what becomes of it: the tracker's thread and the actors, with fakes around them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from engine.live.acting import FaceActor, Moment, MotionActor
from engine.live.detecting import Detected, DetectionThread
from engine.live.lifeline import Lifeline
from engine.live.scene import Cast
from engine.live.stamps import FrameStamps
from engine.live.statistics import LiveStatistics
from render.avatars.avatar import Avatar
from render.motion import Motion
from tests.engine.live.fakes import (
    FakeClock,
    FakeDetector,
    FakeDriver,
    FakeSource,
    assert_set,
    cast_of,
    dies,
    found,
    frame,
    small_avatar,
)
from tracking.detect.detection import Detection
from tracking.detect.process import DetectorLostError


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return small_avatar()


# --- the tracker ------------------------------------------------------------------------------------------


class Tracking:
    def __init__(self, detector: FakeDetector) -> None:
        self.source, self.detector = FakeSource(), detector
        self.statistics, self.lifeline, self.clock = LiveStatistics(), Lifeline(), FakeClock()
        self.thread = DetectionThread(
            self.source, detector, self.statistics, self.lifeline, clock=self.clock, clock_ns=self.clock.ns
        )
        self.lifeline.spawn("tracker", self.thread.run)

    def track(self, number: int) -> Detected | None:
        self.source.latest.put(frame(number, capture_ns=self.clock.ns() - 5_000_000))
        return self.thread.detected.read(10)

    def close(self) -> None:
        self.lifeline.stop()
        self.source.close()
        self.lifeline.join(10)


def test_detections_carry_their_frames_stamps() -> None:
    tracking = Tracking(FakeDetector())
    tracked = tracking.track(3)
    assert tracked is not None
    assert tracked.detection.index == 3
    assert dict(tracked.stamps.durations_ms()) == {"capture": 5, "track": 0}
    tracking.close()
    assert tracking.detector.closed
    assert tracking.thread.detected.closed


def test_a_tracker_that_dies_is_restarted_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.live.detecting.FIRST_PAUSE_S", 0.0)
    tracking = Tracking(FakeDetector(lambda number: dies(number) if number == 1 else None))
    tracking.source.latest.put(frame(0))
    while not tracking.detector.num_restarts:
        assert not tracking.lifeline.wait(0.01)
    assert tracking.track(1) is not None  # goes on
    assert tracking.statistics.total("tracker_restart") == 1
    tracking.close()
    tracking.lifeline.raise_error()


def test_a_tracker_that_always_dies_ends_the_loop_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.live.detecting.FIRST_PAUSE_S", 0.0)
    tracking = Tracking(FakeDetector(dies))
    number = 0
    while not tracking.lifeline.wait(0.001):
        tracking.source.latest.put(frame(number := number + 1))
    with pytest.raises(DetectorLostError):
        tracking.lifeline.raise_error()
    assert tracking.statistics.total("tracker_restart") == 4
    tracking.close()


def test_a_tracker_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr("engine.live.detecting.os.kill", lambda pid, signal: killed.append(pid))
    hanging, release = threading.Event(), threading.Event()

    def hang(number: int) -> None:
        if number == 2:
            hanging.set()
            assert_set(release)

    tracking = Tracking(FakeDetector(hang))
    tracking.detector.pid = 4242
    assert tracking.track(0) is not None
    tracking.source.latest.put(frame(1))
    assert_set(hanging)
    tracking.clock.now_s += 4
    tracking.thread.end_if_hung()
    assert killed == []  # slow, but it may come
    tracking.clock.now_s += 2
    tracking.thread.end_if_hung()
    assert killed == [4242]
    release.set()
    tracking.close()


# --- actors -----------------------------------------------------------------------------------------------


def test_the_avatar_idles_while_no_frames_come_and_goes_on_when_they_do(
    avatar: Avatar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.live.acting.GONE_AFTER_S", 0.01)
    monkeypatch.setattr("engine.live.acting.IDLE_S", 0.01)
    thread = DetectionThread(FakeSource(), FakeDetector(), LiveStatistics(), Lifeline())
    cast = cast_of(avatar)
    clock = FakeClock()
    actor = FaceActor(thread.detected, clock_ns=clock.ns)
    idle = actor.next(cast)
    assert idle is not None
    assert not idle.driven
    thread.detected.put(Detected(found(123), FrameStamps(123, 124, 125)))
    driven = actor.next(cast)
    assert driven is not None
    assert driven.driven
    assert driven.found
    assert driven.stamps.capture_ns == 123
    idle = actor.next(cast)
    assert idle is not None
    assert not idle.driven
    assert idle.stamps.capture_ns == clock.ns()
    assert [d.found for d in cast.driver.seen] == [False, True, False]  # type: ignore[union-attr]
    thread.detected.close()
    assert actor.next(cast) is None


class LookingAhead:
    """A detection thread that looks at every third frame; its second look waits for `may_answer`."""

    def __init__(self, script: Callable[[int], None] | None = None) -> None:
        self.source, self.lifeline, self.statistics = FakeSource(), Lifeline(), LiveStatistics()
        self.may_answer = threading.Event()
        self.detector = FakeDetector(script or (lambda number: None if number == 1 else self._wait()))
        self.thread = DetectionThread(
            self.source, self.detector, self.statistics, self.lifeline, detect_every=lambda: 3
        )
        self.lifeline.spawn("tracker", self.thread.run)

    def show(self, number: int) -> tuple[int, int, bool]:
        """The times of a frame and of the detection that comes with it, and whether a look was timed."""
        self.source.latest.put(frame(number, capture_ns=number))
        detected = self.thread.detected.read(10)
        assert detected is not None
        return detected.stamps.capture_ns, detected.detection.capture_ns, detected.tracking_ms is not None

    def await_looks(self, number: int) -> None:
        while self.statistics.total("track") < number:
            assert not self.lifeline.wait(0.001)

    def close(self) -> None:
        self.lifeline.stop()
        self.source.close()
        self.lifeline.join(10)
        self.lifeline.raise_error()

    def _wait(self) -> None:
        assert self.may_answer.wait(10)


def test_frames_between_two_detections_come_with_the_last_one() -> None:
    looking = LookingAhead()
    looking.may_answer.set()
    seen = []
    for number in range(8):
        seen.append(looking.show(number))
        looking.await_looks(1 + number // 3)
    looking.close()
    assert looking.detector.num_asked == 3
    # what is found in the third comes with the fourth, and so does what it took
    detections = [0, 0, 0, 0, 3, 3, 3, 6]
    assert seen == [(n, detection, n in (0, 4, 7)) for n, detection in enumerate(detections)]


def test_no_frame_waits_for_a_look_at_the_one_before() -> None:
    looking = LookingAhead()
    assert [looking.show(number)[1] for number in range(8)] == [0] * 8
    assert looking.detector.num_asked == 2  # the sixth was not looked at: the third still is
    looking.may_answer.set()
    looking.await_looks(2)
    assert looking.show(8)[:2] == (8, 3)
    looking.close()


def test_no_frame_goes_on_while_a_new_tracker_loads() -> None:
    looking = LookingAhead(lambda number: dies(number) if number == 2 else None)
    assert [looking.show(number)[1] for number in range(4)] == [0] * 4
    while not looking.detector.num_restarts:
        assert not looking.lifeline.wait(0.001)
    assert looking.show(4)[:2] == (4, 4)  # looked at by the new one, not shown with what the old one saw
    looking.close()


class TurningDriver(FakeDriver):
    """Turns the head by a hundredth of a radian a millisecond."""

    def update(self, detection: Detection) -> Motion:
        motion = super().update(detection)
        return replace(motion, head_rotation=np.array([0.0, detection.capture_ns / 1e8, 0.0]))


def shown_by(actor: FaceActor, thread: DetectionThread, cast: Cast, detected: Detected) -> Moment:
    thread.detected.put(detected)
    moment = actor.next(cast)
    assert moment is not None
    return moment


def turning_face(avatar: Avatar) -> tuple[FaceActor, DetectionThread, Cast, TurningDriver]:
    thread = DetectionThread(FakeSource(), FakeDetector(), LiveStatistics(), Lifeline())
    driver = TurningDriver(avatar)
    cast = Cast("vera", avatar, driver)  # type: ignore[arg-type]
    return FaceActor(thread.detected, clock_ns=FakeClock().ns), thread, cast, driver


def test_a_frame_that_was_not_looked_at_shows_the_face_where_it_will_be(avatar: Avatar) -> None:
    actor, thread, cast, driver = turning_face(avatar)
    ms = 1_000_000
    for at in (0, 20 * ms, 40 * ms):
        shown_by(actor, thread, cast, Detected(found(at), FrameStamps(at)))
    last = driver.seen[-1]
    between = shown_by(actor, thread, cast, Detected(last, FrameStamps(50 * ms)))
    assert len(driver.seen) == 3  # nothing was measured again
    assert between.found
    assert between.motion.time_ns == 50 * ms
    assert 0.4 + 0.05 < between.motion.head_rotation[1] < 0.5  # at its speed, with the predictor's gain


def test_a_detection_overtaken_by_the_next_frame_is_not_lost(avatar: Avatar) -> None:
    actor, thread, cast, driver = turning_face(avatar)
    ms = 1_000_000
    shown_by(actor, thread, cast, Detected(found(0), FrameStamps(0)))
    moment = shown_by(actor, thread, cast, Detected(found(20 * ms), FrameStamps(30 * ms)))
    assert [d.capture_ns for d in driver.seen] == [0, 20 * ms]
    assert moment.motion.head_rotation[1] > 0.2


def test_a_lost_face_stays_lost_in_frames_that_were_not_looked_at(avatar: Avatar) -> None:
    actor, thread, cast, driver = turning_face(avatar)
    lost = Detection.lost(0, 0, 64, 48)
    shown_by(actor, thread, cast, Detected(lost, FrameStamps(0)))
    moment = shown_by(actor, thread, cast, Detected(lost, FrameStamps(30)))
    assert not moment.found
    assert [(d.capture_ns, d.found) for d in driver.seen] == [(0, False), (30, False)]


def test_the_built_in_motion_keeps_its_rate_and_never_catches_up(avatar: Avatar) -> None:
    clock = FakeClock()

    class Waiting(Lifeline):
        def wait(self, timeout_s: float | None = None) -> bool:
            clock.now_s += timeout_s or 0.0
            return False

    actor = MotionActor(Waiting(), 25.0, clock=clock, clock_ns=clock.ns)
    cast = Cast("vera", avatar)
    times = [moment_ns(actor.next(cast)) for _ in range(3)]
    assert np.diff(times).tolist() == pytest.approx([40e6, 40e6], abs=1000)  # the clock's rounding
    clock.now_s += 10  # the machine slept
    late = [moment_ns(actor.next(cast)) for _ in range(3)]
    assert np.diff(late).min() >= 0
    assert late[-1] - late[0] >= 39_000_000  # at most one frame at once


def moment_ns(moment: Moment | None) -> int:
    assert moment is not None
    return moment.stamps.capture_ns
