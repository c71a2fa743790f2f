"""Evens out when the pictures of a fast camera leave, so that a screen of the same rate shows every one."""

from __future__ import annotations

FAST_FPS = 45.0  # slower pictures last two refreshes of a screen: none is overtaken, and none is held
MOST_HELD = 0.5  # of a picture's time
_RISE, _FALL = 0.3, 0.03  # of the way to a later, to an earlier picture: settles near the ninth of ten


class Pacer:
    """Says how long to hold each picture: until the later ones of the last second would be ready.

    A picture that follows the one before within one refresh of a 60 Hz screen takes its place, and that one
    is never seen; with a few milliseconds of unevenness this happened to every tenth.
    """

    def __init__(self) -> None:
        self._usual_s: float | None = None

    def hold_s(self, latency_s: float, fps: float) -> float:
        """Seconds to wait with a picture that is ready `latency_s` after its frame came."""
        if fps < FAST_FPS:
            self._usual_s = None
            return 0.0
        if self._usual_s is None:
            self._usual_s = latency_s
        gap = latency_s - self._usual_s
        self._usual_s += gap * (_RISE if gap > 0 else _FALL)
        return min(max(self._usual_s - latency_s, 0.0), MOST_HELD / fps)
