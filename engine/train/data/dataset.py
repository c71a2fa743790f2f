"""A dataset as a folder: what `visavis train prepare` writes and every training method reads.

dataset.json         version, name, views with camera, files, split and moment
images/, masks/      one PNG of each per view: the person's colours, how much of a pixel is the person
geometry/            true depth and normals, synthetic captures only
params.safetensors   the rig's parameters, one row per view
rig.safetensors      the person's rig: by reference where it is kept elsewhere
quality.json, .html  what prepare has to say about the capture, where it made it
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from engine.errors import UsageError
from engine.train.data.pictures import KeptPicture, PictureFiles, write_picture
from engine.train.data.rig_file import read_rig, write_rig
from engine.train.data.views import Dataset, Split, View
from render.camera import Camera
from render.rigs.params import RigParams
from render.rigs.reference import RigReference
from render.rigs.rig import Rig
from transport.errors import OutputError

FORMAT, VERSION = "visavis-dataset", 1
_AGAIN = "run `visavis train prepare` again"
_MOST_PIXELS = 16384  # along a side; more is no picture anyone trains on
_RIGID = (
    1e-3  # float32 matrices from other tools are orthonormal to 1e-6; this still catches scales and shears
)


def check_new_folder(path: str | Path) -> Path:
    """The path of a dataset to be written. Raises OutputError when something is there, or cannot be."""
    folder = Path(path)
    if folder.exists():
        raise OutputError(f"{folder} exists already: delete it or choose another -o")
    if not folder.parent.is_dir():
        raise OutputError(f"the folder {folder.parent} does not exist: make it or choose another -o")
    return folder


def write_dataset(
    dataset: Dataset, folder: str | Path, attachments: Mapping[str, bytes] | None = None
) -> None:
    """Write all views of a dataset into a new folder. Raises OutputError and UsageError."""
    with DatasetWriter(folder, dataset.rig, dataset.rig_reference, dataset.name) as writer:
        for view in dataset.views:
            picture = KeptPicture.of(view.read())
            writer.add(view.name, view.camera, view.params, view.time_index, view.split, picture)
        for name, data in (attachments or {}).items():
            writer.attach(name, data)


class DatasetWriter:
    """Writes a dataset view by view under a temporary name; leaving the block well gives it its own name.

    On an exception, nothing is left behind.
    """

    def __init__(self, folder: str | Path, rig: Rig, reference: RigReference | None, name: str) -> None:
        self._folder = check_new_folder(folder)
        self._rig, self._name = rig, name
        self._views: list[dict[str, Any]] = []
        self._params: list[RigParams] = []
        try:
            # no more of the name than leaves room for the rest, at four bytes a letter
            prefix = f".{self._folder.name[:40]}.part-"
            self._part = Path(tempfile.mkdtemp(prefix=prefix, dir=self._folder.parent))
            self._part.chmod(0o755)  # mkdtemp's folders are for their owner alone
            for sub in ("images", "masks"):
                (self._part / sub).mkdir()
        except OSError as error:
            raise self._failure(error) from error
        try:
            write_rig(self._part / "rig.safetensors", rig, reference)
        except BaseException:
            shutil.rmtree(self._part, ignore_errors=True)
            raise

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._finish()
        finally:
            shutil.rmtree(self._part, ignore_errors=True)

    def add(
        self,
        name: str,
        camera: Camera,
        params: RigParams,
        time_index: int,
        split: Split,
        picture: KeptPicture,
    ) -> None:
        """Write one view; names are unique and fit for files."""
        geometry = f"geometry/{name}.safetensors" if picture.depth is not None else None
        if geometry is not None:
            (self._part / "geometry").mkdir(exist_ok=True)
        files = {"image": f"images/{name}.png", "mask": f"masks/{name}.png"}
        image, mask = (self._part / path for path in files.values())
        write_picture(picture, image, mask, None if geometry is None else self._part / geometry)
        files |= {} if geometry is None else {"geometry": geometry}
        self._views.append(
            {
                "name": name,
                **files,
                "split": split,
                "time_index": time_index,
                "camera": {
                    **{key: getattr(camera, key) for key in ("width", "height", "fx", "fy", "cx", "cy")},
                    "world_to_camera": camera.world_to_camera.tolist(),
                },
            }
        )
        self._params.append(params)

    def repose(self, params: Sequence[RigParams]) -> None:
        """Give every view, in the order added, other parameters."""
        if len(params) != len(self._params):
            raise ValueError(f"{len(params)} poses for {len(self._params)} views")
        self._params = list(params)

    def attach(self, name: str, data: bytes) -> None:
        """Write a file beside the views, such as quality.json."""
        try:
            (self._part / name).write_bytes(data)
        except OSError as error:
            raise self._failure(error) from error

    def _finish(self) -> None:
        from safetensors.torch import save_file

        rows = {
            name: torch.stack([getattr(params, name) for params in self._params]).float().contiguous()
            for name in ("expression", "pose", "translation")
        }
        header = {"format": FORMAT, "version": VERSION, "name": self._name, "views": self._views}
        try:
            save_file(rows, self._part / "params.safetensors")
            (self._part / "dataset.json").write_text(json.dumps(header, indent=1))
            self._part.rename(self._folder)
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> OutputError:
        return OutputError(f"cannot write {self._folder} ({error.strerror or error}): choose another -o")


def read_dataset(folder: str | Path) -> Dataset:
    """Read a dataset and check all of it but the pixels, which are checked as they are read.

    Raises UsageError, one line with the file and the value; AvatarError when the rig it names is missing.
    """
    folder = Path(folder)
    file = folder / "dataset.json"
    if not folder.is_dir():
        raise UsageError(f"no dataset {str(folder)!r}; `visavis train prepare VIDEO -o {folder}` makes one")
    try:
        header = json.loads(file.read_text())
    except FileNotFoundError as error:
        raise UsageError(f"{folder} is no dataset, it has no dataset.json: {_AGAIN}") from error
    except OSError as error:
        raise UsageError(f"{file} cannot be read ({error.strerror}): check its permissions") from error
    except ValueError as error:
        raise UsageError(f"{file} is no JSON ({error}): {_AGAIN}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise UsageError(f"{file} is no dataset of visavis: {_AGAIN}")
    if header.get("version") != VERSION:
        raise UsageError(
            f"{file} has version {header.get('version')}, this program reads version {VERSION}: {_AGAIN}"
        )
    rig, reference = read_rig(folder / "rig.safetensors")
    params = _read_params(folder / "params.safetensors", rig)
    try:
        entries = header["views"]
        if not isinstance(entries, list) or len(entries) != len(params):
            count = len(entries) if isinstance(entries, list) else entries
            raise ValueError(f"{count} views for {len(params)} rows of params.safetensors")
        views = [_ViewReader(folder, file, row).view(entry, params[row]) for row, entry in enumerate(entries)]
        name = str(header["name"])
    except KeyError as error:
        raise UsageError(f"{file}: {error} is missing: {_AGAIN}") from error
    except (TypeError, ValueError) as error:
        raise _named(error, file) from error
    if not views:
        raise UsageError(f"{file} holds no view: {_AGAIN}")
    names = [view.name for view in views]
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise UsageError(f"{file} names two views {twice!r}: {_AGAIN}")
    return Dataset(rig, tuple(views), reference, name)


def _named(error: Exception, file: Path) -> UsageError:
    return error if isinstance(error, UsageError) else UsageError(f"{file}: {error}: {_AGAIN}")


@dataclass(frozen=True)
class _ViewReader:
    folder: Path
    file: Path
    row: int

    def view(self, entry: Any, params: RigParams) -> View:
        if not isinstance(entry, dict):
            raise ValueError(f"view {self.row} is {entry!r}")
        name = str(entry["name"])
        camera = _camera(entry["camera"], f"view {name!r}")
        split, moment = entry["split"], entry["time_index"]
        if split not in ("train", "test"):
            raise ValueError(f"view {name!r} is of split {split!r}, known are train and test")
        if not isinstance(moment, int) or moment < 0:
            raise ValueError(f"view {name!r} has time_index {moment!r}, needs a number from 0")
        geometry = self._path(entry["geometry"]) if "geometry" in entry else None
        files = PictureFiles(
            self._path(entry["image"]), self._path(entry["mask"]), geometry, camera.width, camera.height
        )
        return View(name, camera, params, moment, split, files)

    def _path(self, text: Any) -> Path:
        path = Path(str(text))
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{str(text)!r} lies outside the dataset")
        if not (self.folder / path).is_file():
            raise UsageError(f"{self.folder / path} is missing, which {self.file} names: {_AGAIN}")
        return self.folder / path


def _camera(entry: Any, whose: str) -> Camera:
    """Raises ValueError naming the value that makes no camera."""
    if not isinstance(entry, dict):
        raise ValueError(f"{whose} has camera {entry!r}")
    for key in ("width", "height"):
        value = entry[key]
        if not isinstance(value, int) or not 1 <= value <= _MOST_PIXELS:
            raise ValueError(f"{whose} has camera {key} {value!r}, needs 1 to {_MOST_PIXELS} pixels")
    for key in ("fx", "fy", "cx", "cy"):
        value = entry[key]
        if not isinstance(value, int | float) or not math.isfinite(value) or (key[0] == "f" and value <= 0):
            raise ValueError(f"{whose} has camera {key} {value!r}, which is no number of pixels")
    return Camera(
        width=entry["width"],
        height=entry["height"],
        fx=float(entry["fx"]),
        fy=float(entry["fy"]),
        cx=float(entry["cx"]),
        cy=float(entry["cy"]),
        world_to_camera=rigid_matrix(entry["world_to_camera"], whose),
    )


def rigid_matrix(rows: Any, whose: str) -> Tensor:
    """A rotation and translation [4, 4] float32 from nested lists. Raises ValueError for anything else."""
    try:
        matrix = torch.tensor(rows, dtype=torch.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{whose} has a camera matrix that holds no numbers") from error
    if matrix.shape != (4, 4):
        raise ValueError(f"{whose} has a camera matrix of shape {tuple(matrix.shape)}, needs (4, 4)")
    if not bool(torch.isfinite(matrix).all()):
        raise ValueError(f"{whose} has a camera matrix that is not finite")
    turn = matrix[:3, :3]
    off = float((turn @ turn.T - torch.eye(3, dtype=torch.float64)).abs().max())
    last = float((matrix[3] - torch.tensor([0.0, 0, 0, 1], dtype=torch.float64)).abs().max())
    if off > _RIGID or last > _RIGID or float(torch.linalg.det(turn)) < 0:
        raise ValueError(
            f"{whose} has a camera matrix that is no rotation and translation (off by {max(off, last):.3g})"
        )
    return matrix.float()


def _read_params(path: Path, rig: Rig) -> list[RigParams]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path} cannot be read ({error}): {_AGAIN}") from error
    shapes = {"expression": (rig.num_expressions,), "pose": (rig.num_joints, 3), "translation": (3,)}
    for name, shape in shapes.items():
        tensor = tensors.get(name)
        if tensor is None:
            raise UsageError(f"{path} has no {name}: {_AGAIN}")
        if tuple(tensor.shape[1:]) != shape or len(tensor) != len(tensors["expression"]):
            raise UsageError(
                f"{path}: {name} has shape {tuple(tensor.shape)}, the rig needs [views, {shape}]: {_AGAIN}"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise UsageError(f"{path}: {name} holds a value that is not finite: {_AGAIN}")
    return [RigParams(*row) for row in zip(*(tensors[name].float() for name in shapes), strict=True)]
