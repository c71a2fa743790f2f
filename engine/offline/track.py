"""Pass 1 of the offline jobs: every frame of a source to the motion of its face."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from capture.frame import Frame
from capture.source import Source
from engine.calibrate import ensure_calibrated
from engine.offline.detection_log import DetectionLog
from engine.person import Sightings
from engine.progress import Bars
from engine.report import StageTimes
from render.avatars.avatar import Avatar
from render.motion import Motion, MotionClip
from tracking.detect.detection import Detection
from tracking.detect.face_finder import FaceFinderFactory
from tracking.detect.person_choice import PersonChoice
from tracking.detect.process import DetectorProcess
from tracking.face.driver import Driver


def track_source(
    source: Source,
    avatar: Avatar,
    times: StageTimes,
    bars: Bars,
    *,
    sightings: Sightings,
    person: PersonChoice | None = None,
) -> MotionClip:
    """Detect every frame in order, then solve the clip as a whole in `avatar`'s rig.

    Adds the stages "capture" (reading a frame), "track" (from one detection to the next, while other frames
    are read), "solve" and "refine" (the whole clip's time, shared out evenly) to `times`. An avatar that was
    never calibrated is calibrated first, which takes up to a minute. `person` is followed of several;
    `sightings` collects what to tell about that. Raises SourceError, TrackingError, or UsageError when that
    person is never seen.
    """
    avatar = ensure_calibrated(avatar, bars)
    with DetectorProcess(FaceFinderFactory(person)) as detector, Driver(avatar) as driver:
        driver.prepare_clip()
        detector.wait_ready()
        log = DetectionLog()
        for detection in bars.over(_detections(detector, source, times), "tracking", source.num_frames):
            log.append(detection)
            sightings.see(detection)
        detector.close()
        sightings.check_choice()
        moments = driver.solve_clip(log.detections(), source.fps)
    for stage, seconds in (("solve", driver.solve_s), ("refine", driver.refine_s)):
        times.add(stage, [seconds * 1e3 / len(moments)] * len(moments))
    return clip_of(moments, avatar, source.fps)


def clip_of(moments: Sequence[Motion], avatar: Avatar, fps: float) -> MotionClip:
    """What a driver of `avatar` gave, as a clip that plays on other avatars too."""
    meanings = avatar.unit_meanings
    return MotionClip.of(
        moments,
        fps,
        avatar_name=avatar.name,
        rig_fingerprint=avatar.rig.fingerprint(),
        arkit_names=() if meanings is None else meanings.arkit_names,
        in_arkit=None if meanings is None else meanings.in_arkit,
    )


def _detections(
    detector: DetectorProcess[Detection], source: Source, times: StageTimes
) -> Iterator[Detection]:
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
