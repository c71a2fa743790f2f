"""The lifeline, the figures, prediction and the stage, each with fakes around it."""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.live.acting import Moment
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
    FakeSink,
    assert_set,
    cast_of,
    small_avatar,
)
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
