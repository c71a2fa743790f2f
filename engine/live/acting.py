"""Where the avatar's next pose comes from: a tracked face, or the built-in motion."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from capture.latest import Latest
from engine.demo_motion import demo_moment
from engine.live.detecting import Detected
from engine.live.lifeline import Lifeline
from engine.live.lookahead import Lookahead
from engine.live.scene import Cast
from engine.live.stamps import FrameStamps
from render.motion import Motion
from tracking.detect.detection import Detection
from tracking.face.prediction import MotionPredictor

if TYPE_CHECKING:
    from tracking.face.driver import Driver

GONE_AFTER_S = 0.2  # without frames; slow cameras in dim light still give ten a second
IDLE_S = 1 / 30  # between pictures of an avatar whose source is gone


@dataclass(frozen=True, slots=True)
class Moment:
    """What the avatar does now."""

    motion: Motion
    stamps: FrameStamps
    driven: bool = True  # False: nobody drives it, the avatar idles
    found: bool = True  # whether a face was seen
    tracking_ms: float | None = None  # what a look at a frame took that ended since the moment before


class Actor(Protocol):
    """Gives the next moment to show."""

    def next(self, cast: Cast) -> Moment | None:
        """Wait for it; None when there is none yet or no more will come (look at the lifeline)."""
        ...


class FaceActor:
    """Plays the tracked face, predicted in frames that the tracker did not look at.

    Breathes and blinks on while no frames come.
    """

    def __init__(
        self,
        tracked: Latest[Detected],
        lookahead: Lookahead | None = None,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._tracked = tracked
        self._lookahead = lookahead
        self._clock_ns = clock_ns
        self._idle = True
        self._cast: Cast | None = None
        self._predictor = MotionPredictor()
        self._measured: tuple[Detection, Motion] | None = None

    def next(self, cast: Cast) -> Moment | None:
        assert cast.driver is not None
        if cast is not self._cast:
            self._cast = cast
            self._forget()
        try:
            tracked = self._tracked.read(IDLE_S if self._idle else GONE_AFTER_S)
        except TimeoutError:
            return self._idling(cast)
        if tracked is None:
            return None
        self._idle = False
        stamps = replace(tracked.stamps, play_ns=self._clock_ns())
        if self._measured is None or self._measured[0] is not tracked.detection:
            motion = self._measure(cast.driver, tracked.detection)
        if not tracked.tracked:
            motion = self._between(cast.driver, tracked.stamps.capture_ns)
        assert self._measured is not None
        found = self._measured[1].face_seen
        solved = replace(stamps, solved_ns=self._clock_ns())
        return Moment(motion, solved, found=found, tracking_ms=tracked.tracking_ms)

    def _measure(self, driver: Driver, detection: Detection) -> Motion:
        """The motion to show for a frame that was looked at."""
        motion = driver.update(detection)
        self._measured = detection, motion
        if self._lookahead is not None:
            return self._lookahead(motion, self._clock_ns())
        if motion.face_seen:
            self._predictor.update(motion, motion.time_ns / 1e9)
        else:
            self._predictor.reset()
        return motion

    def _between(self, driver: Driver, capture_ns: int) -> Motion:
        """The motion to show for a later frame that was not."""
        assert self._measured is not None
        if not self._measured[1].face_seen:
            return driver.update(Detection.lost(capture_ns, -1, 0, 0))
        if self._lookahead is not None:
            return self._lookahead.between(capture_ns, self._clock_ns())
        return replace(self._predictor.predict(capture_ns / 1e9), time_ns=capture_ns)

    def _forget(self) -> None:
        self._measured = None
        self._predictor.reset()
        if self._lookahead is not None:
            self._lookahead.reset()

    def _idling(self, cast: Cast) -> Moment:
        assert cast.driver is not None
        self._idle = True
        self._forget()
        now_ns = self._clock_ns()
        motion = cast.driver.update(Detection.lost(now_ns, -1, 0, 0))
        return Moment(motion, FrameStamps(now_ns), driven=False, found=False)


class MotionActor:
    """Plays the built-in motion at a steady rate."""

    def __init__(
        self,
        lifeline: Lifeline,
        fps: float = 30.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._lifeline = lifeline
        self._interval_s = 1 / fps
        self._clock = clock
        self._clock_ns = clock_ns
        self._begin_s = self._due_s = clock()

    def next(self, cast: Cast) -> Moment | None:
        ahead_s = self._due_s - self._clock()
        if ahead_s > 0 and self._lifeline.wait(ahead_s):
            return None
        # a frame that was missed is not caught up with
        self._due_s = max(self._due_s + self._interval_s, self._clock())
        stamps = FrameStamps(self._clock_ns(), play_ns=self._clock_ns())
        motion = demo_moment(self._clock() - self._begin_s)
        return Moment(motion, replace(stamps, solved_ns=self._clock_ns()))
