"""How fast this machine is, by a fixed piece of work on one core, so that figures of two machines compare.

The work is of the kinds that a frame is made of, and shares no code with the product, which gets faster:
splatting (gathers from a table of splats of an avatar's size, exponentials, blending in sixteen float32 lanes
as vector code), a stream through more memory than the caches hold, and the interpreter. Never change it: the
figures that are kept would no longer compare.

The factor is the reference's time over this machine's: 1.0 on the machine of the figures of 2026-11-20 (AMD
EPYC, two cores of a 2.6 GHz Zen 4 in a virtual machine), 0.5 on one that is half as fast. A time multiplied
by the factor, or frames per second divided by it, is about what the reference would show. It counts processor
time, so that it is the machine's own; what other programs take of the core is told apart, as `share`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.machine_code import kept_njit

REPEATS = 7  # of which the median counts
# Processor time of the parts on the reference, which is gone, by way of a slower machine with the same kind
# of processor. There, in turns with this work, the renderer of the reference's day took 10.7 ms or more for
# a picture of vera on one core, 7.28 ms on the reference; splatting here took 33.7 ms: 33.7 * 7.28 / 10.7.
# The other parts are that machine's own (least of many), since posing, of which both figures exist too, was
# not slower there.
REFERENCE_MS = {"splat": 23.0, "stream": 9.1, "interpreter": 9.0}

_SPLATS, _VISITS = 43_868, 1_200_000  # the built-in avatar's number
_LANES = 16
_STREAM_FLOATS = 6_000_000
_LOOPS = 120_000

F = np.float32


@dataclass(frozen=True, slots=True)
class Calibration:
    """Milliseconds that each part took, medians: processor time of its thread, and by the clock."""

    busy_ms: dict[str, float]
    wall_ms: dict[str, float]

    @property
    def factor(self) -> float:
        """How fast the machine is; 1.0 is the reference."""
        return sum(REFERENCE_MS.values()) / sum(self.busy_ms.values())

    @property
    def share(self) -> float:
        """How much of a core this process got while it wanted one, 0..1; other work takes the rest."""
        return min(1.0, sum(self.busy_ms.values()) / sum(self.wall_ms.values()))


def calibrate(repeats: int = REPEATS) -> Calibration:
    """Time the work: 0.3 s on the reference, and once a process the loading of its kernel."""
    parts = {"splat": _splat, "stream": _stream, "interpreter": _interpret}
    for part in parts.values():
        part()
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in parts}
    for _ in range(repeats):
        for name, part in parts.items():
            busy, wall = time.thread_time(), time.perf_counter()
            part()
            taken[name].append((time.thread_time() - busy, time.perf_counter() - wall))
    medians = {name: np.median(times, axis=0) * 1e3 for name, times in taken.items()}
    busy_ms, wall_ms = ({name: float(both[i]) for name, both in medians.items()} for i in range(2))
    return Calibration(busy_ms, wall_ms)


@cache
def _table() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Splats [_SPLATS, 16], one cache line each, and the order in which they are drawn [_VISITS]."""
    random = np.random.default_rng(0)
    table = random.random((_SPLATS, 16), np.float32)
    return table, random.integers(0, _SPLATS, _VISITS)


def _splat() -> None:
    _blend(*_table())


@kept_njit(nogil=True, error_model="numpy", fastmath={"contract", "arcp", "nsz", "afn", "reassoc"})
def _blend(table: Any, order: Any) -> Any:
    """Blend splats over sixteen pixels; starts anew when they are nearly opaque."""
    planes = np.zeros((4, _LANES), F)
    planes[3] = F(1)
    for k in range(order.shape[0]):
        splat = table[order[k]]
        clear = F(0)
        for lane in range(_LANES):
            dx, dy = F(lane & 7) - F(8) * splat[0], F(lane >> 3) - F(2) * splat[1]
            power = max(-(splat[2] * dx * dx + splat[3] * dx * dy + splat[4] * dy * dy), F(-30))
            whole = np.int32(power - F(0.5))
            f = power - F(whole)
            e = F(1) + f * (F(0.6931472) + f * (F(0.2402265) + f * (F(0.0555041) + f * F(0.0096181))))
            alpha = min(splat[5] * e / F(1 + whole * whole), F(0.99))
            weight = alpha * planes[3, lane]
            planes[0, lane] += weight * splat[6]
            planes[1, lane] += weight * splat[7]
            planes[2, lane] += weight * splat[8]
            planes[3, lane] -= weight
            clear += planes[3, lane]
        if clear < F(0.06):
            for lane in range(_LANES):
                planes[3, lane] = F(1)
    return planes


@cache
def _memory() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return np.ones(_STREAM_FLOATS, F), np.ones(_STREAM_FLOATS, F)


def _stream() -> None:
    source, target = _memory()
    for _ in range(3):
        np.multiply(source, F(0.5), out=target)
        np.add(source, target, out=target)


def _interpret() -> None:
    total, seen = 0, {}
    for i in range(_LOOPS):
        total = (total * 31 + i) & 0xFFFF
        seen[total & 63] = total
