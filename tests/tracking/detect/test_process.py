"""The detector's process: same answers, in order, no leftovers, and death is noticed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from itertools import islice
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
import pytest

from capture.frame import Frame
from capture.source import frames
from capture.video import VideoFile
from tracking.detect import process as detector_process
from tracking.detect.detection import Detection
from tracking.detect.face_detector import FaceDetector, FaceDetectorFactory
from tracking.detect.process import DetectorLostError, DetectorProcess
from tracking.detect.shared_pictures import PictureReader, PictureWriter
from tracking.errors import TrackingError


@pytest.fixture(scope="module")
def model(models_dir) -> Path:
    return models_dir / "face_landmarker.task"


@pytest.fixture(scope="module")
def pictures(testdata_dir) -> list[Frame]:
    with VideoFile(testdata_dir / "videos" / "lp_d20.mp4") as video:
        return list(islice(frames(video), 12))


@pytest.fixture(scope="module")
def process(model) -> Iterator[DetectorProcess[Detection]]:
    """One process for the tests that leave it as they found it: starting one takes about a second."""
    with DetectorProcess(FaceDetectorFactory("image", model)) as shared:
        yield shared


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_the_answers_are_those_of_the_detector_in_process(model, pictures):
    with FaceDetector(model) as here, DetectorProcess(FaceDetectorFactory(model=model)) as there:
        for frame in pictures:
            expected, got = here.detect(frame), there.detect(frame)
            np.testing.assert_array_equal(got.landmarks, expected.landmarks)
            np.testing.assert_array_equal(got.scores, expected.scores)
            np.testing.assert_array_equal(got.head_matrix, expected.head_matrix)
            assert (got.capture_ns, got.index, got.found) == (frame.capture_ns, frame.index, True)


def test_all_frames_come_back_in_order_whatever_their_size(process, pictures):
    mixed = [
        Frame(np.ascontiguousarray(frame.rgb[: 480 - 20 * frame.index]), frame.capture_ns, frame.index)
        for frame in pictures
    ]
    mixed = mixed[::-1]  # growing: every slot has to be replaced by a larger one
    detections = list(process.detect_all(mixed))
    assert [(found.index, found.height) for found in detections] == [
        (frame.index, frame.height) for frame in mixed
    ]


def test_only_a_few_frames_are_read_ahead(process, pictures):
    num_taken = 0

    def take() -> Iterator[Frame]:
        nonlocal num_taken
        for frame in pictures:
            num_taken += 1
            yield frame

    detections = process.detect_all(take())
    next(detections)
    assert num_taken == 5  # four slots, and the one that waits for a free slot
    detections.close()


def test_leaving_the_loop_early_does_not_mix_up_later_answers(process, pictures):
    for detection in process.detect_all(pictures):
        if detection.index == 2:
            break
    del detection
    assert process.detect(pictures[7]).index == 7
    with pytest.raises(ZeroDivisionError):
        list(process.detect_all(frame if frame.index < 3 else 1 / 0 for frame in pictures))
    assert process.detect(pictures[9]).index == 9


def test_closing_ends_the_process_and_frees_its_memory(model, pictures):
    process = DetectorProcess(FaceDetectorFactory(model=model))
    list(process.detect_all(pictures[:5]))
    pid = process.pid
    memory = [block.name for block in process._worker._pictures._memory if block is not None]
    log = process._worker._log
    assert pid is not None
    assert len(memory) == 4
    process.close()
    process.close()
    assert gone(pid)
    assert not log.exists()
    for name in memory:
        with pytest.raises(FileNotFoundError):
            SharedMemory(name)
    assert process.pid is None
    with pytest.raises(RuntimeError, match="closed"):
        process.detect(pictures[0])


def test_closing_while_the_model_still_loads_is_clean(model):
    process = DetectorProcess(FaceDetectorFactory(model=model))
    pid = process.pid
    assert pid is not None
    process.close()
    assert gone(pid)


def test_a_killed_process_is_noticed_and_restarted(model, pictures):
    with DetectorProcess(FaceDetectorFactory(model=model)) as process:
        process.detect(pictures[0])
        first = process.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        with pytest.raises(DetectorLostError, match="exit code -9"):
            list(process.detect_all(pictures))
        with pytest.raises(DetectorLostError):
            process.detect(pictures[0])
        process.restart()
        assert process.pid != first
        assert process.detect(pictures[1]).found


def test_a_broken_model_is_the_users_mistake_here_too(tmp_path, pictures):
    broken = tmp_path / "broken.task"
    broken.write_bytes(b"no model" * 100)
    with (
        DetectorProcess(FaceDetectorFactory(model=broken)) as process,
        pytest.raises(TrackingError, match=r"broken\.task"),
    ):
        process.detect(pictures[0])


def test_a_bug_over_there_is_raised_here_with_its_traceback(model):
    flat = Frame(np.zeros((4, 4, 3), np.uint8), 0, 0)
    with DetectorProcess(FaceDetectorFactory(model=model)) as process:
        process.wait_ready()
        process._worker._jobs.send("no job")
        process._worker._num_submitted += 1
        with pytest.raises(RuntimeError, match="the face detector failed: 'str' object") as raised:
            process._worker.next_found()
        assert "Traceback" in raised.value.__notes__[0]
        process.restart()
        assert not process.detect(flat).found


def test_a_failed_start_leaves_nothing(model, monkeypatch, tmp_path):
    monkeypatch.setattr(detector_process.tempfile, "tempdir", str(tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr("multiprocessing.context.SpawnProcess.start", refuse)
    with pytest.raises(OSError, match="no more processes"):
        DetectorProcess(FaceDetectorFactory(model=model))
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_forgets_to_close_still_leaves_nothing(model, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            f"""
            import numpy as np
            from pathlib import Path
            from capture.frame import Frame
            from tracking.detect.face_detector import FaceDetectorFactory
            from tracking.detect.process import DetectorProcess

            if __name__ == "__main__":
                process = DetectorProcess(FaceDetectorFactory(model=Path({str(model)!r})))
                process.detect(Frame(np.zeros((64, 64, 3), np.uint8), 0, 0))
                print(process.pid, process._worker._pictures._memory[0].name, process._worker._log)
            """
        )
    )
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no leak reports from the resource tracker, no messages from MediaPipe
    pid, memory, log = done.stdout.split()
    assert gone(int(pid))
    assert not Path(log).exists()
    with pytest.raises(FileNotFoundError):
        SharedMemory(memory)


def test_pictures_cross_unchanged_and_blocks_are_replaced_when_they_grow():
    writer, reader = PictureWriter(2), PictureReader(2)
    generator = np.random.default_rng(0)
    try:
        for step in range(8):
            rgb = generator.integers(0, 256, (3 + step, 5, 3), np.uint8)
            ref = writer.write(step % 2, rgb)
            np.testing.assert_array_equal(reader.view(ref), rgb)
        assert len(reader._memory) == 2
    finally:
        reader.close()
        writer.close()


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals to threads are POSIX")
def test_ctrl_c_taken_by_another_thread_waits_until_the_process_has_started() -> None:
    begun, taken, finished = threading.Event(), threading.Event(), threading.Event()

    def take_the_signal() -> None:
        begun.wait()
        signal.raise_signal(signal.SIGINT)  # to this very thread
        taken.set()

    def start() -> None:
        with detector_process._interrupts_held():
            begun.set()
            taken.wait()
            finished.set()

    threading.Thread(target=take_the_signal, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        start()
    assert finished.is_set()
