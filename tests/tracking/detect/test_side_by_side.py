"""Two detectors of different kinds in processes of their own, each at its own rate."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from capture.frame import Frame
from capture.latest import Latest
from capture.source import frames
from capture.video import VideoFile
from tests.tracking.detect.pose_detector import PoseDetection, PoseDetectorFactory
from tracking.detect.detection import Detection
from tracking.detect.face_detector import FaceDetectorFactory
from tracking.detect.process import DetectorLostError, DetectorProcess

FRAME_S = 1 / 30
NOSE, LEFT_EYE, RIGHT_EYE = 0, 2, 5  # of MediaPipe's pose
NOSE_TIP = 1  # of its face


@pytest.fixture(scope="module")
def pictures(testdata_dir: Path) -> list[Frame]:
    with VideoFile(testdata_dir / "videos" / "lp_d20.mp4") as video:
        return list(islice(frames(video), 60))


@pytest.fixture
def both(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[DetectorProcess[Detection], DetectorProcess[PoseDetection]]]:
    monkeypatch.syspath_prepend(
        Path(__file__).parents[3]
    )  # where the other process finds this folder's modules
    face = FaceDetectorFactory(model=models_dir / "face_landmarker.task")
    pose = PoseDetectorFactory(models_dir / "pose_landmarker_full_rebuilt.task")
    with DetectorProcess(face) as faces, DetectorProcess(pose) as poses:
        faces.wait_ready()
        poses.wait_ready()
        yield faces, poses


class Answering(threading.Thread):
    """Asks one process about the newest frame, again and again, and then waits its own time."""

    def __init__(self, process: DetectorProcess[Any], pause_s: float) -> None:
        super().__init__()
        self.mailbox: Latest[Frame] = Latest()
        self.found: list[Any] = []
        self._process, self._pause_s = process, pause_s
        self.start()

    def run(self) -> None:
        while (frame := self.mailbox.read()) is not None:
            self.found.append(self._process.detect(frame))
            time.sleep(self._pause_s)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_each_answers_at_its_own_rate_and_neither_waits_for_the_other(
    both: tuple[DetectorProcess[Detection], DetectorProcess[PoseDetection]], pictures: list[Frame]
) -> None:
    faces, poses = both
    pids = [process.pid for process in both]
    fast, slow = Answering(faces, 0), Answering(poses, 6 * FRAME_S)
    for picture in pictures:  # two seconds of a camera
        for answering in (fast, slow):
            answering.mailbox.put(picture)
        time.sleep(FRAME_S)
    for answering in (fast, slow):
        answering.mailbox.close()
        answering.join(10)
        assert not answering.is_alive()
    # Machines differ; a fast one that waited for the slow one would have answered as often as it.
    assert len(fast.found) > 2 * len(slow.found) >= 6
    assert len(slow.found) < 15
    assert all(d.found for d in (*fast.found, *slow.found))
    indices = [d.index for d in slow.found]
    assert indices == sorted(set(indices))
    # The same person in the same picture: both kinds agree where the nose is.
    face_of = {d.index: d for d in fast.found}
    common = [(face_of[p.index], p) for p in slow.found if p.index in face_of]
    assert common
    for face, pose in common:
        eyes = np.linalg.norm(pose.joints[LEFT_EYE, :2] - pose.joints[RIGHT_EYE, :2])
        apart = np.linalg.norm(face.landmarks[NOSE_TIP, :2] - pose.joints[NOSE, :2])
        assert apart < 0.5 * eyes
    for process in both:
        process.close()
    assert all(pid is not None and gone(pid) for pid in pids)


def test_one_that_dies_leaves_the_other_alone(
    both: tuple[DetectorProcess[Detection], DetectorProcess[PoseDetection]], pictures: list[Frame]
) -> None:
    faces, poses = both
    assert faces.pid is not None
    os.kill(faces.pid, signal.SIGKILL)
    with pytest.raises(DetectorLostError, match="the face detector's process died"):
        faces.detect(pictures[0])
    assert poses.detect(pictures[0]).found
    faces.restart()
    assert faces.detect(pictures[1]).found
    assert poses.detect(pictures[1]).found
