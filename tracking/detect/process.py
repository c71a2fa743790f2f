"""A detector in a process of its own, where no busy Python thread can slow it down."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import Generic, TypeVar

from capture.closing import Closing
from capture.frame import Frame
from tracking.detect import worker as detector_worker
from tracking.detect.shared_pictures import PictureWriter
from tracking.detect.worker import Answer, DetectorFactory, Failure, Job, Ready, Reply
from tracking.errors import TrackingError

Found = TypeVar("Found")

_NUM_SLOTS = 4
_JOIN_TIMEOUT_S = 10.0


class DetectorLostError(RuntimeError):
    """The detector's process died; `restart` starts a new one."""


class DetectorProcess(Closing, Generic[Found]):
    """One detector behind a pipe: pictures go over in shared memory, what it finds comes back in order.

    Any number of them run beside each other, each at the rate at which it is asked.

    Building it starts the process and returns at once; the model loads meanwhile (about a second). What goes
    wrong over there is raised by the next call here: TrackingError for a user's mistake, RuntimeError for a
    bug, DetectorLostError when the process died. One thread at a time may use it. Close it, or use it as a
    context manager.
    """

    def __init__(self, factory: DetectorFactory[Found], num_slots: int = _NUM_SLOTS) -> None:
        self._factory = factory
        self._num_slots = num_slots
        self._start()

    @property
    def pid(self) -> int | None:
        """The process's id; None after `close`."""
        return self._worker.process.pid if self._finalizer.alive else None

    def wait_ready(self) -> None:
        """Wait until the model is loaded."""
        self._worker.wait_ready()

    def detect(self, frame: Frame) -> Found:
        """What is found in one frame; waits for the answer."""
        self._check_open()
        self._worker.submit(frame)
        return self._worker.next_found()

    def detect_all(self, frames: Iterable[Frame]) -> Iterator[Found]:
        """What is found in every frame, in order, none dropped.

        Up to `num_slots` frames are on their way while the caller does its own work, so that reading,
        detecting and the caller's work run side by side. Leaving the loop early is fine.
        """
        self._check_open()
        worker = self._worker
        try:
            for frame in frames:
                if worker.num_in_flight == self._num_slots:
                    yield worker.next_found()
                worker.submit(frame)
            while worker.num_in_flight:
                yield worker.next_found()
        except BaseException:  # the loop was left early, or the frames or the process failed
            worker.forget_in_flight()
            raise

    def restart(self) -> None:
        """End the process, alive or dead, and start a new one; frames on their way are lost."""
        self.close()
        self._start()

    def close(self) -> None:
        """End the process and free the shared memory; closing twice does no harm."""
        self._finalizer()

    def _start(self) -> None:
        self._worker = _Worker(self._factory, self._num_slots)
        # Also runs at interpreter exit, for those who forget to close.
        self._finalizer = weakref.finalize(self, self._worker.close)

    def _check_open(self) -> None:
        if not self._finalizer.alive:
            raise RuntimeError("the detector process is closed")


class _Worker(Generic[Found]):
    """One life of the process: its pipes, its memory, its log."""

    def __init__(self, factory: DetectorFactory[Found], num_slots: int) -> None:
        self._name = factory.name
        context = multiprocessing.get_context("spawn")
        self._pictures = PictureWriter(num_slots)
        self._ready = False
        self._num_submitted = 0
        self._num_answered = 0
        descriptor, log = tempfile.mkstemp(prefix="visavis-detector-", suffix=".log")
        os.close(descriptor)
        self._log = Path(log)
        jobs_out, self._jobs = context.Pipe(duplex=False)
        self._answers, answers_in = context.Pipe(duplex=False)
        self.process: SpawnProcess = context.Process(
            target=detector_worker.run,
            args=(jobs_out, answers_in, factory, num_slots, self._log),
            name=f"visavis {self._name}",
            daemon=True,
        )
        try:
            with _interrupts_held():
                self.process.start()
        except BaseException:
            self._jobs.close()
            self._answers.close()
            self._free()
            raise
        finally:
            # Only the process may hold these ends, or neither side would notice the other's death.
            jobs_out.close()
            answers_in.close()

    @property
    def num_in_flight(self) -> int:
        return self._num_submitted - self._num_answered

    def wait_ready(self) -> None:
        if not self._ready:
            answer = self._receive()
            assert isinstance(answer, Ready), answer
            self._ready = True

    def submit(self, frame: Frame) -> None:
        # Answers come in order, so a slot is free again after num_slots more answers.
        slot = self._num_submitted % self._pictures.num_slots
        job = Job(self._pictures.write(slot, frame.rgb), frame.capture_ns, frame.index)
        try:
            self._jobs.send(job)
        except OSError:
            self._receive()  # raises what the process said before it ended
            raise
        self._num_submitted += 1

    def next_found(self) -> Found:
        self.wait_ready()
        answer = self._receive()
        assert isinstance(answer, Reply), answer
        self._num_answered += 1
        found: Found = answer.found
        return found

    def forget_in_flight(self) -> None:
        """Take the answers nobody wants, so that the next one belongs to the next frame."""
        with contextlib.suppress(RuntimeError, TrackingError):
            while self.num_in_flight:
                self.next_found()

    def close(self) -> None:
        # The process sees the end of its jobs and leaves, even while it waits for room to answer.
        self._jobs.close()
        self._answers.close()
        self.process.join(_JOIN_TIMEOUT_S)
        for end in (self.process.terminate, self.process.kill):
            if self.process.exitcode is None:
                end()
                self.process.join(_JOIN_TIMEOUT_S)
        self._free()
        self.process.close()

    def _receive(self) -> Answer:
        # A process that died leaves its last answers in the pipe, then the pipe's end. Waiting on anything
        # besides would let go of the interpreter's lock once more, and a busy thread holds that for 5 ms each
        # time.
        try:
            answer: Answer = self._answers.recv()
        except (EOFError, OSError):
            raise self._lost() from None
        if isinstance(answer, Failure):
            if answer.users_mistake:
                raise TrackingError(answer.message)
            error = RuntimeError(f"the {self._name} failed: {answer.message}")
            error.add_note(answer.traceback)
            raise error
        return answer

    def _lost(self) -> DetectorLostError:
        self.process.join(_JOIN_TIMEOUT_S)
        error = DetectorLostError(f"the {self._name}'s process died (exit code {self.process.exitcode})")
        if text := self._log.read_text(errors="replace").strip():
            error.add_note(text)
        return error

    def _free(self) -> None:
        self._pictures.close()
        self._log.unlink(missing_ok=True)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits for the end: a process started in here never gets it, not even while it loads."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Started on demand, Python's resource tracker would let the signal through before our own process starts.
    resource_tracker.ensure_running()
    with _handler_deferred():
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the process inherits the mask
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _handler_deferred() -> Iterator[None]:
    """The mask is this thread's: a signal taken by another thread still runs the handler, here and now."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    taken = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal taken
        taken = True

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if taken:
            signal.raise_signal(signal.SIGINT)
