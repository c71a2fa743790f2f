"""Holds the frame rate under load: draws fewer pixels while drawing is what makes pictures late."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

SCALES = (1.0, 0.84, 0.71, 0.59, 0.5)  # of the picture's sides: each draws about 70 % of the pixels before


@dataclass(frozen=True, slots=True)
class DeadlineConfig:
    """When to give and when to take resolution.

    `low` lies further below 1 than two neighbouring scales' costs are apart, or the scale would swing.
    """

    late: float = 1.04  # pictures further apart than this many frames' times: the rate is not held
    high: float = 0.85  # of the frame's time: below it, drawing is not what makes pictures late
    low: float = 0.8  # of the frame's time: the scale rises when the larger picture would stay below
    window: int = 15  # frames whose median cost is judged
    fall_after_s: float = 0.4  # a scale is kept this long before it falls again
    judge_after_s: float = 1.5  # after the last fall, whether the falls gained anything
    least_gain: float = 0.05  # of the pictures' distance; falls that gain less are taken back
    rise_after_s: float = 3.0  # of calm; doubled each time a rise had to be taken back
    longest_rise_after_s: float = 48.0
    regret_s: float = 5.0  # a rise that falls again within this time was a mistake
    pixel_share: float = 0.55  # of the drawing cost that shrinks with the pixels; the rest is per Gaussian


class DeadlineController:
    """Chooses the scale of the rendered picture from what frames cost; reads time from the caller.

    The costs of other work, measured on the same clock, push it as well: a frame that was kept waiting for a
    core costs more. A scale falls only while pictures come late and drawing takes the frame's time; if
    something else holds them up, the tracker for example, falls gain nothing and are taken back.
    """

    def __init__(self, config: DeadlineConfig | None = None) -> None:
        self._config = config if config is not None else DeadlineConfig()
        self._frames: deque[tuple[float, float, float]] = deque(maxlen=self._config.window)
        self._level = 0
        self._changed_s = -math.inf
        self._since_change = 0  # frames
        self._rose_s = -math.inf
        self._calm_since_s: float | None = None
        self._before_falls: tuple[int, float] | None = None  # level and distance of pictures, to be judged
        self._useless_until_s = -math.inf  # falls were taken back
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
        the present scale cost. `frame_ms`: the time a frame has, the source's interval. `now_s`: when it was
        done.
        """
        config = self._config
        self._frames.append((fixed_ms, drawing_ms, now_s))
        self._since_change += 1
        if len(self._frames) < config.window:
            return self.scale
        fixed, drawing = (
            sorted(costs)[len(costs) // 2] for costs in list(zip(*self._frames, strict=True))[:2]
        )
        distance_ms = 1e3 * (now_s - self._frames[0][2]) / (config.window - 1)
        late = distance_ms > config.late * frame_ms
        if late and fixed + drawing > config.high * frame_ms:
            self._calm_since_s = None
            if now_s - self._changed_s >= config.fall_after_s and now_s >= self._useless_until_s:
                self._fall(distance_ms, now_s)
        elif self._level and not late and fixed + self._larger(drawing) < config.low * frame_ms:
            if self._calm_since_s is None:
                self._calm_since_s = now_s
            if now_s - self._calm_since_s >= self._rise_after_s:
                self._rise(now_s)
        else:
            self._calm_since_s = None
        if self._before_falls is not None and now_s - self._changed_s >= config.judge_after_s:
            self._judge_falls(late, now_s)
        return self.scale

    def _larger(self, drawing_ms: float) -> float:
        """What drawing would cost at the next larger scale."""
        pixels = (SCALES[self._level - 1] / SCALES[self._level]) ** 2
        return drawing_ms * (1 + self._config.pixel_share * (pixels - 1))

    def _fall(self, distance_ms: float, now_s: float) -> None:
        if self._level + 1 == len(SCALES):
            return
        if now_s - self._rose_s < self._config.regret_s:
            self._rise_after_s = min(2 * self._rise_after_s, self._config.longest_rise_after_s)
        if self._before_falls is None:
            self._before_falls = self._level, distance_ms
        self._level += 1
        self.num_falls += 1
        self._moved(now_s)

    def _judge_falls(self, late: bool, now_s: float) -> None:
        """Take falls back that brought pictures no closer together."""
        assert self._before_falls is not None
        (level, before_ms), self._before_falls = self._before_falls, None
        distance_ms = 1e3 * (now_s - self._changed_s) / self._since_change
        if late and distance_ms > (1 - self._config.least_gain) * before_ms:
            self.num_rises += self._level - level
            self._level = level
            self._moved(now_s)
            self._useless_until_s = now_s + self._config.longest_rise_after_s

    def _rise(self, now_s: float) -> None:
        self._level -= 1
        self.num_rises += 1
        self._rose_s = now_s
        self._before_falls = None
        self._moved(now_s)
        if not self._level:
            self._rise_after_s = max(self._config.rise_after_s, self._rise_after_s / 2)

    def _moved(self, now_s: float) -> None:
        self._changed_s = now_s
        self._since_change = 0
        self._calm_since_s = None
        self._frames.clear()  # costs of another scale say nothing of this one
