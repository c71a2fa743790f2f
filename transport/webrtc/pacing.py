"""Evens out when the pictures of a fast camera leave, so that a screen of the same rate shows every one."""

from __future__ import annotations

from collections import deque

import numpy as np

FAST_FPS = 45.0  # slower pictures last two refreshes of a screen: none is overtaken, and none is held
MOST_HELD = 0.9  # of a picture's time
USUAL = 0.9  # of the last second's pictures are ready by the time that each is held until


class Pacer:
    """Says how long to hold each picture: until nine of ten of the last second's would have been ready.

    A picture that follows the one before within one refresh of a 60 Hz screen takes its place, and that one
    is never seen; with a few milliseconds of unevenness this happened to every tenth.
    """

    def __init__(self) -> None:
        self._latencies_s: deque[float] = deque()

    def hold_s(self, latency_s: float, fps: float) -> float:
        """Seconds to wait with a picture that is ready `latency_s` after its frame came."""
        if fps < FAST_FPS:
            self._latencies_s.clear()
            return 0.0
        self._latencies_s.append(latency_s)
        while len(self._latencies_s) > fps:
            self._latencies_s.popleft()
        usual_s = float(np.quantile(self._latencies_s, USUAL))
        return min(max(usual_s - latency_s, 0.0), MOST_HELD / fps)
