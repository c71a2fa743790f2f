"""The motion of one face over time, and the file that keeps it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import UsageError
from transport.errors import OutputError
from transport.files.recorder import check_writable

if TYPE_CHECKING:
    from render.avatars.avatar import Avatar
    from render.rigs.params import RigParams
    from tracking.face.result import TrackingResult

FORMAT = "visavis-motion"
VERSION = 1


@dataclass(frozen=True)
class Motion:
    """Unit weights and head pose of every frame: what any avatar can play. T frames, E units."""

    unit_names: tuple[str, ...]  # E, ARKit names
    weights: NDArray[np.float32]  # [T, E]
    head_rotation: NDArray[np.float32]  # [T, 3] axis-angle, world axes, radians
    head_translation: NDArray[np.float32]  # [T, 3] metres
    confidence: NDArray[np.float32]  # [T] 0..1
    found: NDArray[np.bool_]  # [T] whether a face was seen; parameters of other frames still play
    times_ns: NDArray[np.int64]  # [T] presentation times, rising
    fps: float  # nominal
    avatar_name: str = ""  # whose rig it was solved in
    rig_fingerprint: str = ""

    def __len__(self) -> int:
        return len(self.times_ns)

    @property
    def duration_s(self) -> float:
        """From the first frame's time to the end of the last frame."""
        return float(self.times_ns[-1] - self.times_ns[0]) / 1e9 + 1 / self.fps

    def weights_for(self, names: Sequence[str]) -> NDArray[np.float32]:
        """Weights in the order of a rig's own unit names, [T, len(names)]; units it lacks here are 0."""
        column = {name: i for i, name in enumerate(self.unit_names)}
        out = np.zeros((len(self), len(names)), np.float32)
        for i, name in enumerate(names):
            if name in column:
                out[:, i] = self.weights[:, column[name]]
        return out

    def params(self, avatar: Avatar) -> list[RigParams]:
        """Parameters of every frame for one avatar."""
        import torch

        weights = torch.from_numpy(self.weights_for(avatar.rig.expression_names))
        rotation = torch.from_numpy(np.ascontiguousarray(self.head_rotation))
        translation = torch.from_numpy(np.ascontiguousarray(self.head_translation))
        return [
            avatar.params_from_units(*frame) for frame in zip(weights, rotation, translation, strict=True)
        ]

    @classmethod
    def from_results(cls, results: Sequence[TrackingResult], avatar: Avatar, fps: float) -> Motion:
        """The motion that a tracker found in `avatar`'s rig. Raises ValueError when `results` is empty."""
        if not results:
            raise ValueError("a motion needs at least one frame")
        names = avatar.rig.joint_names
        turning = [names.index(n) for n in ("neck", "head")] if {"neck", "head"} <= set(names) else [0]
        return cls(
            unit_names=tuple(avatar.rig.expression_names),
            weights=np.stack([r.params.expression.numpy() for r in results]).astype(np.float32),
            # params_from_units splits one rotation over these joints about one axis: the sum is the whole
            head_rotation=np.stack([r.params.pose[turning].sum(0).numpy() for r in results]).astype(
                np.float32
            ),
            head_translation=np.stack([r.params.translation.numpy() for r in results]).astype(np.float32),
            confidence=np.array([r.confidence for r in results], np.float32),
            found=np.array([r.found for r in results], np.bool_),
            times_ns=np.array([r.capture_ns for r in results], np.int64),
            fps=fps,
            avatar_name=avatar.name,
            rig_fingerprint=avatar.rig.fingerprint(),
        )


def demo_motion(seconds: float, fps: float = 30.0) -> Motion:
    """The built-in motion, `seconds` long."""
    from engine.demo_motion import demo_pose

    times_ns = np.round(np.arange(max(1, round(seconds * fps))) * (1e9 / fps)).astype(np.int64)
    poses = [demo_pose(float(ns) / 1e9) for ns in times_ns]
    names = tuple(sorted({name for pose in poses for name in pose.units}))
    return Motion(
        unit_names=names,
        weights=np.array([[pose.units.get(name, 0.0) for name in names] for pose in poses], np.float32),
        head_rotation=np.stack([pose.head_rotation for pose in poses]),
        head_translation=np.stack([pose.head_translation for pose in poses]),
        confidence=np.ones(len(poses), np.float32),
        found=np.ones(len(poses), np.bool_),
        times_ns=times_ns,
        fps=fps,
    )


def save_motion(motion: Motion, path: str | Path) -> None:
    """Write a motion file under a temporary name, then rename. Raises OutputError."""
    check_motion_output(path)
    target = Path(path)
    temporary = target.with_name(f".{target.stem}.part.npz")
    header = {
        "format": FORMAT,
        "version": VERSION,
        "unit_names": motion.unit_names,
        "fps": motion.fps,
        "avatar_name": motion.avatar_name,
        "rig_fingerprint": motion.rig_fingerprint,
    }
    try:
        with temporary.open("wb") as file:
            np.savez_compressed(
                file,
                header=np.frombuffer(json.dumps(header).encode(), np.uint8),
                weights=motion.weights,
                head_rotation=motion.head_rotation,
                head_translation=motion.head_translation,
                confidence=motion.confidence,
                found=motion.found,
                times_ns=motion.times_ns,
            )
        temporary.replace(target)
    except OSError as error:
        raise OutputError(f"cannot write {str(path)!r}: {error.strerror}; choose another -o") from error
    finally:
        temporary.unlink(missing_ok=True)


def check_motion_output(path: str | Path, inputs: Sequence[str | Path] = ()) -> None:
    """Raise OutputError when a motion file cannot be written at `path`."""
    if Path(path).suffix.lower() != ".npz":
        raise OutputError(f"cannot write {str(path)!r}: motion files end in .npz")
    check_writable(path, list(inputs))


def load_motion(path: str | Path) -> Motion:
    """Read a motion file and check all of it. Raises UsageError naming the file and what is wrong."""
    if not Path(path).exists():
        raise UsageError(f"no motion file {str(path)!r}; `visavis track INPUT -o {path}` makes one")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return _from_arrays(arrays)
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(
            f"{str(path)!r} is no usable motion file ({reason}); `visavis track INPUT -o {path}` makes one"
        ) from error


def _from_arrays(arrays: dict[str, NDArray[Any]]) -> Motion:
    if "header" not in arrays:
        raise ValueError("it has no header")
    header = json.loads(arrays["header"].tobytes())
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError("its header names another format")
    if header.get("version") != VERSION:
        raise ValueError(f"version {header.get('version')}, this program reads version {VERSION}")
    names = tuple(str(name) for name in header["unit_names"])
    frames = len(arrays["times_ns"])
    shapes = {
        "weights": (frames, len(names)),
        "head_rotation": (frames, 3),
        "head_translation": (frames, 3),
        "confidence": (frames,),
        "found": (frames,),
        "times_ns": (frames,),
    }
    kinds = {"found": "b", "times_ns": "i"}
    for name, shape in shapes.items():
        array = arrays[name]
        if array.shape != shape or array.dtype.kind != kinds.get(name, "f"):
            raise ValueError(f"{name} is {array.dtype} {array.shape}, needs {shape}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{name} holds values that are not finite")
    fps = float(header["fps"])
    if not frames:
        raise ValueError("it holds no frame")
    if not 0 < fps <= 1000:
        raise ValueError(f"a frame rate of {fps}")
    if (np.diff(arrays["times_ns"]) <= 0).any() or arrays["times_ns"][0] < 0:
        raise ValueError("its times do not rise from 0")
    return Motion(
        unit_names=names,
        weights=arrays["weights"].astype(np.float32),
        head_rotation=arrays["head_rotation"].astype(np.float32),
        head_translation=arrays["head_translation"].astype(np.float32),
        confidence=arrays["confidence"].astype(np.float32),
        found=arrays["found"],
        times_ns=arrays["times_ns"].astype(np.int64),
        fps=fps,
        avatar_name=str(header.get("avatar_name", "")),
        rig_fingerprint=str(header.get("rig_fingerprint", "")),
    )
