"""Captures with known cameras: folders with transforms.json as NeRF, INSTA and GaussianAvatars lay them out.

One entry of `frames` per picture: `file_path`, `transform_matrix` (camera to world, OpenGL axes), the lens
(`fl_x`, `fl_y`, `cx`, `cy`, `w`, `h` or `camera_angle_x`, in the frame or once for all), optionally
`fg_mask_path`, `timestep_index`, `camera_index`, and in all frames or in none `flame_param_path` (an npz of
FLAME's parameters). Without FLAME and `timestep_index` all pictures are of one moment, as NeRF has it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.errors import UsageError
from engine.train.data.dataset import rigid_matrix
from engine.train.data.views import Split
from render.camera import Camera
from render.rigs.params import RigParams
from render.rigs.reference import RigReference
from render.rigs.rig import Rig

_OPENGL_TO_OPENCV = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
_PICTURES = (".png", ".jpg", ".jpeg")
# File of frames -> split; the first group that exists is read.
_SPLIT_FILES: tuple[tuple[tuple[str, Split], ...], ...] = (
    (("transforms_train.json", "train"), ("transforms_val.json", "test"), ("transforms_test.json", "test")),
    (("transforms.json", "train"),),
)


@dataclass(frozen=True)
class CaptureView:
    """One picture of a capture as its files have it."""

    name: str  # unique within its capture
    where: str  # the file and frame that say so
    moment: int
    split: Split
    camera: Camera  # of the whole picture, world axes and units the capture's own
    image: Path
    mask: Path | None
    flame: Path | None

    def whole(self) -> NDArray[np.uint8]:
        """The whole picture [H, W, 3]. Raises UsageError."""
        return np.ascontiguousarray(self._checked(self.image)[..., :3])

    def pixels(self, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """Colours and mask, `size` pixels on the longer side.

        The mask is a file of its own, or the picture's alpha, or None where there is neither. Raises
        UsageError.
        """
        import cv2

        picture = self._checked(self.image)
        mask = picture[..., 3] if picture.shape[2] == 4 else None
        if self.mask is not None:
            mask = self._checked(self.mask)[..., 0]
        small = scaled(self.camera, size)
        to = (small.width, small.height)
        rgb = np.asarray(cv2.resize(picture[..., :3], to, interpolation=cv2.INTER_AREA), np.uint8)
        if mask is not None:
            mask = np.asarray(cv2.resize(mask, to, interpolation=cv2.INTER_AREA), np.uint8)
        return rgb, mask

    def _checked(self, path: Path) -> NDArray[np.uint8]:
        picture = _read_picture(path)
        if picture.shape[:2] != (self.camera.height, self.camera.width):
            raise UsageError(
                f"{path} is {picture.shape[1]}x{picture.shape[0]}, "
                f"its camera {self.camera.width}x{self.camera.height}"
            )
        return picture


@dataclass(frozen=True)
class Capture:
    """The pictures of one person; all have FLAME's parameters or none has."""

    folder: Path
    views: tuple[CaptureView, ...]

    @property
    def has_flame(self) -> bool:
        return self.views[0].flame is not None


@dataclass(frozen=True)
class Rigged:
    """The person's rig in every view of a capture. V views."""

    rig: Rig  # identity baked
    reference: RigReference
    cameras: tuple[Camera, ...]  # V, of the whole pictures, metres in the rig's world axes
    params: tuple[RigParams, ...]  # V


def read_capture(folder: Path, test_fraction: float, max_frames: int | None) -> Capture:
    """What the files of a capture say; pixels are read when asked for.

    Where only transforms.json is there, the last `test_fraction` of the moments is held out. Raises
    UsageError with the file and value.
    """
    entries: list[_Entry] = []
    for group in _SPLIT_FILES:
        present = [(folder / name, split) for name, split in group if (folder / name).is_file()]
        if present:
            for file, split in present:
                entries += _read_file(file, split)
            break
    else:
        raise UsageError(
            f"{folder} holds no transforms.json or transforms_train.json: give a capture's folder"
        )
    if max_frames is not None:
        entries = entries[:max_frames]
    if not entries:
        raise UsageError(f"{folder}: its transforms name no picture")
    has_flame = _in_all(entries, "flame_param_path")
    still = not has_flame and not _in_all(entries, "timestep_index")
    views = []
    for row, entry in enumerate(entries):
        moment, camera = (0, row) if still else (row, 0)
        views.append(entry.view(moment, camera))
    names: set[str] = set()
    for view in views:
        if view.name in names:
            raise UsageError(f"{view.where} names the picture {view.name!r} twice for one moment and camera")
        names.add(view.name)
    if all(view.split == "train" for view in views):
        views = _held_out(views, test_fraction)
    return Capture(folder, tuple(views))


def scaled(camera: Camera, size: int) -> Camera:
    """The camera of a whole picture scaled to `size` pixels on its longer side."""
    scale = size / max(camera.width, camera.height)
    width, height = max(1, round(camera.width * scale)), max(1, round(camera.height * scale))
    sx, sy = width / camera.width, height / camera.height
    return Camera(
        width, height, camera.fx * sx, camera.fy * sy, camera.cx * sx, camera.cy * sy, camera.world_to_camera
    )


@dataclass(frozen=True)
class _Entry:
    """One frame as its file has it."""

    file: Path
    number: int
    values: Mapping[str, Any]  # the frame's own, over what the file says for all
    split: Split

    def view(self, moment: int, camera: int) -> CaptureView:
        """The view; `moment` and `camera` are its numbers where the file gives none."""
        image = self.path("file_path")
        moment = self.integer("timestep_index", moment)
        return CaptureView(
            f"t{moment:05d}_c{self.integer('camera_index', camera):03d}",
            self.where,
            moment,
            self.split,
            self.camera(image),
            image,
            self.path("fg_mask_path") if "fg_mask_path" in self.values else None,
            self.path("flame_param_path") if "flame_param_path" in self.values else None,
        )

    @property
    def where(self) -> str:
        return f"{self.file}, frame {self.number}"

    def integer(self, key: str, default: int) -> int:
        value = self.values.get(key, default)
        if not isinstance(value, int) or value < 0:
            raise UsageError(f"{self.where}: {key} is {value!r}, needs a number from 0")
        return value

    def number_of(self, key: str) -> float:
        value = self.values.get(key)
        if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise UsageError(f"{self.where}: {key} is {value!r}, needs a number above 0")
        return float(value)

    def path(self, key: str) -> Path:
        text = self.values.get(key)
        if not isinstance(text, str) or not text:
            raise UsageError(f"{self.where}: {key} is {text!r}, needs a file's path")
        path = self.file.parent / text
        # NeRF's own files leave the ending out.
        choices = [path, *(path.with_name(path.name + suffix) for suffix in _PICTURES)]
        for choice in choices:
            if choice.is_file():
                return choice
        raise UsageError(f"{path} is missing, which {self.where} names")

    def camera(self, image: Path) -> Camera:
        if "w" in self.values and "h" in self.values:
            width, height = round(self.number_of("w")), round(self.number_of("h"))
        else:
            height, width = _read_picture(image).shape[:2]
        if "fl_x" in self.values:
            fx = self.number_of("fl_x")
        elif "camera_angle_x" in self.values:
            angle = self.number_of("camera_angle_x")
            if angle >= math.pi:
                raise UsageError(f"{self.where}: camera_angle_x is {angle}, needs radians below pi")
            fx = width / (2 * math.tan(angle / 2))
        else:
            raise UsageError(f"{self.where}: neither fl_x nor camera_angle_x says how long the lens is")
        fy = self.number_of("fl_y") if "fl_y" in self.values else fx
        cx = self.number_of("cx") if "cx" in self.values else width / 2
        cy = self.number_of("cy") if "cy" in self.values else height / 2
        try:
            to_world = rigid_matrix(self.values.get("transform_matrix"), self.where)
        except ValueError as error:
            raise UsageError(str(error)) from error
        world_to_camera = _OPENGL_TO_OPENCV @ torch.linalg.inv(to_world.double()).float()
        return Camera(width, height, fx, fy, cx, cy, world_to_camera)


def _read_file(file: Path, split: Split) -> list[_Entry]:
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read as JSON ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("frames"), list):
        raise UsageError(f"{file} has no list of frames")
    shared = {key: value for key, value in content.items() if key != "frames"}
    entries = []
    for number, frame in enumerate(content["frames"]):
        if not isinstance(frame, dict):
            raise UsageError(f"{file}, frame {number} is {frame!r}")
        entries.append(_Entry(file, number, {**shared, **frame}, split))
    return entries


def _in_all(entries: Sequence[_Entry], key: str) -> bool:
    """Whether all frames have the key, not only some."""
    missing = [entry for entry in entries if key not in entry.values]
    if missing and len(missing) < len(entries):
        raise UsageError(
            f"{missing[0].where} has no {key}, {len(entries) - len(missing)} of {len(entries)} frames have: "
            "give it in all frames or in none"
        )
    return not missing


def _held_out(views: Sequence[CaptureView], test_fraction: float) -> list[CaptureView]:
    """The same views, those of the last moments for testing; one moment alone is all trained on."""
    moments = sorted({view.moment for view in views})
    train = set(moments[: max(1, round(len(moments) * (1 - test_fraction)))])
    return [replace(view, split="train" if view.moment in train else "test") for view in views]


def _read_picture(path: Path) -> NDArray[np.uint8]:
    """[H, W, 3 or 4] RGB(A); OpenCV, since PyAV would drop the alpha. Raises UsageError."""
    import cv2

    try:
        # OpenCV's own reading takes no name that is not UTF-8
        data = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error) as error:
        raise UsageError(f"{path} is no picture") from error
    if data is None:
        raise UsageError(f"{path} is no picture")
    if data.dtype == np.uint16:
        data = (data // 256).astype(np.uint8)
    if data.ndim == 2:
        data = np.repeat(data[..., None], 3, 2)
    order = [2, 1, 0, 3][: data.shape[2]]
    return np.ascontiguousarray(data[..., order], np.uint8)
