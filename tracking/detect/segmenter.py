"""MediaPipe's selfie segmenter as a function from a picture to the person's share of every pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.detect.mediapipe_task import MediaPipeTask, mediapipe_image
from tracking.detect.models.catalogue import model_path


class PersonSegmenter(MediaPipeTask):
    """Says how much of each pixel is a person. The network sees 256x256 pixels, whatever it is given.

    Close it, or use it as a context manager. While one is open, this process cannot fetch over HTTPS (see
    `tracking.detect.mediapipe_guard`). Raises TrackingError when the model is missing and cannot be fetched,
    or MediaPipe cannot load.
    """

    def __init__(self, model: Path | None = None) -> None:
        path = model if model is not None else model_path("selfie_segmenter")
        super().__init__(path, "person segmenter", lambda: _create(path))

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """A picture [H, W, 3] -> shares [H, W] in 0..1."""
        result = self._task.segment(mediapipe_image(rgb))
        return np.array(result.confidence_masks[-1].numpy_view(), np.float32).reshape(rgb.shape[:2])


def _create(path: Path) -> Any:
    from mediapipe.tasks.python import vision
    from mediapipe.tasks.python.core.base_options import BaseOptions

    options = vision.ImageSegmenterOptions(
        base_options=BaseOptions(model_asset_path=str(path)),
        running_mode=vision.RunningMode.IMAGE,
        output_confidence_masks=True,
    )
    return vision.ImageSegmenter.create_from_options(options)
