"""Where the faces of a picture are, roughly: the first network of the landmark model, by itself.

It sees 128x128 pixels, whatever it is given, and one look takes 1.5 ms: a fifth of finding landmarks. A face
is found from an eighth of the longer side on (measured on seven real clips: 0.12 of it 88 %, 0.13 99 %).
"""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.detect.mediapipe_task import MediaPipeTask, mediapipe_image

INPUT_PX = 128
LEAST_SHARE = 0.13  # of the longer side, for a face to be found

_KEYS = (0, 1, 3)  # of its keypoints: the right eye, the left eye, the mouth
_PART = "face_detector.tflite"  # of the landmark model's bundle


@dataclass(frozen=True, slots=True)
class FaceBox:
    """One face, about from the brows to the chin. All lengths in pixels of the picture it is given in."""

    x: float  # the middle of the box
    y: float
    size: float  # its side: about the height of the landmarks
    score: float  # 0..1
    eyes_and_mouth: NDArray[np.float64]  # [3, 2] the subject's right eye, left eye, mouth

    @property
    def roll_deg(self) -> float:
        """How far the line of the eyes is turned clockwise."""
        (x0, y0), (x1, y1) = self.eyes_and_mouth[:2]
        return math.degrees(math.atan2(y1 - y0, x1 - x0))

    def placed(self, scale: float, left: float, top: float) -> FaceBox:
        """The same face in a picture of which this one is a part, enlarged by `scale`."""
        return FaceBox(
            self.x * scale + left,
            self.y * scale + top,
            self.size * scale,
            self.score,
            self.eyes_and_mouth * scale + [left, top],
        )

    def away_from(self, other: FaceBox) -> float:
        """The distance to another face, in units of the larger one's size."""
        return math.hypot(self.x - other.x, self.y - other.y) / max(self.size, other.size, 1e-6)


def box_of_landmarks(landmarks: NDArray[np.float32]) -> FaceBox:
    """The box of a face whose landmarks [478, 3] are known."""
    points = landmarks[:, :2].astype(np.float64)
    (left, top), (right, bottom) = points.min(0), points.max(0)
    keys = np.array([points[[33, 133]].mean(0), points[[263, 362]].mean(0), points[[13, 14]].mean(0)])
    size = max(right - left, bottom - top)
    return FaceBox((left + right) / 2, (top + bottom) / 2, float(size), 1.0, keys)


class FaceBoxes(MediaPipeTask):
    """Finds every face in unrelated pictures. Raises TrackingError as `FaceDetector` does."""

    def __init__(self, model: Path) -> None:
        """`model` is the landmark model's bundle."""
        super().__init__(model, "face landmark model", lambda: _create(model))

    def look(self, rgb: NDArray[np.uint8]) -> list[FaceBox]:
        """The faces in a picture [H, W, 3], most certain first."""
        height, width = rgb.shape[:2]
        faces = []
        for found in self._task.detect(mediapipe_image(rgb)).detections:
            box = found.bounding_box
            keys = np.array([(found.keypoints[i].x * width, found.keypoints[i].y * height) for i in _KEYS])
            x, y = box.origin_x + box.width / 2, box.origin_y + box.height / 2
            size = max(box.width, box.height)
            faces.append(FaceBox(x, y, size, float(found.categories[0].score), keys))
        return sorted(faces, key=lambda face: -face.score)


def _create(model: Path) -> Any:
    from mediapipe.tasks.python import vision
    from mediapipe.tasks.python.core.base_options import BaseOptions

    try:
        with zipfile.ZipFile(model) as bundle:
            part = bundle.read(_PART)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"no {_PART} in it") from error
    options = vision.FaceDetectorOptions(base_options=BaseOptions(model_asset_buffer=part))
    return vision.FaceDetector.create_from_options(options)
