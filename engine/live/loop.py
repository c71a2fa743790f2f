"""The live loop: source -> tracker -> pose and picture -> broadcast, started and stopped as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from capture.closing import Closing
from engine.backends import open_backend
from engine.encoding import live_encoders
from engine.live.acting import Actor, FaceActor, MotionActor
from engine.live.controls import LiveControls
from engine.live.detecting import DetectionThread, Detector
from engine.live.lifeline import Lifeline
from engine.live.lookahead import Lookahead
from engine.live.painter import Painter
from engine.live.scene import Cast, Scene, View
from engine.live.sources import LiveSource
from engine.live.stage import Stage
from engine.live.statistics import LiveStatistics
from engine.look import Look
from transport.http.controls import SourceKind
from transport.http.server import LiveServer, ServerSettings
from transport.http.server_thread import ServerThread
from transport.webrtc.broadcast import Broadcast
from transport.webrtc.camera import BrowserCamera

LOOK_UP_S = 0.2  # between looks at the server while waiting
JOIN_S = 5.0  # a detector that does not answer for so long at the end is killed
MOTION_FPS = 30.0


@dataclass(frozen=True)
class LiveSettings:
    """What a loop shows, and how."""

    look: Look
    server: ServerSettings
    source_kind: SourceKind
    timecode: bool = False
    predict: bool = False
    mirror: bool = False


class LiveLoop(Closing):
    """Everything that runs while an avatar is live; use it as a context manager.

    `source` and `detector` are None for the built-in motion. The loop owns both, closes them, and closes
    them also when it cannot start. An error in any thread ends all of them and is raised by `wait`.
    """

    def __init__(
        self,
        settings: LiveSettings,
        cast: Cast,
        make_cast: Callable[[str], Cast],
        source: LiveSource | None = None,
        detector: Detector | None = None,
        camera: BrowserCamera | None = None,
    ) -> None:
        """`make_cast` opens another avatar by name. `camera` takes what a visitor sends.

        Raises OutputError as `LiveServer` does.
        """
        if (source is None) != (detector is None):
            raise ValueError("a source needs a detector, and a detector a source")
        self.statistics = LiveStatistics()
        self._source = source
        self._detector = detector
        self._lifeline = Lifeline()
        self._started_s = time.monotonic()
        width, height = settings.look.width, settings.look.height
        try:
            self._broadcast = Broadcast(fps=self._fps(), encoders=live_encoders(settings.look))
            self.scene = Scene(cast, View(settings.look.background, settings.mirror))
            self._tracker, self._lookahead, actor = self._make_actor(settings)
            self.stage = Stage(
                actor,
                self.scene,
                Painter(width, height, open_backend(settings.look.backend)),
                self._broadcast,
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
                make_cast=make_cast,
                extra_figures=self._extra_figures,
            )
            self.server = LiveServer(self._broadcast, self.controls, settings.server, camera)
            self._server_thread = ServerThread(self.server)
        except BaseException:
            self._close_inputs()
            raise

    def start(self) -> None:
        """Listen, then start every stage. Raises OutputError when the port is taken; nothing is left then."""
        try:
            self._server_thread.start()
        except BaseException:
            self._close_inputs()
            raise
        if self._tracker is not None:
            self._lifeline.spawn("tracker", self._tracker.run)
        self._lifeline.spawn("stage", self.stage.run)

    def wait(self, seconds: float | None = None) -> None:
        """Wait until `stop`, an error, or the time is over. Raises the error of any thread."""
        end_s = float("inf") if seconds is None else time.monotonic() + seconds
        while time.monotonic() < end_s and not self._lifeline.wait(LOOK_UP_S):
            self._server_thread.check()
            if self._tracker is not None:
                self._tracker.end_if_hung()
        self._lifeline.raise_error()

    def stop(self) -> None:
        """Make `wait` return; from any thread."""
        self._lifeline.stop()

    def close(self) -> None:
        """End threads, processes and sockets, free the camera; closing twice does no harm."""
        self._lifeline.stop()
        try:
            if self._source is not None:
                self._source.close()
            self._join()
        finally:
            self._server_thread.stop()
            self._close_inputs()

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
            parts.append(f"drawn smaller {self.stage.deadline.num_falls} times to hold the frame rate")
        restarts = self.statistics.total("tracker_restart")
        if restarts:
            parts.append(f"tracker restarted {restarts} times")
        return "; ".join(parts)

    def __enter__(self) -> Self:
        self.start()
        return self

    def _make_actor(self, settings: LiveSettings) -> tuple[DetectionThread | None, Lookahead | None, Actor]:
        if self._source is None or self._detector is None:
            return None, None, MotionActor(self._lifeline, MOTION_FPS)
        tracker = DetectionThread(self._source, self._detector, self.statistics, self._lifeline)
        lookahead = None
        if settings.predict:
            lookahead = Lookahead(lambda: self.statistics.median_ms("arrival_to_rendered"))
        return tracker, lookahead, FaceActor(tracker.detected, lookahead)

    def _fps(self) -> float:
        if self._source is None:
            return MOTION_FPS
        # a visitor's camera does not say how fast it is
        return max(self._source.fps, self.statistics.rate("source"))

    def _trouble(self) -> str | None:
        if self._source is None or self.stage.driven:
            return None
        return self._source.trouble or "waiting for the tracker"

    def _extra_figures(self) -> Mapping[str, float]:
        figures = dict(self._lookahead.figures()) if self._lookahead is not None else {}
        if self._source is not None:
            figures["dropped_frames"] = float(self._source.num_dropped)
        return figures

    def _join(self) -> None:
        try:
            self._lifeline.join(JOIN_S)
        except RuntimeError:
            if self._tracker is None:
                raise
            self._tracker.kill()  # a detector that hangs keeps the thread waiting for its answer
            self._lifeline.join(JOIN_S)

    def _close_inputs(self) -> None:
        if self._source is not None:
            self._source.close()
        if self._detector is not None:
            self._detector.close()
