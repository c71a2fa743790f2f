"""The thread that poses and draws: the newest moment in, one picture out to every sink, never a queue."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from engine.live.acting import Actor, Moment
from engine.live.deadline import DeadlineController, FrameCost
from engine.live.lifeline import Lifeline
from engine.live.painter import Painter
from engine.live.scene import Scene
from engine.live.stamps import FrameStamps
from engine.live.statistics import LiveStatistics
from render.avatars.avatar import Avatar
from transport.sink import Sink
from transport.timecode import draw_timecode

UNWATCHED_S = 0.5  # between pictures while nobody watches: a newcomer's first one is no older


class Stage:
    """Poses the scene's avatar as its actor says and hands the picture to every sink."""

    def __init__(
        self,
        actor: Actor,
        scene: Scene,
        painter: Painter,
        sinks: Sequence[Sink],
        statistics: LiveStatistics,
        lifeline: Lifeline,
        *,
        fps: Callable[[], float],
        timecode: bool = False,
        clock: Callable[[], float] = time.monotonic,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """`fps`: the source's rate now, which a frame's cost is held against."""
        self.deadline = DeadlineController()
        self.face_found = False
        self.driven = False  # whether frames come
        self._actor = actor
        self._scene = scene
        self._painter = painter
        self._sinks = sinks
        self._statistics = statistics
        self._lifeline = lifeline
        self._fps = fps
        self._timecode = timecode
        self._clock = clock
        self._clock_ns = clock_ns
        self._unwatched_until_s = 0.0

    def run(self) -> None:
        """Work until the lifeline stops. Raises what any part of it raises."""
        torch.set_num_threads(1)  # the renderer uses every core; one pose is too small to share out
        try:
            with torch.inference_mode():
                while not self._lifeline.stopped:
                    self._show_next()
        finally:
            self._painter.close()

    def _show_next(self) -> None:
        cast = self._scene.cast
        if self._scene.take_neutral_wish() and cast.driver is not None:
            cast.driver.remeasure_neutral()
        moment = self._actor.next(cast)
        if moment is None:
            self._lifeline.wait(0.001)  # the source has ended: no busy waiting until the stop
            return
        self.face_found, self.driven = moment.found, moment.driven
        watched = any(sink.watched for sink in self._sinks)
        if not watched:
            if self._clock() < self._unwatched_until_s:
                return
            self._unwatched_until_s = self._clock() + UNWATCHED_S
        stamps = self._show(cast.avatar, moment)
        if watched:  # now and then a picture for nobody, on a core gone cold, says nothing of the costs
            self._hold_deadline(stamps, moment.tracking_ms)

    def _show(self, avatar: Avatar, moment: Moment) -> FrameStamps:
        view = self._scene.view
        effort = self.deadline.effort
        posed = self._painter.pose(avatar, moment.motion, effort)
        posed_ns = self._clock_ns()
        picture = self._painter.paint(posed, avatar, view, effort.scale)
        if self._timecode:
            draw_timecode(picture, moment.stamps.capture_ns)
        stamps = replace(moment.stamps, posed_ns=posed_ns, rendered_ns=self._clock_ns())
        for sink in self._sinks:
            sink.put(picture, moment.stamps.capture_ns)
        self._statistics.count("render")
        if moment.driven:
            self._statistics.add(stamps)
        return stamps

    def _hold_deadline(self, stamps: FrameStamps, tracking_ms: float | None) -> None:
        costs = dict(stamps.durations_ms())
        cost = FrameCost(
            delay=costs["arrival_to_rendered"],
            fixed=costs.get("solve", 0.0) + costs.get("pose", 0.0),
            drawing=costs["render"],
            tracking=tracking_ms,
        )
        self.deadline.update(cost, 1e3 / max(1.0, self._fps()), self._clock())
