"""Live figures: frames per second and percentiles per stage over the last seconds."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable

import numpy as np

from engine.live.stamps import FrameStamps

WINDOW_S = 10.0  # of percentiles
RATE_WINDOW_S = 2.0  # of frames per second
MAX_SAMPLES = 2000  # a bound, whatever the frame rate
PERCENTILES = (50, 95, 99)


class LiveStatistics:
    """Counts events and collects stage times from any thread; `figures` reads them from any other."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._events: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=MAX_SAMPLES))
        self._times: dict[str, deque[tuple[float, float]]] = defaultdict(lambda: deque(maxlen=MAX_SAMPLES))
        self._totals: dict[str, int] = defaultdict(int)

    def count(self, event: str) -> None:
        """One more frame of "source", "track" or "render", or one restart of the tracker."""
        now = self._clock()
        with self._lock:
            self._events[event].append(now)
            self._totals[event] += 1

    def add(self, stamps: FrameStamps) -> None:
        """The stage times of one frame that was rendered."""
        now = self._clock()
        with self._lock:
            for stage, ms in stamps.durations_ms():
                self._times[stage].append((now, ms))

    def total(self, event: str) -> int:
        """How often an event was counted since the start."""
        with self._lock:
            return self._totals[event]

    def rate(self, event: str) -> float:
        """Events per second over the last two seconds."""
        begin = self._clock() - RATE_WINDOW_S
        num = 0
        with self._lock:
            for then in reversed(self._events[event]):
                if then < begin:
                    break
                num += 1
        return num / RATE_WINDOW_S

    def median_ms(self, stage: str) -> float:
        """The usual time of a stage; 0 before the first frame."""
        recent = self._recent(stage)
        return float(np.median(recent)) if recent else 0.0

    def figures(self) -> dict[str, float]:
        """`<stage>_p50_ms`, `_p95_ms` and `_p99_ms` of every stage, `<event>_fps` of every kind of frame."""
        with self._lock:
            stages, events = list(self._times), list(self._events)
        figures = {f"{event}_fps": self.rate(event) for event in events}
        for stage in stages:
            recent = self._recent(stage)
            if recent:
                values = np.percentile(recent, PERCENTILES)
                figures |= {
                    f"{stage}_p{p}_ms": float(value) for p, value in zip(PERCENTILES, values, strict=True)
                }
        return figures

    def _recent(self, stage: str) -> list[float]:
        now = self._clock()
        with self._lock:
            return [ms for then, ms in self._times[stage] if now - then <= WINDOW_S]
