"""How many faces a picture shows, for those who need exactly one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from tracking.detector import open_landmarker
from tracking.mediapipe_guard import block_telemetry, native_stderr_hidden, unblock_telemetry
from tracking.models import model_path

_MOST = 4


def largest_faces(pictures: Iterable[NDArray[np.uint8]]) -> Iterator[list[float]]:
    """Heights of the faces in each picture [H, W, 3] in pixels, largest first; at most four.

    Raises TrackingError when the model is missing or cannot be opened.
    """
    import mediapipe as mp

    block_telemetry()
    try:
        with native_stderr_hidden():
            landmarker = open_landmarker(model_path("face_landmarker"), "image", num_faces=_MOST)
        try:
            for rgb in pictures:
                image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(rgb))
                result = landmarker.detect(image)
                heights = [np.ptp([point.y for point in face]) * len(rgb) for face in result.face_landmarks]
                yield sorted(map(float, heights), reverse=True)
        finally:
            landmarker.close()
    finally:
        unblock_telemetry()
