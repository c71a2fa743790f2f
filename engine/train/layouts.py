"""Captures with known cameras: folders with transforms.json as NeRF, INSTA and GaussianAvatars lay them out.

One entry of `frames` per picture: `file_path`, `transform_matrix` (camera to world, OpenGL axes), the lens
(`fl_x`, `fl_y`, `cx`, `cy`, `w`, `h` or `camera_angle_x`, in the frame or once for all), optionally
`fg_mask_path`, `flame_param_path` (an npz of FLAME's parameters), `timestep_index`, `camera_index`. The rig
is FLAME, from the user's own model file in VISAVIS_MODELS.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import UsageError
from engine.train.dataset import rigid_matrix
from engine.train.views import Dataset, Picture, Split, View
from render.camera import Camera
from render.errors import AvatarError
from render.rig_reference import RigReference
from render.rigs.flame import FlameParams, load_flame
from render.rigs.params import RigParams
from render.rigs.rig import Rig

_OPENGL_TO_OPENCV = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
_PICTURES = (".png", ".jpg", ".jpeg")
# File of frames -> split; the first group that exists is read.
_SPLIT_FILES: tuple[tuple[tuple[str, Split], ...], ...] = (
    (("transforms_train.json", "train"), ("transforms_val.json", "test"), ("transforms_test.json", "test")),
    (("transforms.json", "train"),),
)
_FLAME_NAMES = ("flame2023.pkl", "flame2023.npz", "flame2023_no_jaw.pkl", "generic_model.pkl", "FLAME.npz")


def read_capture(folder: Path, size: int, test_fraction: float, max_frames: int | None) -> Dataset:
    """The views of a capture, pictures scaled to `size` pixels on their longer side.

    Where only transforms.json is there, the last `test_fraction` of the moments is held out. Raises
    UsageError with the file and value; AvatarError when FLAME's model file is missing or another one.
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
    if all(entry.split == "train" for entry in entries):
        entries = _held_out(entries, test_fraction)
    rig, reference = _flame(entries[0])
    views, names = [], set()
    for entry in entries:
        view = entry.view(rig, size)
        if view.name in names:
            raise UsageError(f"{entry.file} names the picture {view.name!r} twice for one moment and camera")
        names.add(view.name)
        views.append(view)
    return Dataset(rig, tuple(views), reference, folder.name)


@dataclass(frozen=True)
class _Entry:
    """One frame as its file has it."""

    file: Path
    number: int
    values: Mapping[str, Any]  # the frame's own, over what the file says for all
    split: Split

    def view(self, rig: Rig, size: int) -> View:
        image = self.path("file_path")
        camera = self.camera(image)
        scale = size / max(camera.width, camera.height)
        small = _scaled(camera, scale)
        mask = self.path("fg_mask_path") if "fg_mask_path" in self.values else None
        params = self.flame().to_rig_params(shape_is_baked=True)
        params = _fitting(params, rig, self.where)
        name = f"t{self.moment:05d}_c{self.integer('camera_index', 0):03d}"
        read = _ScaledPicture(image, mask, camera.width, camera.height, small.width, small.height)
        return View(name, small, params, self.moment, self.split, read)

    @property
    def where(self) -> str:
        return f"{self.file}, frame {self.number}"

    @property
    def moment(self) -> int:
        return self.integer("timestep_index", self.number)

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

    def flame(self) -> FlameParams:
        if "flame_param_path" not in self.values:
            raise UsageError(
                f"{self.where} has no flame_param_path: a capture needs FLAME's parameters of every frame; "
                "films and pictures do without"
            )
        return read_flame_params(self.path("flame_param_path"))


def read_flame_params(path: Path) -> FlameParams:
    """FLAME's parameters of one frame from an npz as GaussianAvatars writes it. Raises UsageError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name], np.float32) for name in file.files}
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path} is no npz of plain arrays ({error})") from error
    eyes = _row(path, arrays, "eyes_pose", 6)
    return FlameParams(
        shape=_row(path, arrays, "shape", None),
        expression=_row(path, arrays, "expr", None),
        global_orient=_row(path, arrays, "rotation", 3),
        neck_pose=_row(path, arrays, "neck_pose", 3),
        jaw_pose=_row(path, arrays, "jaw_pose", 3),
        leye_pose=eyes[:3],
        reye_pose=eyes[3:],
        transl=_row(path, arrays, "translation", 3),
    )


def _row(path: Path, arrays: Mapping[str, NDArray[np.float32]], name: str, length: int | None) -> Tensor:
    if name not in arrays:
        raise UsageError(f"{path} has no {name}; it holds {', '.join(arrays) or 'nothing'}")
    values = arrays[name].reshape(-1)
    if (length is not None and values.size != length) or not values.size:
        raise UsageError(f"{path}: {name} has {values.size} values, needs {length or 'some'}")
    if not np.isfinite(values).all():
        raise UsageError(f"{path}: {name} holds a value that is not finite")
    return torch.from_numpy(values.copy())


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


def _held_out(entries: Sequence[_Entry], test_fraction: float) -> list[_Entry]:
    """The same entries, those of the last moments for testing; one moment alone is all trained on."""
    moments = sorted({entry.moment for entry in entries})
    train = set(moments[: max(1, round(len(moments) * (1 - test_fraction)))])
    return [_Entry(e.file, e.number, e.values, "train" if e.moment in train else "test") for e in entries]


def _flame(entry: _Entry) -> tuple[Rig, RigReference]:
    """The person's rig: FLAME with the shape of one frame and its static offset, where there is one."""
    file = _flame_file()
    base = load_flame(file)
    path = entry.path("flame_param_path")
    shape = entry.flame().shape
    if base.shape_basis is None or len(shape) > base.num_shapes:
        raise UsageError(
            f"{path} has {len(shape)} shape weights, {file.name} knows {base.num_shapes}: "
            "put the model there that the capture was fitted with"
        )
    reference = RigReference(base.fingerprint(), file.name, shape=shape)
    with np.load(path, allow_pickle=False) as arrays:
        offset = np.asarray(arrays["static_offset"], np.float32) if "static_offset" in arrays.files else None
    if offset is not None:
        # Captures fitted with extra vertices (teeth) list these behind FLAME's own.
        rows = offset.reshape(-1, 3)
        if len(rows) < base.num_vertices or not np.isfinite(rows).all():
            raise UsageError(f"{path}: static_offset has {len(rows)} rows, FLAME has {base.num_vertices}")
        delta = torch.from_numpy(rows[: base.num_vertices].copy())
        reference = replace(reference, template_delta=delta)
    return reference.rebuild(base), reference


def _flame_file() -> Path:
    folder = os.environ.get("VISAVIS_MODELS")
    if folder:
        for name in _FLAME_NAMES:
            if (Path(folder) / name).is_file():
                return Path(folder) / name
    raise AvatarError(
        "this capture needs FLAME, which its licence keeps out of visavis: get it from flame.is.tue.mpg.de, "
        f"put it as {_FLAME_NAMES[0]} into a folder and set VISAVIS_MODELS to that"
    )


def _fitting(params: RigParams, rig: Rig, where: str) -> RigParams:
    """The parameters with as many expression weights as the rig has."""
    count = params.expression.shape[-1]
    if count > rig.num_expressions:
        raise UsageError(f"{where}: {count} expression weights, the model knows {rig.num_expressions}")
    missing = rig.num_expressions - count
    return params.replace(expression=torch.nn.functional.pad(params.expression, (0, missing)))


def _scaled(camera: Camera, scale: float) -> Camera:
    width, height = max(1, round(camera.width * scale)), max(1, round(camera.height * scale))
    sx, sy = width / camera.width, height / camera.height
    return Camera(
        width, height, camera.fx * sx, camera.fy * sy, camera.cx * sx, camera.cy * sy, camera.world_to_camera
    )


def _read_picture(path: Path) -> NDArray[np.uint8]:
    """[H, W, 3 or 4] RGB(A); OpenCV, since PyAV would drop the alpha. Raises UsageError."""
    import cv2

    data = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if data is None:
        raise UsageError(f"{path} is no picture")
    if data.ndim == 2:
        data = np.repeat(data[..., None], 3, 2)
    order = [2, 1, 0, 3][: data.shape[2]]
    return np.ascontiguousarray(data[..., order], np.uint8)


@dataclass(frozen=True)
class _ScaledPicture:
    """Reads one picture with its mask, from a file of its own or the picture's alpha."""

    image: Path
    mask: Path | None
    width: int  # as the camera says
    height: int
    to_width: int
    to_height: int

    def __call__(self) -> Picture:
        import cv2

        picture = self._checked(self.image)
        if self.mask is not None:
            mask = self._checked(self.mask)[..., 0]
        elif picture.shape[2] == 4:
            mask = picture[..., 3]
        else:
            mask = np.full(picture.shape[:2], 255, np.uint8)
        size = (self.to_width, self.to_height)
        rgb = cv2.resize(picture[..., :3], size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        share = cv2.resize(mask, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        return Picture(torch.from_numpy(rgb), torch.from_numpy(share))

    def _checked(self, path: Path) -> NDArray[np.uint8]:
        picture = _read_picture(path)
        if picture.shape[:2] != (self.height, self.width):
            raise UsageError(
                f"{path} is {picture.shape[1]}x{picture.shape[0]}, its camera {self.width}x{self.height}"
            )
        return picture
