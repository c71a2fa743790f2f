"""How many faces a picture shows, for those who need exactly one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracking.detect.face_detector import FACE_MODEL, create_landmarker
from tracking.detect.mediapipe_task import MediaPipeTask, mediapipe_image
from tracking.detect.models.catalogue import model_path

_MOST = 4


class FaceCounter(MediaPipeTask):
    """Finds up to four faces in unrelated pictures. Raises TrackingError as `FaceDetector` does."""

    def __init__(self) -> None:
        path = model_path("face_landmarker")
        super().__init__(path, FACE_MODEL, lambda: create_landmarker(path, "image", num_faces=_MOST))

    def heights(self, rgb: NDArray[np.uint8]) -> list[float]:
        """Heights of the faces in a picture [H, W, 3] in pixels, largest first."""
        faces = self._task.detect(mediapipe_image(rgb)).face_landmarks
        return sorted((float(np.ptp([p.y for p in face]) * len(rgb)) for face in faces), reverse=True)
