"""The deadline controller on a made-up machine with a clock of its own; frames cost what the test says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from engine.live.deadline import (
    EFFORTS,
    DeadlineConfig,
    DeadlineController,
    Effort,
    FrameCost,
)

CONFIG = DeadlineConfig()
FULL, LEAST = EFFORTS[0], EFFORTS[-1]


@dataclass(frozen=True)
class Load:
    """Milliseconds of one frame: in the tracker, solving and posing, drawing at full effort."""

    tracking: float
    fixed: float
    drawing: float

    def times(self, factor: float) -> Load:
        return Load(self.tracking * factor, self.fixed * factor, self.drawing * factor)


FAST = Load(6.5, 2.0, 8.0)
LAPTOP = FAST.times(2)


@dataclass
class Seen:
    """What one `play` showed."""

    delays: list[float]
    efforts: list[tuple[Effort, int]]
    seconds: float

    @property
    def fps(self) -> float:
        return len(self.delays) / self.seconds

    def delay(self, percentile: float) -> float:
        return float(np.percentile(self.delays, percentile))


class Machine:
    """A tracker and a stage, each with one frame at a time; between them the newest frame wins."""

    def __init__(self, fps: float = 30.0) -> None:
        self.controller = DeadlineController(CONFIG)
        self._frame_ms = 1e3 / fps
        self._tracker_free = self._stage_free = self._looked_until = 0.0
        self._next_frame = 0
        self._num_passed = 0
        self._waiting: tuple[float, float, float | None] | None = None
        self._noise = np.random.default_rng(0)

    def play(self, seconds: float, load: Load, *, noise: float = 0.1, held_up: float = 0.0) -> Seen:
        """`held_up`: milliseconds that the first frame's drawing takes on top."""
        seen, begin = Seen([], [], seconds), self._stage_free
        while self._stage_free < begin + 1e3 * seconds:
            effort = self.controller.effort
            seen.efforts.append((effort, self.controller.detect_every))
            ready, arrival, tracking = self._newest(load, noise)
            fixed = load.fixed * self._shaken(noise)
            drawing = load.drawing * drawn(effort) * self._shaken(noise) + held_up
            held_up = 0.0
            self._stage_free = max(self._stage_free, ready) + fixed + drawing
            cost = FrameCost(self._stage_free - arrival, fixed, drawing, tracking)
            self.controller.update(cost, self._frame_ms, self._stage_free / 1e3)
            seen.delays.append(cost.delay)
        return seen

    def _newest(self, load: Load, noise: float) -> tuple[float, float, float | None]:
        taken = self._waiting or self._tracked(load, noise)
        while (following := self._tracked(load, noise))[0] <= self._stage_free:
            taken = following
        self._waiting = following
        return taken

    def _tracked(self, load: Load, noise: float) -> tuple[float, float, float | None]:
        """When it is ready, when it arrived, what tracking it took."""
        number = max(self._next_frame, int(self._tracker_free / self._frame_ms))
        self._next_frame = number + 1
        arrival = number * self._frame_ms
        ready = max(arrival, self._tracker_free)
        every = self.controller.detect_every
        tracking = None
        self._num_passed += 1
        if self._num_passed >= every and self._looked_until <= ready:
            self._num_passed, tracking = 0, load.tracking * self._shaken(noise)
            self._looked_until = ready + tracking
            ready += tracking if every == 1 else 0.0  # else the frame goes on, and the look beside it
        self._tracker_free = ready
        return ready, arrival, tracking

    def _shaken(self, noise: float) -> float:
        return float(np.exp(noise * self._noise.normal()))


def drawn(effort: Effort) -> float:
    """The share of the full picture's drawing cost, as the controller takes it to be."""
    pixels = 1 - CONFIG.pixel_share * (1 - effort.scale**2)
    return pixels * (1 - CONFIG.gaussian_share * (1 - effort.share))


@pytest.mark.parametrize("load", [FAST, LAPTOP.times(0.9)])
def test_a_machine_with_time_gives_every_picture_full_effort(load: Load) -> None:
    assert set(Machine().play(30, load).efforts) == {(FULL, 1)}


def test_a_machine_half_as_fast_holds_the_delay() -> None:
    machine = Machine()
    machine.play(4, LAPTOP.times(1.2))
    seen = machine.play(20, LAPTOP.times(1.2))
    assert seen.delay(75) <= CONFIG.budget_ms
    assert seen.fps > 29


def test_a_second_program_of_equal_weight_costs_pixels_and_not_delay() -> None:
    machine = Machine()
    machine.play(10, LAPTOP)
    machine.play(3, LAPTOP.times(2))  # in so long it finds its level
    seen = machine.play(20, LAPTOP.times(2))
    uncontrolled = 2 * sum((LAPTOP.tracking, LAPTOP.fixed, LAPTOP.drawing))
    assert seen.delay(95) < 0.9 * uncontrolled
    assert seen.fps > 25


def test_what_is_given_up_first_and_last() -> None:
    machine = Machine()
    used = [used for used in dict.fromkeys(machine.play(20, LAPTOP.times(4)).efforts)]
    assert used == sorted(used, key=lambda e: (e[1], -e[0].scale, -e[0].share))
    assert used[0] == (FULL, 1)
    assert used[-1] == (LEAST, 2)


def test_everything_comes_back_after_the_load() -> None:
    machine = Machine()
    machine.play(10, LAPTOP.times(3))
    assert machine.controller.effort != FULL
    machine.play(60, FAST)
    assert (machine.controller.effort, machine.controller.detect_every) == (FULL, 1)


def test_what_comes_back_comes_step_by_step() -> None:
    machine = Machine()
    machine.play(10, LAPTOP.times(3))
    levels = [EFFORTS.index(effort) for effort, _ in machine.play(60, FAST).efforts]
    changes = np.flatnonzero(np.diff(levels))
    assert set(np.diff(levels)[changes]) == {-1}
    assert np.diff(changes).min() >= CONFIG.rise_after_s * 29


@pytest.mark.parametrize("factor", np.arange(1.0, 6.1, 0.25))
@pytest.mark.parametrize("noise", [0.0, 0.15])
def test_a_steady_load_settles(factor: float, noise: float) -> None:
    machine = Machine()
    machine.play(30, FAST.times(factor), noise=noise)
    changes = machine.controller.num_falls + machine.controller.num_rises
    machine.play(60, FAST.times(factor), noise=noise)
    # a rise may be tried once and taken back; no picture grows and shrinks all the time
    assert machine.controller.num_falls + machine.controller.num_rises - changes <= 4


def test_a_load_that_comes_and_goes_is_answered_less_and_less_often() -> None:
    machine = Machine()
    rises = []
    for _ in range(6):
        machine.play(3, LAPTOP.times(2))
        before = machine.controller.num_rises
        machine.play(4, FAST)
        rises.append(machine.controller.num_rises - before)
    assert rises[-1] < rises[0]


def test_one_slow_frame_changes_nothing() -> None:
    machine = Machine()
    machine.play(5, FAST)
    assert set(machine.play(5, FAST, held_up=500.0).efforts) == {(FULL, 1)}


def test_a_slow_tracker_is_not_answered_with_a_smaller_picture() -> None:
    machine = Machine()
    machine.play(5, Load(60, 4, 12))
    seen = machine.play(20, Load(60, 4, 12))
    assert set(seen.efforts) == {(FULL, 2)}
    assert seen.fps > 25  # 16 without predicted frames


def test_a_fast_camera_is_tracked_thirty_times_a_second() -> None:
    for fps, every in ((25, 1), (30, 1), (48, 1), (50, 2), (60, 2), (120, 4)):
        machine = Machine(fps)
        machine.play(3, Load(4, 1, 2))
        assert machine.controller.detect_every == every, fps
        assert machine.controller.effort == FULL


def test_costs_are_judged_against_the_sources_rate() -> None:
    slow, fast = Machine(30), Machine(60)
    slow.play(10, Load(3, 5, 22))
    fast.play(10, Load(3, 5, 22))
    assert slow.controller.effort == FULL
    assert fast.controller.effort.scale < 1.0


def test_a_fast_cameras_pictures_stay_sharp_where_they_are_smooth() -> None:
    machine = Machine(60)
    seen = machine.play(20, Load(6, 3, 16))
    assert machine.controller.effort == FULL
    assert seen.fps > 45
