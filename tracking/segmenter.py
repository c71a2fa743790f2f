"""MediaPipe's selfie segmenter as a function from a picture to the person's share of every pixel."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capture.closing import Closing
from tracking.errors import TrackingError
from tracking.mediapipe_guard import block_telemetry, native_stderr_hidden, unblock_telemetry
from tracking.models import model_path


class PersonSegmenter(Closing):
    """Says how much of each pixel is a person. The network sees 256x256 pixels, whatever it is given.

    Close it, or use it as a context manager. While one is open, this process cannot fetch over HTTPS (see
    `tracking.mediapipe_guard`). Raises TrackingError when the model is missing and cannot be fetched, or
    MediaPipe cannot load.
    """

    def __init__(self, model: Path | None = None) -> None:
        self._segmenter: Any = None
        path = model if model is not None else model_path("selfie_segmenter")
        if not path.is_file():
            raise TrackingError(f"no person segmenter at {path}: run `visavis models fetch`")
        block_telemetry()
        try:
            with native_stderr_hidden():
                self._segmenter = _open(path)
        except BaseException:
            unblock_telemetry()
            raise

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """A picture [H, W, 3] -> shares [H, W] in 0..1."""
        if self._segmenter is None:
            raise RuntimeError("the segmenter is closed")
        import mediapipe as mp

        image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(rgb))
        result = self._segmenter.segment(image)
        return np.array(result.confidence_masks[-1].numpy_view(), np.float32).reshape(rgb.shape[:2])

    def close(self) -> None:
        """Free the model; closing twice does no harm."""
        segmenter, self._segmenter = self._segmenter, None
        if segmenter is None:
            return
        try:
            segmenter.close()
        finally:
            unblock_telemetry()

    def __del__(self) -> None:
        # MediaPipe's own __del__ fails noisily at interpreter exit unless it was closed before.
        with contextlib.suppress(Exception):
            self.close()


def _open(path: Path) -> Any:
    try:
        from mediapipe.tasks.python import vision
        from mediapipe.tasks.python.core.base_options import BaseOptions

        options = vision.ImageSegmenterOptions(
            base_options=BaseOptions(model_asset_path=str(path)),
            running_mode=vision.RunningMode.IMAGE,
            output_confidence_masks=True,
        )
        return vision.ImageSegmenter.create_from_options(options)
    except OSError as error:
        raise TrackingError(
            f"MediaPipe cannot load ({error}); on Debian or Ubuntu: apt-get install libegl1 libgles2"
        ) from error
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TrackingError(
            f"{path} is no person segmenter MediaPipe can open ({reason}): "
            f"delete it and run `visavis models fetch`"
        ) from error
