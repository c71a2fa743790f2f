"""One participant: source -> detector -> pose and picture -> sinks, started and stopped as one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence

from capture.closing import Closing
from engine.backends import open_backend
from engine.live.acting import Actor, FaceActor, MotionActor
from engine.live.controls import LiveControls
from engine.live.detecting import DetectionThread, Detector
from engine.live.lifeline import Lifeline
from engine.live.lookahead import Lookahead
from engine.live.painter import Painter
from engine.live.scene import Cast, Scene, View
from engine.live.settings import MOTION_FPS, LiveSettings
from engine.live.sources import LiveSource
from engine.live.stage import Stage
from engine.live.statistics import LiveStatistics
from engine.person import Sightings
from transport.sink import Sink

LOOK_UP_S = 0.2  # between looks at the detector while waiting
JOIN_S = 5.0  # a detector that does not answer for so long at the end is killed
NOTE_S = 10.0  # how long the page shows what is told once


class LiveLoop(Closing):
    """What one participant's avatar needs while it is live, up to the sinks that its pictures go to.

    `close` ends all of it, source, detector and sinks included. An error in any thread does so too and is
    raised by `wait`.
    """

    def __init__(
        self,
        settings: LiveSettings,
        cast: Cast,
        make_cast: Callable[[str], Cast],
        sinks: Sequence[Sink],
        source: LiveSource | None = None,
        detector: Detector | None = None,
        lifeline: Lifeline | None = None,
    ) -> None:
        """`make_cast` opens another avatar by name. No `source` and `detector`: the built-in motion plays.

        `lifeline`: what something around the loop, started before it, fails by.
        """
        if (source is None) != (detector is None):
            raise ValueError("a source needs a detector, and a detector a source")
        self.statistics = LiveStatistics()
        self._sinks = sinks
        self._source = source
        self._detector = detector
        self._lifeline = lifeline or Lifeline()
        self._started_s = time.monotonic()
        width, height = settings.look.width, settings.look.height
        self.scene = Scene(cast, View(settings.look.background, settings.mirror))
        self._detection, self._lookahead, actor = self._make_actor(settings)
        self.stage = Stage(
            actor,
            self.scene,
            Painter(width, height, open_backend(settings.look.backend)),
            sinks,
            self.statistics,
            self._lifeline,
            fps=self._fps,
            timecode=settings.timecode,
        )
        self.controls = LiveControls(
            self.scene,
            self.stage,
            self.statistics,
            source=settings.source_kind,
            size=(width, height),
            fps=self._fps,
            trouble=self._trouble,
            note=self._note,
            make_cast=make_cast,
            extra_figures=self._extra_figures,
        )

    def start(self) -> None:
        """Start every thread."""
        if self._detection is not None:
            self._lifeline.spawn("tracker", self._detection.run)
        self._lifeline.spawn("stage", self.stage.run)

    def wait(self, seconds: float | None = None) -> None:
        """Wait until `stop`, an error, or the time is over. Raises the error of any thread."""
        end_s = float("inf") if seconds is None else time.monotonic() + seconds
        while time.monotonic() < end_s and not self._lifeline.wait(LOOK_UP_S):
            if self._detection is not None:
                self._detection.end_if_hung()
        self._lifeline.raise_error()

    def stop(self) -> None:
        """Make `wait` return; from any thread."""
        self._lifeline.stop()

    def fail(self, error: BaseException) -> None:
        """Make `wait` raise this error of something around the loop; from any thread."""
        self._lifeline.fail(error)

    def close(self) -> None:
        """End threads and processes, free the camera and the sinks; closing twice does no harm."""
        self._lifeline.stop()
        with contextlib.ExitStack() as stack:  # from the last to the first, whatever fails on the way
            for sink in self._sinks:
                stack.callback(sink.close)
            if self._detector is not None:
                stack.callback(self._detector.close)
            stack.callback(self._join)
            if self._source is not None:
                stack.callback(self._source.close)

    def summary(self) -> str:
        """One line about what was shown, for the end."""
        seconds = time.monotonic() - self._started_s
        frames = self.statistics.total("render")
        figures = self.statistics.figures()
        latency = figures.get("arrival_to_rendered_p50_ms")
        parts = [f"{frames} pictures in {seconds:.0f} s"]
        if latency is not None:
            p95 = figures["arrival_to_rendered_p95_ms"]
            parts.append(f"arrival to rendered {latency:.0f} ms p50, {p95:.0f} ms p95")
        if self.stage.deadline.num_falls:
            parts.append(f"drawn with less effort {self.stage.deadline.num_falls} times to hold the delay")
        restarts = self.statistics.total("tracker_restart")
        if restarts:
            parts.append(f"tracker restarted {restarts} times")
        return "; ".join(parts)

    def _make_actor(self, settings: LiveSettings) -> tuple[DetectionThread | None, Lookahead | None, Actor]:
        if self._source is None or self._detector is None:
            return None, None, MotionActor(self._lifeline, MOTION_FPS)
        what = "the film" if settings.source_kind == "file" else "the camera's picture"
        detection = DetectionThread(
            self._source,
            self._detector,
            self.statistics,
            self._lifeline,
            Sightings(what, settings.person),
            detect_every=lambda: self.stage.deadline.detect_every,
        )
        lookahead = None
        if settings.predict:
            lookahead = Lookahead(lambda: self.statistics.median_ms("arrival_to_rendered"))
        return detection, lookahead, FaceActor(detection.detected, lookahead)

    def _fps(self) -> float:
        if self._source is None:
            return MOTION_FPS
        # a visitor's camera does not say how fast it is
        return max(self._source.fps, self.statistics.rate("source"))

    def _trouble(self) -> str | None:
        if self._source is None or self.stage.driven:
            return None
        return self._source.trouble or "waiting for the tracker"

    def _note(self) -> str:
        """What was told about the people in the picture, for a while."""
        seen = self._detection
        return seen.note if seen is not None and time.monotonic() - seen.noted_s < NOTE_S else ""

    def _extra_figures(self) -> Mapping[str, float]:
        figures = dict(self._lookahead.figures()) if self._lookahead is not None else {}
        if self._source is not None:
            figures["dropped_frames"] = float(self._source.num_dropped)
        return figures

    def _join(self) -> None:
        try:
            self._lifeline.join(JOIN_S)
        except RuntimeError:
            if self._detection is None:
                raise
            self._detection.kill()  # a detector that hangs keeps the thread waiting for its answer
            self._lifeline.join(JOIN_S)
