"""Detection, actors and stage, each with fakes around it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.live.acting import FaceActor, Moment, MotionActor
from engine.live.detecting import Detected, DetectionThread
from engine.live.lifeline import Lifeline
from engine.live.lookahead import HorizonErrors, Lookahead
from engine.live.painter import Painter
from engine.live.scene import Cast, Scene, View
from engine.live.stage import Stage
from engine.live.stamps import FrameStamps
from engine.live.statistics import LiveStatistics
from render.avatars.avatar import Avatar
from render.cpu.backend import CpuBackend
from render.drawing import Picture
from render.motion import FACE, Motion
from tests.engine.live.fakes import (
    FakeClock,
    FakeDetector,
    FakeDriver,
    FakeSink,
    FakeSource,
    cast_of,
    dies,
    found,
    frame,
    small_avatar,
)
from tracking.detect.detection import Detection
from tracking.detect.process import DetectorLostError
from tracking.face.prediction import MotionPredictor
from transport.timecode import read_timecode


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return small_avatar()


# --- the lifeline -----------------------------------------------------------------------------------------


def test_an_error_in_a_thread_is_raised_with_its_own_traceback() -> None:
    lifeline = Lifeline()

    def breaks() -> None:
        raise KeyError("from the thread")

    lifeline.spawn("breaking", breaks)
    assert lifeline.wait(10)
    lifeline.join(10)
    with pytest.raises(KeyError) as raised:
        lifeline.raise_error()
    assert raised.traceback[-1].name == "breaks"


def test_only_the_first_error_counts() -> None:
    lifeline = Lifeline()
    lifeline.fail(ValueError("the cause"))
    lifeline.fail(OSError("a consequence"))
    with pytest.raises(ValueError, match="the cause"):
        lifeline.raise_error()


def test_threads_that_do_not_end_are_named() -> None:
    lifeline, release = Lifeline(), threading.Event()
    lifeline.spawn("stubborn", lambda: assert_set(release))
    with pytest.raises(RuntimeError, match="stubborn"):
        lifeline.join(0.01)
    release.set()
    lifeline.join(10)


def assert_set(event: threading.Event) -> None:
    assert event.wait(10)


# --- stamps and statistics --------------------------------------------------------------------------------


def test_stages_are_the_time_between_stamps() -> None:
    ms = 1_000_000
    stamps = FrameStamps(0, 1 * ms, 10 * ms, 12 * ms, 14 * ms, 15 * ms, 22 * ms)
    assert dict(stamps.durations_ms()) == {
        "capture": 1, "track": 9, "wait": 2, "solve": 2, "pose": 1, "render": 7, "arrival_to_rendered": 22
    }  # fmt: skip
    assert dict(FrameStamps(0, posed_ns=3 * ms, rendered_ns=4 * ms).durations_ms()) == {
        "render": 1, "arrival_to_rendered": 4
    }  # fmt: skip


def test_figures_forget_what_is_long_past() -> None:
    clock = FakeClock()
    statistics = LiveStatistics(clock)
    for _ in range(60):
        statistics.add(FrameStamps(0, 0, 50_000_000))
        statistics.count("track")
        clock.now_s += 1 / 30
    assert statistics.figures()["track_p50_ms"] == 50
    assert statistics.rate("track") == pytest.approx(30, abs=1)  # whole frames in two seconds
    clock.now_s += 11
    statistics.add(FrameStamps(0, 0, 10_000_000))
    assert statistics.figures()["track_p99_ms"] == 10
    assert statistics.rate("track") == 0
    assert statistics.total("track") == 60


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


# --- prediction -------------------------------------------------------------------------------------------


def test_the_error_of_a_prediction_is_measured_per_horizon() -> None:
    predictor, errors = MotionPredictor(), HorizonErrors((33,))
    speed = math.radians(60)
    for number in range(30):
        time_s = number / 30
        motion = Motion.of({"a": 0.0}, (0.0, speed * time_s, 0.0))
        predictor.update(motion, time_s)
        errors.update(motion, time_s, predictor)
    figures = errors.figures()
    # standing still lags a turn of 60 degrees a second by 33 ms; the first guess knows no speed yet
    assert figures["predict_33ms_rotation_deg_held"] == pytest.approx(60 * 0.033, rel=0.01)
    assert figures["predict_33ms_rotation_deg"] < 0.35 * figures["predict_33ms_rotation_deg_held"]


# --- the stage --------------------------------------------------------------------------------------------


class ListActor:
    def __init__(self, avatar: Avatar, lifeline: Lifeline, times_ns: list[int]) -> None:
        self._motion = Motion.neutral(avatar.rig.unit_names)
        self._lifeline = lifeline
        self._times = list(times_ns)

    def next(self, cast: Cast) -> Moment | None:
        if len(self._times) == 1:
            self._lifeline.stop()
        now = self._times.pop(0)
        return Moment(self._motion, FrameStamps(now, now, now, now, now))


def play(
    avatar: Avatar, sink: FakeSink, clock: FakeClock, num: int = 3, view: View | None = None
) -> LiveStatistics:
    lifeline, statistics = Lifeline(), LiveStatistics(clock)
    times = [clock.ns() + number * 33_000_000 for number in range(num)]
    stage = Stage(
        ListActor(avatar, lifeline, times),
        Scene(cast_of(avatar), view or View((0.2, 0.4, 0.6))),
        Painter(400, 240, CpuBackend()),
        [sink],
        statistics,
        lifeline,
        fps=lambda: 30.0,
        timecode=True,
        clock=clock,
        clock_ns=clock.ns,
    )
    stage.run()
    return statistics


def test_every_moment_becomes_a_picture_with_its_timecode(avatar: Avatar) -> None:
    sink, clock = FakeSink(), FakeClock()
    begin_ns = clock.ns()
    statistics = play(avatar, sink, clock)
    assert [ns for _, ns in sink.shown] == [begin_ns, begin_ns + 33_000_000, begin_ns + 66_000_000]
    for picture, ns in sink.shown:
        assert picture.shape == (360, 400)
        assert read_timecode(picture) == ns // 1_000_000
    assert len({id(picture) for picture, _ in sink.shown}) == 3  # nobody writes into a shown picture
    assert statistics.total("render") == 3


def test_nothing_is_drawn_for_nobody_but_now_and_then(avatar: Avatar) -> None:
    sink = FakeSink(watched=False)
    play(avatar, sink, FakeClock(), num=10)  # the clock stands still
    assert len(sink.shown) == 1


def test_the_mirror_turns_the_picture_but_not_the_timecode(avatar: Avatar) -> None:
    background = np.zeros((240, 400, 3), np.uint8)
    background[:, :200] = 255
    pictures = []
    for mirror in (False, True):
        sink = FakeSink()
        play(avatar, sink, FakeClock(), 1, View(background, mirror=mirror))
        pictures.append(sink.shown[0][0])
    plain, mirrored = pictures
    assert read_timecode(mirrored) == read_timecode(plain)
    np.testing.assert_array_equal(mirrored[8:240], plain[8:240, ::-1])
    assert plain[200, 10] > 200
    assert plain[200, 390] < 40


@pytest.mark.parametrize("scale", [0.84, 0.5])
def test_a_smaller_drawing_fills_the_same_picture(avatar: Avatar, scale: float) -> None:
    painter = Painter(400, 240, CpuBackend())
    gaussians = avatar.pose(avatar.rig.neutral_params())
    picture = np.full((240, 400, 3), 90, np.uint8)
    full = painter.paint(gaussians, avatar, View(picture))
    small = painter.paint(gaussians, avatar, View(picture), scale)
    painter.close()
    assert small.shape == full.shape
    # the same view: only detail is lost
    assert np.abs(small.astype(int) - full.astype(int)).mean() < 4


def test_the_view_can_be_turned_and_brought_closer(avatar: Avatar) -> None:
    painter = Painter(400, 240, CpuBackend())
    gaussians = avatar.pose(avatar.rig.neutral_params())
    views = [View((0, 0, 0)), View((0, 0, 0), yaw_deg=60), View((0, 0, 0), zoom=2.0)]
    covered = [int((painter.paint(gaussians, avatar, view)[:240] > 20).sum()) for view in views]
    painter.close()
    assert covered[2] > 1.3 * covered[0]
    assert covered[1] != covered[0]


def test_the_face_is_shown_where_it_will_be_and_a_lost_face_where_it_is() -> None:
    lookahead = Lookahead(lambda: 33.0)

    def motion_at(number: int, found: bool = True) -> Motion:
        turned = Motion.of({"jawOpen": 0.0}, (0.0, 0.02 * number, 0.0))
        return replace(turned, time_ns=number * 33_333_333, confidence={FACE: float(found)})

    for number in range(12):
        motion = motion_at(number)
        shown = lookahead(motion, motion.time_ns)
    yaw = shown.head_rotation[1]
    # a frame ahead, with the predictor's gain of 0.8
    assert 0.02 * 11 + 0.5 * 0.02 < yaw < 0.02 * 12
    assert {f"predict_{ms}ms_rotation_deg" for ms in (17, 33, 50)} <= set(lookahead.figures())
    lost = motion_at(12, found=False)
    assert lookahead(lost, lost.time_ns) is lost


def test_a_slow_machine_draws_smaller_only_while_someone_watches(avatar: Avatar) -> None:
    for watched in (False, True):
        clock, lifeline = FakeClock(), Lifeline()
        sink = FakeSink(watched)
        stage = Stage(
            SteadyActor(avatar, lifeline, clock),
            Scene(cast_of(avatar), View((0.0, 0.0, 0.0))),
            SlowPainter(clock),
            [sink],
            LiveStatistics(clock),
            lifeline,
            fps=lambda: 30.0,
            clock=clock,
            clock_ns=clock.ns,
        )
        stage.run()
        assert (stage.deadline.effort.scale < 1) is watched
        assert len(sink.shown) >= 30


def test_an_avatar_chosen_meanwhile_waits_for_the_next_moment(avatar: Avatar) -> None:
    clock, lifeline, sink = FakeClock(), Lifeline(), FakeSink()
    other: Any = None  # posing it would fail
    scene = Scene(cast_of(avatar), View((0.0, 0.0, 0.0)))

    class Changing(ListActor):
        def next(self, cast: Cast) -> Moment | None:
            scene.change_cast(Cast("other", other))
            return super().next(cast)

    actor = Changing(avatar, lifeline, [0])
    stage = Stage(
        actor,
        scene,
        Painter(64, 64, CpuBackend()),
        [sink],
        LiveStatistics(clock),
        lifeline,
        fps=lambda: 30.0,
        clock=clock,
        clock_ns=clock.ns,
    )
    stage.run()
    assert len(sink.shown) == 1


class SlowPainter(Painter):
    """Every picture takes 100 ms on the clock."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(64, 64, CpuBackend())
        self._clock = clock

    def paint(self, *args: Any, **options: Any) -> Picture:
        self._clock.now_s += 0.1
        return super().paint(*args, **options)


class SteadyActor(ListActor):
    """Sixty moments, a second apart."""

    def __init__(self, avatar: Avatar, lifeline: Lifeline, clock: FakeClock) -> None:
        super().__init__(avatar, lifeline, list(range(60)))
        self._clock = clock

    def next(self, cast: Cast) -> Moment | None:
        moment = super().next(cast)
        assert moment is not None
        self._clock.now_s += 1
        now = self._clock.ns()
        return Moment(moment.motion, FrameStamps(now, now, now, now, now))
