"""What runs inside a detector's process: pictures in, what is found out, until the pipe closes."""

from __future__ import annotations

import os
import signal
import traceback
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol, TypeVar

from capture.frame import Frame
from tracking.detect.mediapipe_guard import block_telemetry
from tracking.detect.shared_pictures import PictureReader, PictureRef
from tracking.errors import TrackingError

Found = TypeVar("Found", covariant=True)


class Detector(Protocol[Found]):
    """Looks at one frame after the other. What it finds crosses to the other side: small, picklable."""

    def detect(self, frame: Frame) -> Found: ...

    def close(self) -> None: ...


class DetectorFactory(Protocol[Found]):
    """Which detector a process runs, and how: a small picklable value."""

    @property
    def name(self) -> str:
        """What it is, for messages: "face detector"."""

    def open(self) -> Detector[Found]:
        """The detector, made in its process, which has no way out to the network."""


@dataclass(frozen=True, slots=True)
class Job:
    """One picture to look at."""

    picture: PictureRef
    capture_ns: int
    index: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception, told rather than pickled: its class may not exist on the other side."""

    message: str
    traceback: str
    users_mistake: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """What the detector found in one picture."""

    found: Any


Answer = Ready | Failure | Reply


def run(
    jobs: Connection, answers: Connection, factory: DetectorFactory[Any], num_slots: int, log: Path
) -> None:
    """Serve `jobs` until the other end closes it; every job gets one answer, in order."""
    # Ctrl-C reaches the whole terminal group; the parent decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _send_stderr_to(log)
    block_telemetry()  # never lifted: nothing in this process has business outside
    pictures = PictureReader(num_slots)
    try:
        with closing(factory.open()) as detector:
            answers.send(Ready())
            while True:
                try:
                    job: Job = jobs.recv()
                except EOFError:
                    break
                rgb = pictures.view(job.picture)
                answers.send(Reply(detector.detect(Frame(rgb, job.capture_ns, job.index))))
                del rgb
    except BrokenPipeError:
        pass  # the parent is gone
    except Exception as error:
        failure = Failure(str(error), traceback.format_exc(), isinstance(error, TrackingError))
        answers.send(failure)
    finally:
        pictures.close()


def _send_stderr_to(log: Path) -> None:
    """MediaPipe's messages belong on nobody's terminal; the parent shows them if this process dies."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 2)
    os.close(descriptor)
