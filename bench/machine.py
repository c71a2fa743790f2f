"""What machine the figures are of, how fast it is and whether it was quiet: a part of every result.

Two machines' figures compare by the factor of `bench.calibration`, which every benchmark times in its run.
"""

from __future__ import annotations

import functools
import os
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec

from bench.calibration import REFERENCE_MS, Calibration, calibrate
from render.cpu.renderer import usable_cores

QUIET = 0.85  # of a core, and of the other of two calibrations: less, and the machine was not quiet

P = ParamSpec("P")


def on_this_machine(measure: Callable[P, dict[str, Any]]) -> Callable[P, dict[str, Any]]:
    """The benchmark with "machine" in its result: calibrated, and the load looked at, before and after it."""

    @functools.wraps(measure)
    def measured(*args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        load, before = _load(), calibrate()
        result = measure(*args, **kwargs)
        return {**result, "machine": describe_machine(before, calibrate(), load)}

    return measured


def describe_machine(before: Calibration, after: Calibration, load: float | None = None) -> dict[str, Any]:
    """Processor, cores this process may use, system, how busy the machine is, and how fast.

    "factor" is the machine's speed against the reference's and "parts" that of each part of the calibration;
    "factors" and "shares" (of a core) are those of `before` and `after`, and "load_1min" is the larger of
    `load`, that of the beginning, and the present one. "quiet" says whether other work left them alone.
    """
    loads = [known for known in (load, _load()) if known is not None]
    factors = [before.factor, after.factor]
    shares = [before.share, after.share]
    faster = max(before, after, key=lambda calibration: calibration.factor)  # the other one was disturbed
    return {
        "cpu": _processor(),
        "cores": usable_cores(),
        "system": platform.system(),
        "load_1min": max(loads) if loads else None,
        "factor": round(faster.factor, 3),
        "parts": {part: round(ms / faster.busy_ms[part], 3) for part, ms in REFERENCE_MS.items()},
        "factors": [round(factor, 3) for factor in factors],
        "shares": [round(share, 3) for share in shares],
        "quiet": min(shares) >= QUIET and min(factors) >= QUIET * max(factors),
    }


def machine_lines(machine: Mapping[str, Any]) -> str:
    """The machine for people: one line, and a second one when it was not quiet."""
    load = "" if machine["load_1min"] is None else f", load {machine['load_1min']}"
    text = f"machine: {machine['cpu']}, {machine['cores']} cores{load}; factor {machine['factor']:.2f}"
    text += " (1 is the reference, 0.5 is half as fast)"
    if machine["quiet"]:
        return text
    before, after = machine["factors"]
    return (
        f"{text}\nnot quiet: factor {before:.2f} before and {after:.2f} after, "
        f"{min(machine['shares']):.0%} of a core free; these figures are of a busy machine"
    )


def print_machine(result: Mapping[str, Any]) -> None:
    """The machine of a benchmark's result to stderr, for below its table."""
    if "machine" in result:
        print(machine_lines(result["machine"]), file=sys.stderr)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _load() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
