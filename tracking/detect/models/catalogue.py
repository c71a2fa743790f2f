"""The tracker's model files: where they come from, what they must hash to, and how to get them.

Nothing is fetched at import. `model_path` is the one door: it gives the file, and gets it the first time.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tracking.detect.models.download import DownloadError, Progress, download, file_sha256
from tracking.errors import TrackingError


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file the tracker may use."""

    name: str
    file_name: str
    url: str
    sha256: str
    num_bytes: int
    licence: str
    purpose: str
    # The stand-in that `wheel_model` beside this can put together from a Python package; None when there is
    # none.
    stand_in_name: str | None = None


_BUCKET = "https://storage.googleapis.com/mediapipe-models"

MODELS: dict[str, ModelFile] = {
    "face_landmarker": ModelFile(
        name="face_landmarker",
        file_name="face_landmarker.task",
        url=f"{_BUCKET}/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
        sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        num_bytes=3_758_596,
        licence="Apache-2.0 (Google, MediaPipe)",
        purpose="478 face landmarks, 52 face unit scores, head matrix",
        stand_in_name="face_landmarker_from_wheel.task",
    ),
    "selfie_segmenter": ModelFile(
        name="selfie_segmenter",
        file_name="selfie_segmenter.tflite",
        url=f"{_BUCKET}/image_segmenter/selfie_segmenter/float16/latest/selfie_segmenter.tflite",
        sha256="191ac9529ae506ee0beefa6b2c945a172dab9d07d1e802a290a4e4038226658b",
        num_bytes=249_537,
        licence="Apache-2.0 (Google, MediaPipe)",
        purpose="mask of the person, for training an avatar only",
    ),
}


def models_folder() -> Path:
    """The folder that holds the model files: VISAVIS_MODELS, or the platform's cache folder."""
    override = os.environ.get("VISAVIS_MODELS")
    if override:
        return Path(override).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "visavis" / "models"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "visavis" / "Cache" / "models"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "visavis" / "models"


def known_model(name: str) -> ModelFile:
    """The entry of that name. Raises TrackingError that lists the names."""
    try:
        return MODELS[name]
    except KeyError:
        raise TrackingError(f"no model is called {name!r}; the models are: {', '.join(MODELS)}") from None


def installed_path(name: str) -> Path | None:
    """The checked file of that name, or its stand-in, without fetching anything; None when neither is there.

    Raises TrackingError when the official file's name holds another file.
    """
    model = known_model(name)
    path = models_folder() / model.file_name
    if path.exists():
        if file_sha256(path) != model.sha256:
            raise TrackingError(
                f"{path} is not the {name} model (its sha256 is not {model.sha256[:12]}...): "
                f"delete it and run `visavis models fetch`"
            )
        return path
    return _stand_in(model)


def model_path(name: str, progress: Progress | None = None) -> Path:
    """The checked file of that name; fetched when it is not there yet.

    Raises TrackingError when the file there is not the right one, or it cannot be fetched.
    """
    return installed_path(name) or fetch_model(name, progress)


def fetch_model(name: str, progress: Progress | None = None) -> Path:
    """Download a model into the models' folder, resuming what an earlier try left, and check it.

    Where the official address cannot be reached, the stand-in from MediaPipe's older wheel is made instead,
    for which a Python package registry is enough. Raises TrackingError, one line with the address and the
    folder, when both fail.
    """
    model = known_model(name)
    folder = models_folder()
    path = folder / model.file_name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        download(model.url, path, model.sha256, progress)
    except OSError as error:
        raise TrackingError(f"cannot make the models' folder {folder} ({error.strerror})") from error
    except DownloadError as error:
        failure = f"cannot fetch {model.url} ({error})"
        if model.stand_in_name is None:
            raise TrackingError(f"{failure}: get that file elsewhere and put it into {folder}") from error
        return _stand_in(model) or _make_stand_in(model, failure)
    return path


def _stand_in(model: ModelFile) -> Path | None:
    if model.stand_in_name is None:
        return None
    from tracking.detect.models.wheel_model import is_current

    path = models_folder() / model.stand_in_name
    return path if is_current(path) else None


def _make_stand_in(model: ModelFile, failure: str) -> Path:
    from tracking.detect.models.wheel_model import install_from_wheel

    assert model.stand_in_name is not None
    path = models_folder() / model.stand_in_name
    try:
        install_from_wheel(path)
    except (TrackingError, OSError) as error:
        raise TrackingError(
            f"{failure}, nor its stand-in: {error}; get that file elsewhere and put it into {path.parent}"
        ) from error
    return path
