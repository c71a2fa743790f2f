"""The machine's factor beside every benchmark's figures; nobody checks how fast this machine is here."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

import pytest

import bench
from bench import calibration, machine, publish
from bench.calibration import REFERENCE_MS, Calibration, calibrate


def taking(slower: float, waiting: float = 1.0) -> Calibration:
    """A machine's that takes `slower` times the reference's time, and waits for the core."""
    busy = {part: ms * slower for part, ms in REFERENCE_MS.items()}
    return Calibration(busy, {part: ms * waiting for part, ms in busy.items()})


def test_the_work_is_timed_part_by_part() -> None:
    measured = calibrate(repeats=1)
    assert set(measured.busy_ms) == set(measured.wall_ms) == set(REFERENCE_MS)
    assert all(ms > 0 for ms in measured.busy_ms.values())
    assert measured.factor > 0
    assert 0 < measured.share <= 1


def test_every_repeat_does_the_same_work() -> None:
    first, _ = (calibration._blend(*calibration._table()) for _ in range(2))
    assert (first == calibration._blend(*calibration._table())).all()
    source, _ = calibration._memory()
    calibration._stream()
    assert (source == 1).all()


def test_the_factor_is_the_speed_against_the_reference() -> None:
    assert taking(1.0).factor == pytest.approx(1.0)
    assert taking(2.0).factor == pytest.approx(0.5)  # half as fast
    assert taking(2.0, waiting=3.0).factor == pytest.approx(0.5)  # whatever else runs
    assert taking(2.0, waiting=4.0).share == pytest.approx(0.25)


def test_a_benchmark_is_calibrated_before_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def measured(slower: float) -> Calibration:
        order.append("calibrated")
        return taking(slower)

    speeds = iter((1.25, 1.3))
    loads = iter((3.0, 2.0))
    monkeypatch.setattr(machine, "calibrate", lambda: measured(next(speeds)))
    monkeypatch.setattr(machine, "_load", lambda: next(loads))

    @machine.on_this_machine
    def measure(frames: int) -> dict[str, Any]:
        order.append("measured")
        return {"bench": "x", "frames": frames}

    result = measure(3)
    assert order == ["calibrated", "measured", "calibrated"]
    assert (result["bench"], result["frames"]) == ("x", 3)
    facts = result["machine"]
    assert facts["factor"] == 0.8  # the better one
    assert facts["factors"] == [0.8, 0.769]
    assert facts["parts"] == dict.fromkeys(REFERENCE_MS, 0.8)
    assert facts["load_1min"] == 3.0  # the larger one
    assert facts["cores"] >= 1
    assert facts["quiet"]


@pytest.mark.parametrize(
    ("before", "after", "quiet"),
    [
        (taking(1.0), taking(1.1), True),
        (taking(1.0), taking(1.3), False),  # the processor slowed down
        (taking(1.3), taking(1.0), False),
        (taking(1.0, waiting=1.1), taking(1.0), True),
        (taking(1.0), taking(1.0, waiting=1.5), False),  # another program had the core
    ],
)
def test_a_machine_that_was_not_quiet_is_told(before: Calibration, after: Calibration, quiet: bool) -> None:
    facts = machine.describe_machine(before, after)
    assert facts["quiet"] is quiet
    assert ("not quiet" in machine.machine_lines(facts)) is not quiet
    assert f"factor {facts['factor']:.2f}" in machine.machine_lines(facts)


def test_what_is_published_tells_the_factor(capsys: pytest.CaptureFixture[str]) -> None:
    facts = machine.describe_machine(taking(2.0), taking(2.0))
    publish.publish({"bench": "x", "machine": facts}, "the table")
    printed = capsys.readouterr()
    assert printed.err.splitlines()[0] == "the table"
    assert "factor 0.50" in printed.err
    assert '"factor": 0.5' in printed.out


def test_no_benchmark_goes_without() -> None:
    names = [found.name for found in pkgutil.iter_modules(bench.__path__, "bench.") if not found.ispkg]
    measuring = {
        name: importlib.import_module(name).measure
        for name in names
        if "def measure(" in inspect.getsource(importlib.import_module(name))
    }
    assert len(measuring) >= 9
    assert [name for name, measure in measuring.items() if not hasattr(measure, "__wrapped__")] == []
