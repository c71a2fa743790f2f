"""The deadline controller on a made-up machine whose frames cost what the test says."""

from __future__ import annotations

import pytest

from engine.live.deadline import SCALES, DeadlineConfig, DeadlineController

FRAME_MS = 1000 / 30
CONFIG = DeadlineConfig()


class Machine:
    """Draws a source of 30 frames a second; one costs `fixed` and, at full size, `drawing` milliseconds."""

    def __init__(self) -> None:
        self.controller = DeadlineController(CONFIG)
        self.now_s = 0.0

    def play(self, seconds: float, fixed: float, drawing: float, waiting: float = 0.0) -> set[float]:
        """Every scale that was used; `waiting`: least milliseconds between two frames of the tracker."""
        used = set()
        end_s = self.now_s + seconds
        while self.now_s < end_s - 1e-9:
            scale = self.controller.scale
            used.add(scale)
            drawn = drawing * shrunk(scale)
            self.now_s += max(FRAME_MS, fixed + drawn, waiting) / 1e3
            self.controller.update(fixed, drawn, FRAME_MS, self.now_s)
        return used


def shrunk(scale: float) -> float:
    """The share of the full picture's drawing cost."""
    return 1 - CONFIG.pixel_share * (1 - scale**2)


def test_a_machine_with_time_draws_every_pixel() -> None:
    assert Machine().play(20, fixed=4, drawing=10) == {1.0}


def test_an_overloaded_machine_draws_fewer_until_the_frame_fits() -> None:
    machine = Machine()
    machine.play(10, fixed=4, drawing=40)
    scale = machine.controller.scale
    assert scale < 1
    assert 4 + 40 * shrunk(scale) <= CONFIG.late * FRAME_MS
    assert machine.controller.num_falls == SCALES.index(scale)  # no step more than needed, none taken back


def test_it_falls_within_a_second_or_two() -> None:
    machine = Machine()
    machine.play(2, fixed=4, drawing=60)
    assert machine.controller.num_falls >= 2  # two windows of 15 frames


def test_nothing_below_the_smallest_scale() -> None:
    machine = Machine()
    machine.play(30, fixed=100, drawing=500)
    assert machine.controller.scale == SCALES[-1]


def test_resolution_comes_back_after_the_load() -> None:
    machine = Machine()
    machine.play(10, fixed=4, drawing=40)
    machine.play(40, fixed=4, drawing=10)
    assert machine.controller.scale == 1.0
    assert machine.controller.num_rises == machine.controller.num_falls


@pytest.mark.parametrize("drawing", [15, 20, 25, 28, 30, 33, 36, 40, 45, 50])
def test_a_steady_load_settles(drawing: float) -> None:
    machine = Machine()
    machine.play(10, fixed=4, drawing=drawing)
    assert len(machine.play(60, fixed=4, drawing=drawing)) == 1


def test_a_rise_that_had_to_be_taken_back_is_tried_less_and_less_often() -> None:
    machine = Machine()
    machine.play(10, fixed=4, drawing=40)
    rises = []
    for _ in range(4):
        # calm at the small scale, overload as soon as it rises: a model of the drawing that is wrong
        before, begin_s = machine.controller.num_rises, machine.now_s
        while machine.controller.num_rises == before:
            machine.play(1 / 30, fixed=1, drawing=1)
        rises.append(machine.now_s - begin_s)
        machine.play(2, fixed=4, drawing=200)
    assert rises[0] < rises[1] < rises[2] < rises[3]


def test_one_slow_frame_changes_nothing() -> None:
    machine = Machine()
    machine.play(5, fixed=4, drawing=10)
    machine.play(1 / 30, fixed=4, drawing=500)
    assert machine.play(5, fixed=4, drawing=10) == {1.0}


def test_a_slow_tracker_is_not_answered_with_a_smaller_picture() -> None:
    assert Machine().play(20, fixed=4, drawing=20, waiting=50) == {1.0}


def test_a_machine_that_just_holds_the_rate_keeps_its_size() -> None:
    assert Machine().play(20, fixed=4, drawing=0.95 * FRAME_MS - 4) == {1.0}


def test_falls_that_gain_nothing_are_taken_back() -> None:
    machine = Machine()
    machine.play(2, fixed=40, drawing=3)
    assert machine.controller.num_falls > 0
    machine.play(3, fixed=40, drawing=3)
    assert machine.controller.scale == 1.0
    assert machine.play(40, fixed=40, drawing=3) == {1.0}  # and not tried again soon


def test_costs_are_judged_against_the_sources_rate() -> None:
    slow, fast = DeadlineController(CONFIG), DeadlineController(CONFIG)
    for number in range(60):
        slow.update(4, 16, 1000 / 30, number / 30)
        fast.update(4, 16, 1000 / 60, number / 50)
    assert slow.scale == 1.0
    assert fast.scale < 1.0
