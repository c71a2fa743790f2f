"""A second detector, as one would be added: MediaPipe's PoseLandmarker with its own kind of answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capture.frame import Frame
from tracking.detect.mediapipe_task import MediaPipeTask, StreamClock, mediapipe_image


@dataclass(frozen=True, slots=True)
class PoseDetection:
    """One person's joints in one frame; NaN where nobody was found."""

    joints: NDArray[np.float32]  # [33, 4] pixels x, y, z, and visibility 0..1
    found: bool
    index: int


class PoseDetector(MediaPipeTask):
    """Finds one person's 33 joints in the frames of one video."""

    def __init__(self, model: Path) -> None:
        self._clock = StreamClock()
        super().__init__(model, "pose landmark model", lambda: _create(model))

    def detect(self, frame: Frame) -> PoseDetection:
        time_ms = self._clock.milliseconds(frame.capture_ns)
        people = self._task.detect_for_video(mediapipe_image(frame.rgb), time_ms).pose_landmarks
        joints = np.full((33, 4), np.nan, np.float32)
        if people:
            joints[:] = [(p.x, p.y, p.z, p.visibility) for p in people[0]]
            joints[:, :3] *= (frame.width, frame.height, frame.width)
        return PoseDetection(joints, bool(people), frame.index)


@dataclass(frozen=True, slots=True)
class PoseDetectorFactory:
    """What a `DetectorProcess` is to run: a `PoseDetector`."""

    model: Path

    @property
    def name(self) -> str:
        return "pose detector"

    def open(self) -> PoseDetector:
        return PoseDetector(self.model)


def _create(model: Path) -> Any:
    from mediapipe.tasks.python import vision
    from mediapipe.tasks.python.core.base_options import BaseOptions

    options = vision.PoseLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(model)), running_mode=vision.RunningMode.VIDEO
    )
    return vision.PoseLandmarker.create_from_options(options)
