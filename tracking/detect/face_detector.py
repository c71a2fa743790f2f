"""MediaPipe's FaceLandmarker as a function from `Frame` to `Detection`, in this process.

One call takes 6-9 ms of one core and hops through a Python thread inside MediaPipe, so any other busy Python
thread of the process slows it down: live and offline tracking use `tracking.detect.process`, single
pictures use this.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capture.frame import Frame
from tracking.detect.detection import NUM_LANDMARKS, NUM_SCORES, Detection
from tracking.detect.mediapipe_task import DetectorMode, MediaPipeTask, StreamClock, mediapipe_image
from tracking.detect.models.catalogue import model_path

FACE_MODEL = "face landmark model"

_PAUSE_S = 1.0  # many times what the smoothing remembers
_BLACK_PX = 64


class FaceDetector(MediaPipeTask):
    """Finds one face: 478 landmarks, 52 scores and the head's matrix.

    `mode="video"` follows the face from frame to frame and smooths the landmarks; `mode="image"` looks at
    each picture alone (for unrelated pictures, e.g. renders of an avatar). Close it, or use it as a context
    manager. While one is open, this process cannot fetch over HTTPS (see `tracking.detect.mediapipe_guard`).

    Raises TrackingError when the model is missing and cannot be fetched, or MediaPipe cannot load.
    """

    def __init__(self, model: Path | None = None, mode: DetectorMode = "video") -> None:
        self._mode = mode
        self._clock = StreamClock()
        path = model if model is not None else model_path("face_landmarker")
        super().__init__(path, FACE_MODEL, lambda: create_landmarker(path, mode))

    def detect(self, frame: Frame) -> Detection:
        """Find the face in one frame; frames of one video must come in order."""
        landmarker = self._task
        time_ms = self._clock.milliseconds(frame.capture_ns) if self._mode == "video" else None
        with _raw_result(landmarker, mediapipe_image(frame.rgb), time_ms) as result:
            return _to_detection(result, frame)

    def pause(self) -> None:
        """Take the next picture for one of much later: the smoothing forgets how fast the landmarks were."""
        self._clock.skip(_PAUSE_S)

    def forget(self, frame: Frame) -> None:
        """Stop following the face, as if the camera had been covered for a moment at this frame."""
        black = Frame(np.zeros((_BLACK_PX, _BLACK_PX, 3), np.uint8), frame.capture_ns, frame.index)
        while self.detect(black).found:
            self.pause()


@dataclass(frozen=True, slots=True)
class FaceDetectorFactory:
    """What a `DetectorProcess` is to run: a `FaceDetector`. Making this finds the model, or fetches it.

    Raises TrackingError when the model is missing and cannot be fetched.
    """

    mode: DetectorMode = "video"
    model: Path = field(default_factory=lambda: model_path("face_landmarker"))

    @property
    def name(self) -> str:
        return "face detector"

    def open(self) -> FaceDetector:
        return FaceDetector(self.model, self.mode)


def create_landmarker(path: Path, mode: DetectorMode, *, num_faces: int = 1) -> Any:
    """MediaPipe's own object, for a `MediaPipeTask`."""
    from mediapipe.tasks.python import vision
    from mediapipe.tasks.python.core.base_options import BaseOptions

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(path)),
        running_mode=vision.RunningMode.VIDEO if mode == "video" else vision.RunningMode.IMAGE,
        num_faces=num_faces,  # MediaPipe smooths the landmarks only when it looks for one face
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    return vision.FaceLandmarker.create_from_options(options)


@contextlib.contextmanager
def _raw_result(landmarker: Any, image: Any, time_ms: int | None) -> Iterator[Any]:
    """The C library's own result for one picture, valid inside; without `time_ms` it stands for itself.

    MediaPipe's Python would make an object of every landmark, which takes a sixth of the detection, and hand
    each call to another thread, which takes a twentieth.
    """
    from mediapipe.tasks.python.core.mediapipe_c_utils import handle_status
    from mediapipe.tasks.python.vision import face_landmarker

    library, handle = landmarker._lib._lib, landmarker._handle  # behind what dispatches the calls
    result, message = face_landmarker.MpFaceLandmarkerResultC(), ctypes.c_char_p()
    out = ctypes.byref(result), ctypes.byref(message)
    if time_ms is None:
        status = library.MpFaceLandmarkerDetectImage(handle, image._image_ptr, None, *out)
    else:
        status = library.MpFaceLandmarkerDetectForVideo(handle, image._image_ptr, None, time_ms, *out)
    try:
        handle_status(status, message)
    finally:
        if message.value is not None:
            library.MpErrorFree(message)
    try:
        yield result
    finally:
        library.MpFaceLandmarkerCloseResult(ctypes.byref(result))


def _to_detection(result: Any, frame: Frame) -> Detection:
    if not result.face_landmarks_count:
        return Detection.lost(frame.capture_ns, frame.index, frame.width, frame.height)
    # MediaPipe's z is in units of the picture's width, like x.
    scale = np.array([frame.width, frame.height, frame.width], np.float32)
    landmarks = _columns(result.face_landmarks[0].landmarks, NUM_LANDMARKS, "x", "y", "z") * scale
    return Detection(
        landmarks=landmarks,
        scores=_columns(result.face_blendshapes[0].categories, NUM_SCORES, "score")[:, 0],
        head_matrix=result.facial_transformation_matrixes[0].to_numpy().astype(np.float32).reshape(4, 4),
        found=True,
        capture_ns=frame.capture_ns,
        index=frame.index,
        width=frame.width,
        height=frame.height,
    )


def _columns(pointer: Any, count: int, *names: str) -> NDArray[np.float32]:
    """A copy [count, fields] of some float fields of an array of C structures."""
    structure = pointer._type_
    memory = ctypes.cast(pointer, ctypes.POINTER(structure * count)).contents
    places = [getattr(structure, name).offset // 4 for name in names]
    return np.frombuffer(memory, np.float32).reshape(count, -1)[:, places]
