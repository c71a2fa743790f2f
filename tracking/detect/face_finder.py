"""Finds one person's face in a film, however small, whichever way up, and stays with that person.

While MediaPipe's tracker follows the face it is asked and nothing else; its answers are passed on as they
are. Only when it has no face are parts of the picture looked at, a few in each frame; it is then started on
the face that was found there (`tracking.detect.zoom`). Now and then the rest of the picture is looked at for
other people.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from capture.closing import Closing
from capture.frame import Frame
from tracking.detect.detection import Detection
from tracking.detect.face_boxes import FaceBox, FaceBoxes, box_of_landmarks
from tracking.detect.face_detector import FaceDetector
from tracking.detect.models.catalogue import model_path
from tracking.detect.people import People
from tracking.detect.person_choice import PersonChoice
from tracking.detect.quarter_turns import turned
from tracking.detect.scene_cuts import SceneCuts
from tracking.detect.search_plan import (
    SURE,
    TURN_MARGIN,
    Look,
    Searcher,
    all_looks,
    apart,
    coarse_looks,
    reduced,
    upright_looks,
)
from tracking.detect.zoom import Zoom

Rgb = NDArray[np.uint8]

# With the tracker's own, half the time of a frame with a face; the tracker does nothing while people are
# counted.
_LOOKS_A_FRAME, _LOOKS_FOR_EVERYONE = 3, 6
_EAGER_S = 3.0  # of looking like that; then one look a frame is enough
_THOROUGH_S = 1.0  # between two frames that are searched thoroughly
_CHECK_TURN_AT = (10, 30)  # frames after the tracker started by itself: what it sees may be upside down
_SETTLED_FRAMES = 90  # a film whose face was followed for so long is the right way up
_UNSETTLED_S = 5.0  # without a face
_LOCAL_SIZES = 4.0  # of the lost face: the square around it that is looked at first
# Of the crop's longer side that the face is at first; the second leaves neighbours out.
_SHARES = (0.2, 0.4)
_SAME_PLACE = 0.5  # of a face's size
_LONGEST_PAUSE = 32  # frames between two tries to start on faces that the tracker does not see


@dataclass(frozen=True, slots=True)
class FaceFinderFactory:
    """What a `DetectorProcess` is to run: a `FaceFinder`. Making this finds the model, or fetches it.

    Raises TrackingError when the model is missing and cannot be fetched.
    """

    person: PersonChoice | None = None
    live: bool = False
    model: Path = field(default_factory=lambda: model_path("face_landmarker"))

    @property
    def name(self) -> str:
        return "face detector"

    def open(self) -> FaceFinder:
        return FaceFinder(self.model, person=self.person, live=self.live)


class FaceFinder(Closing):
    """Follows one person through the frames of one film or camera, which must come in order.

    `person` chooses among several; without, the one who was there first is followed. `live` bounds the work
    of every frame; else the first frame of a film is searched thoroughly.

    Raises TrackingError as `FaceDetector` does.
    """

    def __init__(self, model: Path, *, person: PersonChoice | None = None, live: bool = False) -> None:
        self._tracker = FaceDetector(model)
        try:
            self._boxes = FaceBoxes(model)
        except BaseException:
            self._tracker.close()
            raise
        self._searcher = Searcher(self._boxes)
        self._live = live
        self._cuts = SceneCuts()
        self._people = People(self._searcher, person)
        self._turn = 0
        self._frame_turn = 0  # of the pixels at hand
        self._turned_index: int | None = None  # the frame in which the turn was changed last
        self._run = 0
        self._following = False  # whether the tracker has a face
        self._num_followed = 0  # frames of this run
        self._num_failed = 0  # frames in which the tracker did not take to the faces it was started on
        self._next_try = 0  # the index of the next frame in which it may be started
        self._zoom: Zoom | None = None
        self._last: FaceBox | None = None  # where the face was when it was lost
        self._lost_ns: int | None = None
        self._few = _LOOKS_A_FRAME
        self._thorough_from_ns = 0
        self._thorough_index: int | None = None  # of the last frame that was searched thoroughly
        self._settled = False
        self._restart_search()

    def detect(self, frame: Frame) -> Detection:
        """The person's face in one frame."""
        self._frame_turn = self._turn
        found = self._find(self._upright(frame))
        return replace(
            found,
            turn=self._turn,
            person=self._people.person,
            run=self._run,
            people=self._people.num_seen,
        )

    def close(self) -> None:
        """Free the models; closing twice does no harm."""
        self._tracker.close()
        self._boxes.close()

    def _upright(self, frame: Frame) -> Frame:
        return replace(frame, rgb=turned(frame.rgb, self._turn)) if self._turn else frame

    def _find(self, frame: Frame, *, again: bool = False) -> Detection:
        if not again:
            self._note_cut(frame)
        if not self._following and self._people.must_choose(frame.capture_ns):
            return self._choose(frame)
        detection = self._follow(frame)
        if detection is None and not again:  # it was let go of, or the picture was turned
            return self._find(self._now_upright(frame), again=True)
        if detection is not None and detection.found:
            return detection
        return self._choose(frame) if self._people.must_choose(frame.capture_ns) else self._search(frame)

    def _note_cut(self, frame: Frame) -> None:
        if not self._cuts.is_cut(frame.rgb):
            return
        self._people.cut()
        self._restart_search()
        self._settled = False
        self._last = None

    # Following

    def _follow(self, frame: Frame) -> Detection | None:
        """What the tracker says; None when it follows something else than the person's upright face."""
        if self._zoom is not None:
            return self._zoom_on(frame, self._zoom)
        detection = self._tracker.detect(frame)
        if not detection.found:
            self._lose(frame)
            return detection
        box = box_of_landmarks(detection.landmarks)
        if not self._following:
            if self._turned(frame, box):
                return None
            if not self._people.may_be(frame.rgb, box, frame.capture_ns):
                self._let_go(frame)
                return None
            self._begin(frame, box)
        elif not self._still_right(frame, box):
            return None
        self._last = box
        self._num_followed += 1
        self._settled |= self._num_followed >= _SETTLED_FRAMES
        return detection

    def _begin(self, frame: Frame, box: FaceBox) -> None:
        self._following = True
        self._run += 1
        self._num_followed = 0
        self._people.begin(frame.rgb, box, frame.capture_ns)

    def _still_right(self, frame: Frame, box: FaceBox) -> bool:
        """Whether the tracker still follows the person, the right way up; lets go of it if not."""
        if self._num_followed in _CHECK_TURN_AT and self._turned(frame, box):
            return False
        if not self._people.is_the_person(frame.rgb, box, frame.capture_ns):
            self._let_go(frame)
            return False
        return True

    def _let_go(self, frame: Frame) -> None:
        self._tracker.forget(frame)
        self._lose(frame)

    def _lose(self, frame: Frame) -> None:
        if self._following:
            self._following = False
            self._lost_ns = frame.capture_ns
            self._restart_search()
        self._zoom = None

    # Turning

    def _turned(self, frame: Frame, box: FaceBox) -> bool:
        """Whether a face seen there is not upright: the picture is then turned from now on."""
        if self._settled or self._turned_index == frame.index:
            return False
        scores = self._searcher.scores(frame.rgb, box)
        best = int(np.argmax(scores))
        if scores[best] < max(SURE, scores[0] + TURN_MARGIN):
            return False
        self._turn_by(best, frame)
        return True

    def _turn_by(self, quarters: int, frame: Frame) -> None:
        """Turn this picture, and all from now on, by so many more quarters; once in a frame."""
        self._turned_index = frame.index
        self._let_go(frame)
        self._turn = (self._turn + quarters) % 4
        self._last = None
        self._cuts.restart()
        self._people.forget_places()
        self._restart_search()

    def _now_upright(self, frame: Frame) -> Frame:
        """A frame of this moment, turned already, after `_turn_by` perhaps."""
        return (
            frame
            if self._frame_turn == self._turn
            else replace(frame, rgb=turned(frame.rgb, (self._turn - self._frame_turn) % 4))
        )

    # Searching

    def _restart_search(self) -> None:
        """The next frame without a face is looked at from the likeliest place on."""
        self._round: list[Look] = []  # what is left of a search
        self._count: list[Look] = []  # what is left of counting the people
        self._faces: list[FaceBox] = []  # that were counted
        self._thorough = not self._live

    def _search(self, frame: Frame, *, only_turned: bool = False) -> Detection:
        """Look at some parts of a frame, and start on a face found there."""
        if self._lost_ns is None:
            self._lost_ns = frame.capture_ns
        lost_s = (frame.capture_ns - self._lost_ns) / 1e9
        self._settled &= lost_s < _UNSETTLED_S
        self._few = _LOOKS_A_FRAME if lost_s < _EAGER_S else 1
        failed = False
        for quarters, face in self._candidates(frame, only_turned):
            if quarters:
                detection = self._try_turned(frame, quarters, face)
                if detection is not None:
                    return detection
                continue
            if frame.index >= self._next_try and self._searcher.is_face(frame.rgb, face):
                if not self._people.may_be(frame.rgb, face, frame.capture_ns):
                    break
                detection = self._start_on(frame, face)
                if detection is not None:
                    return detection
                failed = True
                if self._live:
                    break  # one try is a frame's work
        if failed:
            self._wait_before_trying(frame)
        return _lost(frame)

    def _try_turned(self, frame: Frame, quarters: int, face: FaceBox) -> Detection | None:
        """The same with the picture turned, which it stays if the tracker sees a face then."""
        upright = replace(frame, rgb=turned(frame.rgb, quarters))
        if self._turned_index == frame.index or not self._searcher.is_face(upright.rgb, face):
            return None
        self._turn_by(quarters, frame)
        if self._people.must_choose(frame.capture_ns):
            return self._choose(upright)
        detection = self._follow(upright)
        if detection is None or not detection.found:
            detection = self._start_on(upright, face)
        if detection is None:
            self._turn_by(-quarters, frame)
        return detection

    def _wait_before_trying(self, frame: Frame) -> None:
        """What looks like a face again and again and is none shall not cost its work each time."""
        self._num_failed += 1
        self._next_try = frame.index + min(2**self._num_failed, _LONGEST_PAUSE)

    def _candidates(self, frame: Frame, only_turned: bool) -> Iterator[tuple[int, FaceBox]]:
        """Faces in a few looks at this frame, with the quarters that turn them upright."""
        if self._last is not None and not only_turned:
            for face in self._searcher.around(frame.rgb, self._last, _LOCAL_SIZES):
                yield 0, face
        small, scale = reduced(frame.rgb)
        if not self._round:
            height, width = small.shape[:2]
            looks = all_looks(width, height, turned_too=not self._settled)
            self._round = [look for look in looks if look.turn or not only_turned]
        looks, self._round = self._next_looks(frame, self._round, self._few)
        for look in looks:
            for face in self._searcher.faces(small, look):
                yield look.turn, face.placed(scale, 0, 0)

    def _next_looks(self, frame: Frame, looks: list[Look], few: int) -> tuple[list[Look], list[Look]]:
        """A few of these looks, or all of them where a film may have begun anew; and those left."""
        if self._thorough and frame.capture_ns >= self._thorough_from_ns:
            self._thorough_index = frame.index
            self._thorough_from_ns = frame.capture_ns + round(_THOROUGH_S * 1e9)
        self._thorough = False
        count = len(looks) if frame.index == self._thorough_index else few
        return looks[:count], looks[count:]

    def _start_on(self, frame: Frame, face: FaceBox) -> Detection | None:
        """Start the tracker on a face; None when it sees none there."""
        for share in _SHARES:
            zoom = Zoom(np.array([face.x, face.y]), face.size, frame.width, frame.height, share)
            detection = self._in_window(frame, zoom)
            if detection is None:
                continue
            box = box_of_landmarks(detection.landmarks)
            if box.away_from(face) > _SAME_PLACE:  # another face is in the window
                self._tracker.forget(frame)
                continue
            self._begin(frame, box)
            return self._zoomed(frame, zoom, detection, box)
        return None

    def _zoom_on(self, frame: Frame, zoom: Zoom) -> Detection | None:
        """Follow the face through the next window, and through all the others if there is time."""
        detection = self._in_window(frame, zoom)
        if detection is None:
            self._lose(frame)
            return None
        return self._zoomed(frame, zoom, detection, box_of_landmarks(detection.landmarks))

    def _zoomed(self, frame: Frame, zoom: Zoom, detection: Detection, box: FaceBox) -> Detection | None:
        """The face was found in the present window: go on from there."""
        self._last = box
        if zoom.done:
            self._zoom = None
            self._num_failed, self._next_try = 0, 0
            self._tracker.pause()
            return detection if self._live else self._tracker.detect(frame)
        zoom.grow(np.array([box.x, box.y]), box.size)
        self._zoom = zoom
        return detection if self._live else self._zoom_on(frame, zoom)

    def _in_window(self, frame: Frame, zoom: Zoom) -> Detection | None:
        """What the tracker sees in a window of the frame, in pixels of the frame."""
        left, top, width, height = zoom.window()
        part = replace(frame, rgb=frame.rgb[top : top + height, left : left + width])
        self._tracker.pause()
        detection = self._tracker.detect(part)
        if not detection.found:
            return None
        landmarks = detection.landmarks + np.array([left, top, 0], np.float32)
        return replace(detection, landmarks=landmarks, width=frame.width, height=frame.height)

    # Choosing

    def _choose(self, frame: Frame) -> Detection:
        """Look at everyone in the picture, and start on the one who is wanted."""
        waiting = self._people.waiting(frame.capture_ns)
        if self._round and not waiting:  # nobody was there, upright, when the search began
            return self._search(frame, only_turned=True)
        faces = self._everyone_near(frame) if waiting else self._everyone(frame)
        if faces is None:
            return _lost(frame)
        if not faces and not waiting:
            return self._search(frame, only_turned=True)
        wanted = self._people.wanted(frame.rgb, faces, frame.capture_ns)
        if wanted is None or frame.index < self._next_try:
            return _lost(frame)
        detection = self._start_on(frame, wanted)
        if detection is None:
            self._wait_before_trying(frame)
            return _lost(frame)
        self._people.meet(frame.rgb, wanted, faces, frame.capture_ns, certain=True)
        return detection

    def _everyone_near(self, frame: Frame) -> list[FaceBox]:
        """The faces around the one that was lost, and the large ones."""
        faces = self._searcher.around(frame.rgb, self._last, _LOCAL_SIZES) if self._last else []
        small, scale = reduced(frame.rgb)
        for look in coarse_looks(small.shape[1], small.shape[0], 0):
            faces += [face.placed(scale, 0, 0) for face in self._searcher.faces(small, look)]
        return apart(faces)

    def _everyone(self, frame: Frame) -> list[FaceBox] | None:
        """The faces of the whole picture once all of it was looked at, which may take several frames."""
        small, scale = reduced(frame.rgb)
        if not self._count:
            self._faces = []
            self._count = upright_looks(small.shape[1], small.shape[0])
        looks, self._count = self._next_looks(frame, self._count, _LOOKS_FOR_EVERYONE)
        for look in looks:
            self._faces += [face.placed(scale, 0, 0) for face in self._searcher.faces(small, look)]
        if self._count:
            return None
        # Those seen some frames ago have moved on since.
        now = [
            replace(face, score=max(face.score, seen.score))
            for seen in apart(self._faces)
            for face in self._searcher.around(frame.rgb, seen, _LOCAL_SIZES)
            if face.away_from(seen) < 1
        ]
        faces = [face for face in apart(now) if self._searcher.is_face(frame.rgb, face)]
        self._people.count(len(faces))
        self._thorough = not self._live
        return faces


def _lost(frame: Frame) -> Detection:
    return Detection.lost(frame.capture_ns, frame.index, frame.width, frame.height)
