"""Holds the frame rate under load: draws fewer pixels when a frame costs more than its time."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

SCALES = (1.0, 0.84, 0.71, 0.59, 0.5)  # of the picture's sides: each draws about 70 % of the pixels before


@dataclass(frozen=True, slots=True)
class DeadlineConfig:
    """When to give and when to take resolution.

    `high` and `low` lie further apart than two neighbouring scales' costs, or the scale would swing.
    """

    high: float = 0.85  # of the frame's time, above which the scale falls
    low: float = 0.65  # of the frame's time: the scale rises when the larger picture would stay below
    window: int = 15  # frames whose median cost is judged
    fall_after_s: float = 0.4  # a scale is kept this long before it falls again
    rise_after_s: float = 3.0  # of calm; doubled each time a rise had to be taken back
    longest_rise_after_s: float = 48.0
    regret_s: float = 5.0  # a rise that falls again within this time was a mistake
    pixel_share: float = 0.75  # of the drawing cost that shrinks with the pixels; the rest is per Gaussian


class DeadlineController:
    """Chooses the scale of the rendered picture from what frames cost; reads time from the caller.

    The costs of other work, measured on the same clock, push it as well: a frame that was kept waiting for a
    core costs more.
    """

    def __init__(self, config: DeadlineConfig | None = None) -> None:
        self._config = config if config is not None else DeadlineConfig()
        self._costs: deque[tuple[float, float]] = deque(maxlen=self._config.window)
        self._level = 0
        self._changed_s = -math.inf
        self._rose_s = -math.inf
        self._calm_since_s: float | None = None
        self._rise_after_s = self._config.rise_after_s
        self.num_falls = 0
        self.num_rises = 0

    @property
    def scale(self) -> float:
        """Share of the full width and height to draw now."""
        return SCALES[self._level]

    def update(self, fixed_ms: float, drawing_ms: float, frame_ms: float, now_s: float) -> float:
        """Take in one frame and give the scale for the next.

        `fixed_ms`: what the frame cost whatever its size (solving, posing). `drawing_ms`: what drawing it at
        the present scale cost. `frame_ms`: the time a frame has, the source's interval.
        """
        config = self._config
        self._costs.append((fixed_ms, drawing_ms))
        if len(self._costs) < config.window:
            return self.scale
        fixed, drawing = (sorted(costs)[len(costs) // 2] for costs in zip(*self._costs, strict=True))
        if fixed + drawing > config.high * frame_ms:
            self._calm_since_s = None
            if self._level + 1 < len(SCALES) and now_s - self._changed_s >= config.fall_after_s:
                self._fall(now_s)
        elif self._level and fixed + self._larger(drawing) < config.low * frame_ms:
            if self._calm_since_s is None:
                self._calm_since_s = now_s
            if now_s - self._calm_since_s >= self._rise_after_s:
                self._rise(now_s)
        else:
            self._calm_since_s = None
        return self.scale

    def _larger(self, drawing_ms: float) -> float:
        """What drawing would cost at the next larger scale."""
        pixels = (SCALES[self._level - 1] / SCALES[self._level]) ** 2
        return drawing_ms * (1 + self._config.pixel_share * (pixels - 1))

    def _fall(self, now_s: float) -> None:
        if now_s - self._rose_s < self._config.regret_s:
            self._rise_after_s = min(2 * self._rise_after_s, self._config.longest_rise_after_s)
        self._level += 1
        self.num_falls += 1
        self._moved(now_s)

    def _rise(self, now_s: float) -> None:
        self._level -= 1
        self.num_rises += 1
        self._rose_s = now_s
        self._moved(now_s)
        if not self._level:
            self._rise_after_s = max(self._config.rise_after_s, self._rise_after_s / 2)

    def _moved(self, now_s: float) -> None:
        self._changed_s = now_s
        self._calm_since_s = None
        self._costs.clear()  # costs of another scale say nothing of this one
