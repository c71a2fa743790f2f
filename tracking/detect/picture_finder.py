"""Finds the face in unrelated pictures, however small, whichever way up."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from capture.closing import Closing
from capture.frame import Frame
from tracking.detect.detection import Detection
from tracking.detect.face_boxes import FaceBox, FaceBoxes, box_of_landmarks
from tracking.detect.face_detector import FaceDetector
from tracking.detect.models.catalogue import model_path
from tracking.detect.person_choice import PersonChoice
from tracking.detect.quarter_turns import NUM_TURNS, turned
from tracking.detect.search_plan import SURE, TURN_MARGIN, Searcher, apart, reduced, upright_looks

_CROP_SIZES = (4.0, 2.5)  # of the square in which the landmarks are looked for, in face sizes


@dataclass(frozen=True, slots=True)
class PictureFinderFactory:
    """What a `DetectorProcess` is to run: a `PictureFinder`. Making this finds the model, or fetches it.

    Raises TrackingError when the model is missing and cannot be fetched.
    """

    person: PersonChoice | None = None
    model: Path = field(default_factory=lambda: model_path("face_landmarker"))

    @property
    def name(self) -> str:
        return "face detector"

    def open(self) -> PictureFinder:
        return PictureFinder(self.model, self.person)


class PictureFinder(Closing):
    """Looks at the whole picture first, and at parts of it, in four turns, when it shows no face.

    `person` chooses among several faces. Raises TrackingError as `FaceDetector` does.
    """

    def __init__(self, model: Path, person: PersonChoice | None = None) -> None:
        self._landmarks = FaceDetector(model, "image")
        try:
            self._boxes = FaceBoxes(model)
        except BaseException:
            self._landmarks.close()
            raise
        self._searcher = Searcher(self._boxes)
        self._choice = person

    def detect(self, frame: Frame) -> Detection:
        """The face of one picture; `turn` says how it was turned first."""
        if self._choice is None:
            whole = self._landmarks.detect(frame)
            if whole.found:
                scores = self._searcher.scores(frame.rgb, box_of_landmarks(whole.landmarks))
                if max(scores) < max(SURE, scores[0] + TURN_MARGIN):
                    return whole
        for turn in range(NUM_TURNS):
            upright = replace(frame, rgb=turned(frame.rgb, turn))
            faces = self._everyone(upright)
            wanted = (self._choice or PersonChoice("largest")).of(faces)
            found = self._close(upright, wanted) if wanted is not None else None
            if found is not None:
                return replace(found, turn=turn, people=len(faces))
            if faces:
                return self._lost(frame, len(faces))
        return self._lost(frame, 0)

    def close(self) -> None:
        """Free the models; closing twice does no harm."""
        self._landmarks.close()
        self._boxes.close()

    def _everyone(self, frame: Frame) -> list[FaceBox]:
        small, scale = reduced(frame.rgb)
        looks = upright_looks(small.shape[1], small.shape[0])
        faces = [face.placed(scale, 0, 0) for look in looks for face in self._searcher.faces(small, look)]
        return [face for face in apart(faces) if self._searcher.is_face(frame.rgb, face)]

    def _close(self, frame: Frame, face: FaceBox) -> Detection | None:
        """The landmarks in a square around a face, in pixels of the picture."""
        for sizes in _CROP_SIZES:
            half = sizes * face.size / 2
            left, top = max(0, round(face.x - half)), max(0, round(face.y - half))
            part = frame.rgb[top : round(face.y + half), left : round(face.x + half)]
            found = self._landmarks.detect(replace(frame, rgb=part))
            if found.found:
                landmarks = found.landmarks + np.array([left, top, 0], np.float32)
                if box_of_landmarks(landmarks).away_from(face) < 1:
                    return replace(found, landmarks=landmarks, width=frame.width, height=frame.height)
        return None

    def _lost(self, frame: Frame, people: int) -> Detection:
        lost = Detection.lost(frame.capture_ns, frame.index, frame.width, frame.height)
        return replace(lost, people=people)
