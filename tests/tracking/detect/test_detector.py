"""The face detector in this process, on real clips."""

from __future__ import annotations

import os
from itertools import islice

import numpy as np
import pytest

from capture.frame import Frame
from capture.source import frames
from capture.video import VideoFile
from tracking.detect.detection import NUM_LANDMARKS, NUM_SCORES, SCORE_NAMES
from tracking.detect.face_detector import FaceDetector
from tracking.detect.mediapipe_guard import DEAD_PROXY, block_telemetry, unblock_telemetry
from tracking.detect.mediapipe_task import StreamClock
from tracking.errors import TrackingError


def clip(testdata_dir, name: str = "lp_d20.mp4", count: int = 6) -> list[Frame]:
    with VideoFile(testdata_dir / "videos" / name) as video:
        return list(islice(frames(video), count))


@pytest.fixture(scope="module")
def model(models_dir):
    return models_dir / "face_landmarker.task"


def test_a_face_is_found_in_pixels_with_its_frames_time(model, testdata_dir):
    pictures = clip(testdata_dir)
    with FaceDetector(model) as detector:
        detections = [detector.detect(frame) for frame in pictures]
    for frame, detection in zip(pictures, detections, strict=True):
        assert detection.found
        assert (detection.capture_ns, detection.index) == (frame.capture_ns, frame.index)
        assert (detection.width, detection.height) == (frame.width, frame.height)
        assert detection.landmarks.shape == (NUM_LANDMARKS, 3)
        assert detection.landmarks.dtype == np.float32
        x, y, z = detection.landmarks.T
        # A frontal face that fills the middle: inside the picture, the nose tip (1) nearer than the ears
        # (234, 454).
        assert 0 < x.min() < x.max() < frame.width
        assert 0 < y.min() < y.max() < frame.height
        assert z[1] < z[234]
        assert z[1] < z[454]
        assert detection.scores.shape == (NUM_SCORES,)
        assert 0 <= detection.scores.min() <= detection.scores.max() <= 1
        rotation = detection.head_matrix[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-3)  # float32 from MediaPipe
        assert detection.head_matrix[2, 3] < 0  # in front of a camera that looks along -z


def test_the_scores_stand_in_mediapipes_order():
    from mediapipe.tasks.python.vision.face_landmarker import Blendshapes

    ours = [name.lstrip("_").lower() for name in SCORE_NAMES]
    theirs = [unit.name.replace("_", "").lower() for unit in sorted(Blendshapes, key=lambda unit: unit.value)]
    assert ours == theirs


def test_image_mode_does_not_depend_on_what_came_before(model, testdata_dir):
    pictures = clip(testdata_dir)
    with FaceDetector(model, mode="image") as detector:
        first = detector.detect(pictures[0])
        detector.detect(pictures[-1])
        again = detector.detect(pictures[0])
    np.testing.assert_array_equal(first.landmarks, again.landmarks)


def test_a_frame_without_a_face_is_a_value(model):
    blank = Frame(np.zeros((90, 120, 3), np.uint8), 5, 3)
    with FaceDetector(model) as detector:
        detection = detector.detect(blank)
    assert not detection.found
    assert (detection.capture_ns, detection.index, detection.width, detection.height) == (5, 3, 120, 90)
    assert np.isnan(detection.landmarks).all()
    assert np.isnan(detection.scores).all()


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 640, 3), (480, 2, 3)])
def test_pictures_of_odd_shapes_do_no_harm(model, shape):
    with FaceDetector(model) as detector:
        assert not detector.detect(Frame(np.full(shape, 128, np.uint8), 0, 0)).found


def test_repeated_and_backward_times_are_no_error(model, testdata_dir):
    frame = clip(testdata_dir, count=1)[0]
    with FaceDetector(model) as detector:
        for time_ns in (10_000_000, 10_000_000, 10_000_001, 0, 33_000_000):
            assert detector.detect(Frame(frame.rgb, time_ns, 0)).found


def test_the_clock_rises_strictly_and_carries_on_after_a_restart():
    clock = StreamClock()
    times = [clock.milliseconds(ns) for ns in (5_000_000_000, 5_033_000_000, 5_033_000_000, 5_066_000_000)]
    assert times == [0, 33, 34, 66]
    assert [clock.milliseconds(ns) for ns in (0, 33_000_000)] == [99, 132]


def test_nothing_is_written_to_the_terminal(model, testdata_dir, capfd):
    with FaceDetector(model) as detector:
        detector.detect(clip(testdata_dir, count=1)[0])
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_broken_model_is_one_line_and_leaves_the_environment_alone(tmp_path):
    before = dict(os.environ)
    broken = tmp_path / "face_landmarker.task"
    broken.write_bytes(b"no model" * 100)
    with pytest.raises(TrackingError) as raised:
        FaceDetector(broken)
    assert str(broken) in str(raised.value)
    assert "visavis models fetch" in str(raised.value)
    assert "\n" not in str(raised.value)
    with pytest.raises(TrackingError, match="no face landmark model"):
        FaceDetector(tmp_path / "missing.task")
    assert dict(os.environ) == before


def test_closing_twice_is_fine_and_a_closed_detector_says_so(model):
    detector = FaceDetector(model)
    detector.close()
    detector.close()
    with pytest.raises(RuntimeError, match="closed"):
        detector.detect(Frame(np.zeros((8, 8, 3), np.uint8), 0, 0))


def test_the_way_out_is_shut_while_a_block_is_held_and_restored_after(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("no_proxy", raising=False)
    before = dict(os.environ)
    block_telemetry()
    block_telemetry()
    unblock_telemetry()
    assert os.environ["https_proxy"] == DEAD_PROXY
    assert "NO_PROXY" not in os.environ
    unblock_telemetry()
    assert dict(os.environ) == before
