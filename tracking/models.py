"""The tracker's model files: where they come from, what they must hash to, and how to get them.

Nothing is fetched at import. `model_path` is the one door: it gives the file, and fetches it the first time.
"""

from __future__ import annotations

import hashlib
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tracking.errors import TrackingError

Progress = Callable[[int, int], None]  # bytes so far, bytes in all

_CHUNK_BYTES = 1 << 16
_CONNECT_TIMEOUT_S = 15.0


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


_BUCKET = "https://storage.googleapis.com/mediapipe-models"

MODELS: dict[str, ModelFile] = {
    "face_landmarker": ModelFile(
        name="face_landmarker",
        file_name="face_landmarker.task",
        url=f"{_BUCKET}/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
        sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        num_bytes=3_758_596,
        licence="Apache-2.0",
        purpose="478 face landmarks, 52 face unit scores, head matrix",
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


def model_path(name: str, progress: Progress | None = None) -> Path:
    """The checked file of that name; fetched when it is not there yet.

    Raises TrackingError when the file there is not the right one, or it cannot be fetched.
    """
    model = known_model(name)
    path = models_folder() / model.file_name
    if not path.exists():
        return fetch_model(name, progress)
    if file_sha256(path) != model.sha256:
        raise TrackingError(
            f"{path} is not the {name} model (its sha256 is not {model.sha256[:12]}...): "
            f"delete it and run `visavis models fetch`"
        )
    return path


def fetch_model(name: str, progress: Progress | None = None) -> Path:
    """Download a model into the models' folder, resuming what an earlier try left, and check it.

    Raises TrackingError, one line with the address and the folder, when there is no network or the file is
    wrong.
    """
    model = known_model(name)
    path = models_folder() / model.file_name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrackingError(f"cannot make the models' folder {path.parent}: {error.strerror}") from error
    download(model.url, path, model.sha256, progress)
    return path


def download(url: str, path: Path, sha256: str, progress: Progress | None = None) -> None:
    """Fetch `url` to `path` through `path.part`; a file of the wrong hash is never left under `path`."""
    part = path.with_name(path.name + ".part")
    try:
        _download_part(url, part, progress)
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", None) or error
        raise TrackingError(
            f"cannot fetch {url} ({reason}): with internet elsewhere, put that file into {path.parent}"
        ) from error
    found = file_sha256(part)
    if found != sha256:
        part.unlink()
        raise TrackingError(
            f"{url} gave a file of sha256 {found[:12]}..., not {sha256[:12]}...: deleted, try again"
        )
    os.replace(part, path)


def _download_part(url: str, part: Path, progress: Progress | None) -> None:
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=_CONNECT_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if (
            error.code != 416
        ):  # "range not satisfiable": the part is whole already, or nonsense; the hash decides
            raise
        return
    with response:
        if response.status != 206:
            start = 0  # the server sends the whole file again
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else 0
        with part.open("ab" if start else "wb") as out:
            done = start
            while chunk := response.read(_CHUNK_BYTES):
                out.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, max(total, done))
    if total and done < total:
        raise OSError(f"the connection ended at {done} of {total} bytes")


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
