"""Pass 1 of the offline jobs: every frame of a source to the motion of its face."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tracking.driver import Driver

from capture.frame import Frame
from capture.source import Source
from engine.motion import Motion
from engine.progress import Bars
from engine.report import StageTimes
from render.avatar import Avatar
from tracking.detection import Detection
from tracking.detector_process import DetectorProcess


def track_source(source: Source, avatar: Avatar, times: StageTimes, bars: Bars) -> Motion:
    """Detect every frame in order, then solve the clip as a whole in `avatar`'s rig.

    Adds the stages "capture" (reading a frame), "track" (from one detection to the next, while other frames
    are read) and "solve" to `times`. Raises SourceError or TrackingError.
    """
    with DetectorProcess() as detector:
        detector.wait_ready()
        detections = list(bars.over(_detections(detector, source, times), "tracking ", source.num_frames))
    start = time.perf_counter()
    results = Driver(avatar).solve_clip(detections, source.fps)
    per_frame_ms = (time.perf_counter() - start) * 1e3 / len(results)
    times.add("solve", [per_frame_ms] * len(results))  # the clip is solved at once: every frame its share
    return Motion.from_results(results, avatar, source.fps)


def _detections(detector: DetectorProcess, source: Source, times: StageTimes) -> Iterator[Detection]:
    def frames() -> Iterator[Frame]:
        while True:
            with times.timed("capture"):
                frame = source.read()
            if frame is None:
                return
            yield frame

    start = time.perf_counter()
    for detection in detector.detect_all(frames()):
        now = time.perf_counter()
        times.add("track", [(now - start) * 1e3])
        start = now
        yield detection
