"""The detection thread: newest frame in, detection out, and a new detector process when one dies."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from capture.frame import Frame
from capture.latest import Latest
from engine.live.lifeline import Lifeline
from engine.live.sources import LiveSource
from engine.live.stamps import FrameStamps
from engine.live.statistics import LiveStatistics
from engine.person import Sightings
from tracking.detect.detection import Detection
from tracking.detect.process import DetectorLostError

LOOK_UP_S = 0.25  # how often the thread looks whether it should end while no frames come
MAX_DEATHS, DEATHS_WINDOW_S = 5, 30.0  # a detector that dies more often than this will not recover
ANSWER_S, FIRST_ANSWER_S = 5.0, 60.0  # a detector that takes longer hangs; the first answer loads the model
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0  # before a new process

_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has no other


@dataclass(frozen=True, slots=True)
class Detected:
    """A frame and what is known of its face.

    The detection is the frame's own, or that of an earlier one: then the tracker did not look at this frame.
    """

    detection: Detection
    stamps: FrameStamps
    tracking_ms: float | None = None  # what a look took that ended since the frame before

    @property
    def tracked(self) -> bool:
        """Whether the detection is the frame's own."""
        return self.detection.capture_ns == self.stamps.capture_ns


class Detector(Protocol):
    """What the thread needs of `tracking.detect.process.DetectorProcess`."""

    @property
    def pid(self) -> int | None: ...

    def detect(self, frame: Frame) -> Detection: ...

    def restart(self) -> None: ...

    def close(self) -> None: ...


class DetectionThread:
    """Reads the newest frame of a source, detects, and leaves the detection in `detected`."""

    def __init__(
        self,
        source: LiveSource,
        detector: Detector,
        statistics: LiveStatistics,
        lifeline: Lifeline,
        sightings: Sightings | None = None,
        *,
        detect_every: Callable[[], int] = lambda: 1,
        clock: Callable[[], float] = time.monotonic,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """`detect_every`: look at every so many-th frame now.

        Above 1 no frame waits for the look at it: it goes on at once with the last detection, so that
        pictures follow each other evenly, and what is found comes with the frame after.
        """
        self.detected: Latest[Detected] = Latest()
        # What was told about the people in the picture last, and when.
        self.note, self.noted_s = "", -math.inf
        self._source = source
        self._detector = detector
        self._statistics = statistics
        self._lifeline = lifeline
        self._detect_every = detect_every
        self._newest: Detection | None = None
        self._num_passed = 0  # frames since the one that was looked at last
        self._ahead: Latest[Frame] = Latest()  # to be looked at beside what goes on
        self._looking = threading.Lock()  # the detector answers one at a time
        self._tracking_ms: float | None = None  # what the last look took, until it is told
        self._sightings = sightings if sightings is not None else Sightings("the picture")
        self._clock = clock
        self._clock_ns = clock_ns
        self._deaths: deque[float] = deque(maxlen=MAX_DEATHS)
        self._asked_s: float | None = None  # since when the detector owes an answer
        self._answered = False  # whether this process ever answered: the first one waits for the model

    def run(self) -> None:
        """Work until the lifeline stops or the source is closed. Raises what source and detector raise."""
        self._lifeline.spawn("looking ahead", self._look_ahead)
        try:
            while not self._lifeline.stopped:
                try:
                    frame = self._source.read(LOOK_UP_S)
                except TimeoutError:
                    continue
                if frame is None:
                    return
                self._statistics.count("source")
                self._num_passed += 1
                every = self._detect_every()
                if self._newest is None or every == 1:
                    self._num_passed = 0
                    self._detect(frame)
                    continue
                self._pass_on(self._newest, FrameStamps(frame.capture_ns))
                if self._num_passed >= every and not self._looking.locked():
                    self._num_passed = 0
                    self._ahead.put(frame)
        finally:
            self._ahead.close()
            with self._looking:
                self._detector.close()
            self.detected.close()

    def _pass_on(self, detection: Detection, stamps: FrameStamps) -> None:
        self.detected.put(Detected(detection, stamps, self._tracking_ms))
        self._tracking_ms = None

    def _look_ahead(self) -> None:
        """Look at frames that went on already."""
        while (frame := self._ahead.read()) is not None:
            self._detect(frame, ahead=True)

    def _detect(self, frame: Frame, *, ahead: bool = False) -> None:
        with self._looking:
            self._look(frame, ahead)

    def _look(self, frame: Frame, ahead: bool) -> None:
        begin_ns = self._clock_ns()
        self._asked_s = self._clock()
        try:
            detection = self._detector.detect(frame)
        except DetectorLostError as error:
            self._asked_s = None
            self._newest = None  # while a new process loads, nothing is known of the face
            if not self._lifeline.stopped:
                self._revive(error)
            return
        self._asked_s = None
        self._answered = True
        self._newest = detection
        end_ns = self._clock_ns()
        stamps = FrameStamps(frame.capture_ns, begin_ns, end_ns)
        self._tracking_ms = (end_ns - begin_ns) / 1e6
        self._statistics.count("track")
        if ahead:
            self._statistics.add(stamps)
        else:
            self._pass_on(detection, stamps)
        note = self._sightings.see(detection)
        if note is not None:
            self.note, self.noted_s = note, self._clock()
            print(f"visavis: {note}", file=sys.stderr, flush=True)

    def _revive(self, error: DetectorLostError) -> None:
        """A new process, after a pause that grows with the deaths. Raises `error` after too many."""
        now = self._clock()
        recent = [then for then in self._deaths if now - then <= DEATHS_WINDOW_S]
        self._deaths.append(now)
        if len(recent) + 1 >= MAX_DEATHS:
            raise error
        self._statistics.count("tracker_restart")
        if not self._lifeline.wait(min(FIRST_PAUSE_S * 2 ** len(recent), LONGEST_PAUSE_S)):
            self._answered = False
            self._detector.restart()

    def end_if_hung(self) -> None:
        """Kill a detector process that does not answer, so that a new one takes its place; any thread."""
        asked_s = self._asked_s
        patience_s = ANSWER_S if self._answered else FIRST_ANSWER_S
        if asked_s is not None and self._clock() - asked_s > patience_s:
            self.kill()

    def kill(self) -> None:
        """End the detector process at once; any thread."""
        pid = self._detector.pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, _KILL)
