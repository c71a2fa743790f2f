"""Who is who in a film: the person who is followed, the others, and whom to start on.

People of one film are told apart by how they look (`tracking.detect.appearance`), compared with each other;
places alone would not do where one walks past another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tracking.detect.appearance import Array, appearance, difference
from tracking.detect.face_boxes import FaceBox
from tracking.detect.person_choice import PersonChoice
from tracking.detect.search_plan import Searcher, coarse_looks, reduced

Rgb = NDArray[np.uint8]

# Differences of appearance. Of twelve clips those of one person have a median of 0.02 to 0.09 and seldom pass
# 0.12; those of two people are at least 0.11 and mostly above 0.15.
_SAME_AFTER_CUT = 0.11
_SAME_AFTER_ABSENCE = 0.16
_SAME_AMONG_OTHERS = 0.12
_SOMEONE_ELSE = 0.2
_NOT_MINE = 0.08  # the person may be another when the picture of them is this far off, and nearer to another
_CLEARLY = 0.02  # nearer
_FRAMES_OF_DOUBT = 2

_PATIENCE_S = 1.5  # waiting for the person to come out from behind another, before taking that one
_BRIEFLY_S = 0.5  # lost for less, with no one else about: the same person
_REMEMBERED_S = 3.0  # another person who is not seen for longer has left
_LEAST_SHARE = 0.3  # of the person's size: smaller faces are passers-by and posters
_APART = 0.6  # face sizes between two people
_CERTAIN_SIGHTS = 3  # before another person counts
_NEAR = 1.6  # face sizes: they may be mixed up
_AROUND_SIZES = 3.5  # of the square around another that is watched
_SAME_PLACE = 0.5  # face sizes from where the person was seen
# From one look for others to the next: while the picture was not yet seen all over, or others are known.
_SELDOM_FRAMES, _OFTEN_FRAMES = 20, 3
_LOOKS_PER_PART = 3  # at known others, to one at another part of the picture
_NEW_FRAMES = 5
_CHECK_S = 0.1  # from one look at the person to the next, while nobody else is known
_LEARNING = 0.1  # share of a frame in the memory of how someone looks


@dataclass(frozen=True, slots=True)
class _Other:
    """Someone who is seen beside the person."""

    box: FaceBox
    looks: Array
    seen_ns: int
    num_seen: int = 1  # times


class People:
    """Keeps the identity of the person who is followed."""

    def __init__(self, searcher: Searcher, choice: PersonChoice | None) -> None:
        self.choice = choice
        self.person = 0
        self.num_seen = 0
        self._searcher = searcher
        self._known: list[Array] = []  # how everyone who was followed looks
        self._others: list[_Other] = []
        self._last_ns: int | None = None  # when the person was seen last; None: nobody is waited for
        self._cut = False  # the film was cut since the person was seen
        self._frames_to_look = 0
        self._num_looks = 0
        self._num_new = 0  # frames in which the person's looks are still to be learnt
        self._place: FaceBox | None = None  # where the person was seen last
        self._doubts = 0
        self._check_ns = 0

    # While the tracker has a face

    def begin(self, rgb: Rgb, box: FaceBox, time_ns: int) -> None:
        """The tracker starts on a face: of the person, or of another one."""
        now = appearance(rgb, box)
        if not self._is_same(now, time_ns):
            differences = [difference(known, now) for known in self._known]
            if differences and min(differences) < _SAME_AFTER_CUT:
                self.person = int(np.argmin(differences))
            else:
                self.person = len(self._known)
                self._known.append(now)
                self._num_new = _NEW_FRAMES
        self._others = [o for o in self._others if o.box.away_from(box) > _APART]
        self._last_ns = time_ns
        self._cut = False
        self._doubts = 0
        self._frames_to_look = _OFTEN_FRAMES
        self._num_looks = 0
        self._place = box
        self.num_seen = max(self.num_seen, 1)

    def _is_same(self, now: Array, time_ns: int) -> bool:
        if not self._known:
            return False
        off = difference(self._known[self.person], now)
        if self._cut:
            return off < _SAME_AFTER_CUT
        if self._since_seen_s(time_ns) < _BRIEFLY_S and not self._others:
            return off < _SOMEONE_ELSE
        return off < _SAME_AFTER_ABSENCE

    def _since_seen_s(self, time_ns: int) -> float:
        return float("inf") if self._last_ns is None else (time_ns - self._last_ns) / 1e9

    def is_the_person(self, rgb: Rgb, box: FaceBox, time_ns: int) -> bool:
        """Whether the face that the tracker follows is still the person's."""
        self._frames_to_look -= 1
        due = self._frames_to_look <= 0
        if not (due or self._cut or self._others or time_ns >= self._check_ns):
            self._last_ns, self._place = time_ns, box
            return True
        self._check_ns = time_ns + round(_CHECK_S * 1e9)
        now = appearance(rgb, box)
        if self._num_new and not self._cut:  # the tracker needs some frames to find its place
            self._num_new -= 1
            self._check_ns = time_ns
            self._known[self.person] = now
        off = difference(self._known[self.person], now)
        if self._cut and off > _SAME_AFTER_CUT:
            self._last_ns = None
            return False
        self._cut = False
        if due:
            self._look_for_others(rgb, box, time_ns)
        theirs = min((difference(other.looks, now) for other in self._others), default=_SOMEONE_ELSE)
        doubtful = off > max(_NOT_MINE, theirs + (_CLEARLY if self._others else 0))
        self._doubts = self._doubts + 1 if doubtful else 0
        if self._doubts >= _FRAMES_OF_DOUBT:
            if not self._others:
                self._others.append(_Other(box, now, time_ns))
            return False
        if doubtful:
            self._check_ns = time_ns
            return True
        self._last_ns, self._place = time_ns, box
        if off < _SAME_AFTER_CUT and not self._near(box):
            self._known[self.person] = _learnt(self._known[self.person], now)
        return True

    def may_be(self, rgb: Rgb, face: FaceBox, time_ns: int) -> bool:
        """Whether a face that turns up may be followed; not a stranger's, just after the person was seen."""
        if self._place is None or self._cut or self._since_seen_s(time_ns) > _PATIENCE_S:
            return True
        now = appearance(rgb, face)
        most = _SOMEONE_ELSE if face.away_from(self._place) < _SAME_PLACE else _SAME_AFTER_CUT
        if difference(self._known[self.person], now) < most:
            return True
        self._others.append(_Other(face, now, time_ns))
        return False

    def _near(self, box: FaceBox) -> bool:
        return any(other.box.away_from(box) < _NEAR for other in self._others)

    def _look_for_others(self, rgb: Rgb, box: FaceBox, time_ns: int) -> None:
        """One look at a part of the picture, and one at each of the others that are known."""
        faces = [f for other in self._others for f in self._searcher.around(rgb, other.box, _AROUND_SIZES)]
        small, scale = reduced(rgb)
        looks = coarse_looks(small.shape[1], small.shape[0], 0)
        if self._num_looks % _LOOKS_PER_PART == 0 or not self._others:
            look = looks[self._num_looks // _LOOKS_PER_PART % len(looks)]
            faces += [f.placed(scale, 0, 0) for f in self._searcher.faces(small, look)]
        self._num_looks += _LOOKS_PER_PART if not self._others else 1
        self.meet(rgb, box, faces, time_ns)
        first_round = self._num_looks < _LOOKS_PER_PART * len(looks)
        if self._near(box):
            self._frames_to_look = 1
        else:
            self._frames_to_look = _OFTEN_FRAMES if first_round or self._others else _SELDOM_FRAMES

    def meet(
        self, rgb: Rgb, box: FaceBox, faces: Sequence[FaceBox], time_ns: int, *, certain: bool = False
    ) -> None:
        """The person is at `box`, and these faces are seen: who are the others? `certain`: each is one."""
        for face in faces:
            if face.away_from(box) > _APART and face.size > _LEAST_SHARE * box.size:
                self._see(rgb, face, time_ns, apart=face.away_from(box) > _NEAR)
        if certain:
            self._others = [replace(o, num_seen=max(o.num_seen, _CERTAIN_SIGHTS)) for o in self._others]
        self._others = [o for o in self._others if time_ns - o.seen_ns < _REMEMBERED_S * 1e9]
        self.num_seen = 1 + sum(other.num_seen >= _CERTAIN_SIGHTS for other in self._others)

    def _see(self, rgb: Rgb, face: FaceBox, time_ns: int, *, apart: bool) -> None:
        """Someone beside the person, known or new; how they look is learnt where the two are well apart."""
        now = appearance(rgb, face)
        for place, other in enumerate(self._others):
            if other.box.away_from(face) < 1:
                looks = _learnt(other.looks, now, 0.5) if apart else other.looks
                self._others[place] = _Other(face, looks, time_ns, other.num_seen + 1)
                return
        if self._searcher.is_face(rgb, face):
            self._others.append(_Other(face, now, time_ns))

    # While it has none

    def waiting(self, time_ns: int) -> bool:
        """Whether the person is soon to be seen again among others."""
        return bool(self._others) and self._since_seen_s(time_ns) < _PATIENCE_S

    def must_choose(self, time_ns: int) -> bool:
        """Whether the tracker may not start on whomever it likes."""
        return self.choice is not None or self.waiting(time_ns)

    def wanted(self, rgb: Rgb, faces: Sequence[FaceBox], time_ns: int) -> FaceBox | None:
        """Whom of these to start on: the person again, or who is chosen; None for nobody yet."""
        if not faces:
            return None
        if not self.waiting(time_ns):
            return (self.choice or PersonChoice("largest")).of(faces)
        looks = [appearance(rgb, face) for face in faces]
        mine = [difference(self._known[self.person], now) for now in looks]
        best = int(np.argmin(mine))
        theirs = min(difference(other.looks, looks[best]) for other in self._others)
        return faces[best] if mine[best] < min(theirs, _SAME_AMONG_OTHERS) else None

    # Always

    def count(self, number: int) -> None:
        """So many people are in the picture."""
        self.num_seen = number

    def cut(self) -> None:
        """The film is cut here: nobody is where they were."""
        self._cut = True
        self.forget_places()

    def forget_places(self) -> None:
        """Nobody is waited for, and the others are strangers again."""
        self._others = []
        self._last_ns = self._place = None


def _learnt(known: Array, now: Array, share: float = _LEARNING) -> Array:
    return np.asarray((1 - share) * known + share * now, np.float32)
