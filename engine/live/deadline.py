"""Holds the delay under load: gives up pixels, then Gaussians, then tracked frames."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

SCALES = (1.0, 0.92, 0.84, 0.77, 0.71, 0.65, 0.59, 0.54, 0.5)  # of the picture's sides: steps nobody sees
SHARES = (0.85, 0.7)  # of the Gaussians, once no smaller picture is left
SMOOTH_FPS = 45  # of a faster camera: more of its pictures are not worth smaller ones
TRACKED_FPS = 30  # of a faster camera, every second frame is looked at, or every third


@dataclass(frozen=True, slots=True)
class Effort:
    """How much work one picture gets."""

    scale: float = 1.0  # of the full width and height
    share: float = 1.0  # of the avatar's Gaussians, the most important ones


EFFORTS = (*(Effort(scale) for scale in SCALES), *(Effort(SCALES[-1], share) for share in SHARES))


@dataclass(frozen=True, slots=True)
class FrameCost:
    """What one frame took, milliseconds; times waited for a core are part of it."""

    delay: float  # from the frame's arrival until its picture was handed over
    fixed: float  # solving and posing, whatever the picture's size
    drawing: float  # at the effort it was drawn with
    tracking: float | None = None  # None: the frame was not looked at, its motion was predicted


@dataclass(frozen=True, slots=True)
class DeadlineConfig:
    """When to give and when to take effort.

    `low` lies further below 1 than two neighbouring efforts' delays are apart, or the effort would swing.
    """

    budget_ms: float = 40.0  # for the delay; encoding, the way and the browser come on top
    late: float = 1.04  # pictures further apart than this many frames' times: the rate is not held
    high: float = 0.85  # of the frame's time: below it, drawing is not what makes pictures late
    low: float = 0.8  # of the budget and of the frame's time: an effort rises when it would stay below
    tracked_low: float = 0.9  # of the budget: every frame is looked at again when the delay would stay below
    window_s: float = 0.4  # of frames that are judged
    least_window: int = 12  # frames, of a slow camera
    upper: float = 0.75  # of the window's delays lie below the one that counts: no single frame decides
    fall_after_s: float = 0.4  # an effort is kept this long before it falls again
    faster_above: tuple[float, ...] = (1.25, 1.6)  # of the budget: two, or three, steps at once
    least_gain: float = 0.15  # of the delay that drawing less could save in all, or it is left alone
    rise_after_s: float = 2.0  # of calm; doubled each time a rise had to be taken back
    longest_rise_after_s: float = 48.0
    regret_s: float = 5.0  # a rise that falls again within this time was a mistake
    pixel_share: float = 0.55  # of the drawing cost that shrinks with the pixels
    gaussian_share: float = 0.5  # of what is left of it that shrinks with the Gaussians
    crowding: float = 1.5  # how much a delay grows by, for each millisecond of work more


class DeadlineController:
    """Chooses the effort of the next pictures from what frames cost; reads time from the caller.

    It acts on the delay itself, of which other programs' work is a part: a frame that is kept waiting for a
    core comes late. Where drawing has so small a share in the delay that less of it would not help, the
    tracker looks at every second frame instead, and no frame waits for it. Falls are quick, rises one by one
    after a calm time.
    """

    def __init__(self, config: DeadlineConfig | None = None) -> None:
        self._config = config if config is not None else DeadlineConfig()
        self._frames: deque[tuple[FrameCost, float]] = deque()
        self._level = 0
        self._skipping = False
        self._base_every = 1
        self._tracking_alone = math.inf  # what a look took last while no drawing went on beside it
        self._changed_s = -math.inf
        self._rose_s = -math.inf
        self._calm_since_s: float | None = None
        self._rise_after_s = self._config.rise_after_s
        self.num_falls = 0
        self.num_rises = 0

    @property
    def effort(self) -> Effort:
        """What to give the next picture."""
        return EFFORTS[self._level]

    @property
    def detect_every(self) -> int:
        """The tracker looks at every so many-th frame; the face is predicted in between."""
        return self._base_every * (2 if self._skipping else 1)

    def update(self, cost: FrameCost, frame_ms: float, now_s: float) -> None:
        """Take in one frame. `frame_ms`: the source's interval. `now_s`: when the frame was done."""
        config = self._config
        self._base_every = max(1, int((1e3 / frame_ms + 10) // TRACKED_FPS))
        window = max(config.least_window, round(1e3 * config.window_s / frame_ms))
        self._frames.append((cost, now_s))
        while len(self._frames) > window:
            self._frames.popleft()
        if len(self._frames) < window:
            return
        costs = [frame for frame, _ in self._frames]
        delay = _quantile([frame.delay for frame in costs], config.upper)
        fixed, drawing = (_quantile([getattr(c, part) for c in costs], 0.5) for part in ("fixed", "drawing"))
        tracked = [frame.tracking for frame in costs if frame.tracking is not None]
        tracking = _quantile(tracked, 0.5) if tracked else 0.0
        if not self._skipping:
            self._tracking_alone = tracking
        distance = 1e3 * (now_s - self._frames[0][1]) / (window - 1)
        overrun = delay / config.budget_ms
        frame_ms = max(frame_ms, 1e3 / SMOOTH_FPS)
        slow = distance > config.late * frame_ms
        if slow and max(fixed + drawing, tracking / self.detect_every) > config.high * frame_ms:
            overrun = max(overrun, min(distance / frame_ms, config.faster_above[0]))
        if overrun > 1:
            self._calm_since_s = None
            if now_s - self._changed_s >= config.fall_after_s:
                self._fall(overrun, delay, drawing, now_s)
            return
        may_rise = not slow and self._could_rise(delay, fixed, drawing, tracking, frame_ms)
        if not may_rise:
            self._calm_since_s = None
        elif self._calm_since_s is None:
            self._calm_since_s = now_s
        elif now_s - self._calm_since_s >= self._rise_after_s:
            self._rise(delay, drawing, tracking, frame_ms, now_s)

    def _work(self, level: int) -> float:
        """The share of the full drawing cost that an effort takes."""
        config, effort = self._config, EFFORTS[level]
        pixels = 1 - config.pixel_share * (1 - effort.scale**2)
        return pixels * (1 - config.gaussian_share * (1 - effort.share))

    def _could_rise(
        self, delay: float, fixed: float, drawing: float, tracking: float, frame_ms: float
    ) -> bool:
        if self._skipping and self._can_track_more(delay, tracking, frame_ms):
            return True
        if not self._level:
            return False
        more = self._more_drawing(drawing)
        low = self._config.low
        return self._with_more(delay, more) < low * self._config.budget_ms and (
            fixed + drawing + more < low * frame_ms
        )

    def _can_track_more(self, delay: float, tracking: float, frame_ms: float) -> bool:
        config = self._config
        if self._base_every == 1:  # then frames wait for their looks again
            waiting = min(tracking, self._tracking_alone)
            held = delay + waiting < config.tracked_low * config.budget_ms
        else:
            held = self._with_more(delay, tracking / 4) < config.low * config.budget_ms
        return held and tracking < config.low * frame_ms * self._base_every

    def _more_drawing(self, drawing: float) -> float:
        return drawing * (self._work(self._level - 1) / self._work(self._level) - 1)

    def _with_more(self, delay: float, work: float) -> float:
        return delay + self._config.crowding * work

    def _fall(self, overrun: float, delay: float, drawing: float, now_s: float) -> None:
        config = self._config
        bottom = len(EFFORTS) - 1
        full = drawing / self._work(self._level)
        saved = full * (1 - self._work(bottom))
        if self._level < bottom and saved > config.least_gain * (delay + full - drawing):
            steps = 1 + sum(overrun > limit for limit in config.faster_above)
            self._level = min(bottom, self._level + steps)
        elif not self._skipping:
            self._skipping = True
        else:
            return
        if now_s - self._rose_s < config.regret_s:
            self._rise_after_s = min(2 * self._rise_after_s, config.longest_rise_after_s)
        self.num_falls += 1
        self._moved(now_s)

    def _rise(self, delay: float, drawing: float, tracking: float, frame_ms: float, now_s: float) -> None:
        if self._skipping and self._can_track_more(delay, tracking, frame_ms):
            self._skipping = False
        else:
            self._level -= 1
        self.num_rises += 1
        self._rose_s = now_s
        if not self._level and not self._skipping:
            self._rise_after_s = max(self._config.rise_after_s, self._rise_after_s / 2)
        self._moved(now_s)

    def _moved(self, now_s: float) -> None:
        self._changed_s = now_s
        self._calm_since_s = None
        self._frames.clear()  # costs of another effort say nothing of this one


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
