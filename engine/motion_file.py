"""The files that keep a motion: a plain .npz with a JSON header, or a stream as it goes over the wire."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import UsageError
from engine.model_motion import clip_of_model_params
from render.motion import FACE, MotionClip
from render.whole_file import whole_file
from transport.errors import OutputError
from transport.files.mp4_writer import check_writable
from transport.motion.stream_file import SUFFIX as STREAM
from transport.motion.stream_file import clip_of, messages_of, read_stream, write_stream

FORMAT = "visavis-motion"
VERSION = 2
_NOTES = ("unit_names", "fps", "avatar_name", "rig_fingerprint", "arkit_names")
SUFFIXES = (".npz", STREAM)
_ARRAYS = ("weights", "head_rotation", "head_translation", "times_ns")
_CONFIDENCE, _JOINT = "confidence.", "joint."  # and the part's or the joint's name


def save_motion(
    motion: MotionClip, path: str | Path, model_params: Mapping[str, NDArray[np.float32]] | None = None
) -> None:
    """Write a motion file under a temporary name, then rename; its name says which. Raises OutputError.

    `model_params` are further arrays for programs that read a face model's own (`engine.model_motion`); a
    stream has no place for them, nor for the avatar's name.
    """
    check_motion_output(path)
    try:
        if is_stream(path):
            write_stream(Path(path), messages_of(motion))
        else:
            _write_arrays(motion, Path(path), model_params or {})
    except OSError as error:
        raise OutputError(f"cannot write {str(path)!r}: {error.strerror}; choose another -o") from error


def _write_arrays(motion: MotionClip, path: Path, model_params: Mapping[str, NDArray[np.float32]]) -> None:
    header = {"format": FORMAT, "version": VERSION, **{name: getattr(motion, name) for name in _NOTES}}
    arrays: dict[str, Any] = {name: getattr(motion, name) for name in _ARRAYS}
    arrays |= {f"{_CONFIDENCE}{part}": values for part, values in motion.confidence.items()}
    arrays |= {f"{_JOINT}{joint}": values for joint, values in motion.joints.items()}
    if motion.in_arkit is not None:
        arrays["in_arkit"] = motion.in_arkit
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            header=np.frombuffer(json.dumps(header).encode(), np.uint8),
            **arrays | dict(model_params),
        )


def is_motion(path: str | Path) -> bool:
    """Whether a file is a motion, by its name."""
    return Path(path).suffix.lower() in SUFFIXES


def is_stream(path: str | Path) -> bool:
    """Whether a file is a stream, by its name."""
    return Path(path).suffix.lower() == STREAM


def check_motion_output(path: str | Path, inputs: Sequence[str | Path] = ()) -> None:
    """Raise OutputError when a motion file cannot be written at `path`."""
    if not is_motion(path):
        raise OutputError(f"cannot write {str(path)!r}: motion files end in {' or '.join(SUFFIXES)}")
    check_writable(path, list(inputs))


def load_motion(path: str | Path) -> MotionClip:
    """Read a motion file, ours, a stream or a face model's (`engine.model_motion`), and check all of it.

    Raises UsageError naming the file and what is wrong.
    """
    if not os.path.exists(path):
        raise UsageError(f"no motion file {str(path)!r}; `visavis track INPUT -o {path}` makes one")
    try:
        if is_stream(path):
            return clip_of(read_stream(Path(path)))
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return _from_arrays(arrays)
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(
            f"{str(path)!r} is no usable motion file ({reason}); `visavis track INPUT -o {path}` makes one"
        ) from error


def _from_arrays(arrays: dict[str, NDArray[Any]]) -> MotionClip:
    if "header" not in arrays:
        clip = clip_of_model_params(arrays)
        if clip is None:
            raise ValueError("it has no header")
        return clip
    header = json.loads(arrays["header"].tobytes())
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError("its header names another format")
    if header.get("version") not in (1, VERSION):
        raise ValueError(f"version {header.get('version')}, this program reads up to version {VERSION}")
    if header["version"] == 1:  # knew the face alone, and whether it was found apart from how surely
        face = np.where(arrays["found"], arrays["confidence"], 0)
        arrays = {name: arrays[name] for name in _ARRAYS} | {_CONFIDENCE + FACE: face}
    names, arkit = (tuple(str(name) for name in header.get(key, ())) for key in ("unit_names", "arkit_names"))
    frames = len(arrays["times_ns"])
    parts = _named(arrays, _CONFIDENCE)
    joints = _named(arrays, _JOINT)
    _check(arrays["times_ns"], "times_ns", (frames,), "i")
    for array, name, shape in (
        (arrays["weights"], "weights", (frames, len(names))),
        (arrays["head_rotation"], "head_rotation", (frames, 3)),
        (arrays["head_translation"], "head_translation", (frames, 3)),
        *((values, f"confidence of the {part}", (frames,)) for part, values in parts.items()),
        *((values, f"joint {joint}", (frames, 3)) for joint, values in joints.items()),
    ):
        _check(array, name, shape)
    if "in_arkit" in arrays:
        _check(arrays["in_arkit"], "in_arkit", (2, len(names), len(arkit)))
    fps = float(header["fps"])
    if not frames:
        raise ValueError("it holds no frame")
    if not 0 < fps <= 1000:
        raise ValueError(f"a frame rate of {fps}")
    if (np.diff(arrays["times_ns"]) <= 0).any() or arrays["times_ns"][0] < 0:
        raise ValueError("its times do not rise from 0")
    return MotionClip(
        unit_names=names,
        weights=arrays["weights"].astype(np.float32),
        head_rotation=arrays["head_rotation"].astype(np.float32),
        head_translation=arrays["head_translation"].astype(np.float32),
        times_ns=arrays["times_ns"].astype(np.int64),
        fps=fps,
        confidence={part: values.astype(np.float32) for part, values in parts.items()},
        joints={joint: values.astype(np.float32) for joint, values in joints.items()},
        avatar_name=str(header.get("avatar_name", "")),
        rig_fingerprint=str(header.get("rig_fingerprint", "")),
        arkit_names=arkit,
        in_arkit=arrays["in_arkit"].astype(np.float32) if "in_arkit" in arrays else None,
    )


def _named(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _check(array: NDArray[Any], name: str, shape: tuple[int, ...], kind: str = "f") -> None:
    if array.shape != shape or array.dtype.kind != kind:
        raise ValueError(f"{name} is {array.dtype} {array.shape}, needs {shape}")
    if kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} holds values that are not finite")
