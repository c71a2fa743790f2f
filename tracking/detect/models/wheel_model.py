"""The landmark model from MediaPipe's older wheel, for machines that reach only a package registry.

Wheel 0.10.21 (Apache-2.0) holds the face detector and the older attention mesh. The bundle put together here
runs in MediaPipe 1.2 like the official one and is not equal to it: tests/tracking/detect/test_wheel_model.py
says how much they differ.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from render.whole_file import whole_file
from tracking.detect.models.attention_mesh import landmarks_detector
from tracking.detect.models.face_units import FaceUnits
from tracking.errors import TrackingError

WHEEL = "mediapipe==0.10.21"
# The files inside are the same for every platform; this one is asked for wherever visavis runs.
_PLATFORM = ("--platform", "manylinux_2_28_x86_64", "--python-version", "3.11", "--implementation", "cp")
_DETECTOR = "mediapipe/modules/face_detection/face_detection_short_range.tflite"
_ATTENTION_MESH = "mediapipe/modules/face_landmark/face_landmark_with_attention.tflite"
_SHA256 = {
    _DETECTOR: "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    _ATTENTION_MESH: "e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4",
}
# Raise it when the bundle is put together differently: older ones are then made again.
_VERSION = 1
_NOTE = (
    f"Put together by visavis (version {_VERSION}) from {WHEEL}, Apache-2.0; not MediaPipe's official bundle."
)

Download = Callable[[Path], Path]  # folder to the wheel in it


def install_from_wheel(path: Path, download: Download | None = None) -> None:
    """Get the wheel through pip and write the bundle to `path`, whole or not at all.

    Raises TrackingError when there is no pip, no registry, or the wheel is not the expected one.
    """
    with tempfile.TemporaryDirectory(prefix="visavis-") as folder:
        wheel = (download or download_wheel)(Path(folder))
        bundle = bundle_from_wheel(wheel)
    with whole_file(path) as temporary:
        temporary.write_bytes(bundle)


def is_current(path: Path) -> bool:
    """Whether a file is a whole bundle of this version's making."""
    try:
        with zipfile.ZipFile(path) as bundle:
            return bundle.testzip() is None and bundle.read("NOTE").decode() == _NOTE
    except (OSError, KeyError, zipfile.BadZipFile):
        return False


def download_wheel(folder: Path) -> Path:
    """Have pip put the wheel into a folder; pip knows the user's registry, proxy and certificates."""
    command = [
        *_pip(), "download", WHEEL, "--no-deps", "--only-binary", ":all:", *_PLATFORM,
        "--dest", str(folder), "--quiet", "--disable-pip-version-check", "--no-input",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = (lines or done.stderr.splitlines() or ["no message"])[-1].removeprefix("ERROR: ")
        raise TrackingError(f"pip cannot get {WHEEL} ({reason})")
    return next(folder.glob("mediapipe-*.whl"))


def bundle_from_wheel(wheel: Path, units: FaceUnits | None = None) -> bytes:
    """The model bundle (a zip of stored files, as MediaPipe wants it) from the wheel's parts and own ones."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            found = {name: archive.read(name) for name in _SHA256}
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise TrackingError(f"{wheel.name} is not the wheel it should be ({error})") from error
    for name, content in found.items():
        if hashlib.sha256(content).hexdigest() != _SHA256[name]:
            raise TrackingError(f"{name} in {wheel.name} is not the file it should be: try again")
    units = units if units is not None else FaceUnits.load()
    parts = {
        "face_detector.tflite": found[_DETECTOR],
        "face_landmarks_detector.tflite": landmarks_detector(found[_ATTENTION_MESH]),
        "face_blendshapes.tflite": units.model(),
        "geometry_pipeline_metadata_landmarks.binarypb": units.geometry(),
        "NOTE": _NOTE.encode(),
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as bundle:
        for name, content in parts.items():
            bundle.writestr(zipfile.ZipInfo(name), content)  # a fixed date: the same bundle every time
    return out.getvalue()


def _pip() -> list[str]:
    """The command of a pip: this environment's, or any other (environments made by uv have none)."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    for name in ("pip", "pip3"):
        if found := shutil.which(name):
            return [found]
    raise TrackingError(f"no pip to get {WHEEL} with")
