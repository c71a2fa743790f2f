"""A shoot: the pictures of a made person with all that is known of them, as a folder that training reads.

shoot.json           format, version, name, shape and shots; see `Shot` for a shot's fields
start.npz            surfaces and strands at rest, see `Start`
*.png                one a shot: 8 bits, sRGB colours not multiplied by alpha, as Blender writes them

World axes are the rig's: x to the person's left, y up, z out of the face, in metres; the frame is that of
`render.making.people.head.rig_reference(shape)`, whose rig the shots' weights and turns move.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from render.making.people.person import Shape
from render.whole_file import whole_file

FORMAT, VERSION = "visavis-shoot", 1
SHOTS_FILE, START_FILE = "shoot.json", "start.npz"
SURFACES = ("skin", "eyes", "teeth", "gums", "tongue", "lashes", "brows", "clothes")
STRANDS = ("hair", "brows", "lashes", "beard")
_MOST_PIXELS = 16384
_RIGID = 1e-4  # how far a rotation's rows may be from orthonormal
_AGAIN = "make the pictures again, or mend the file"


class ShootError(ValueError):
    """A shoot's file is missing or wrong; one line with the file, the value and the next step."""


@dataclass(frozen=True)
class Shot:
    """One picture and what it shows. The lens has square pixels and its axis in the middle of the picture.

    `camera_to_world` has the camera's own axes as OpenGL and Blender have them: x right, y up, z backwards.
    `weights` are those of the rig's units, 0 where not named; the eyeLook units in them move the lids. The
    eyeballs turn by `gaze_deg`: to the person's left and up, both together the rotation vector (-up, left, 0)
    about each eye's joint. Without it they turn as the eyeLook units turn the rig's. The head turns by
    `head_deg`: to the person's left, about the upright axis, after up, about the axis through the ears.
    `border` is left, top, width and height of the part of the picture that was rendered, in whole pixels;
    the file then holds this part alone (Blender: `use_border` with `use_crop_to_border`).
    """

    file: str  # within the folder
    width: int  # pixels of the whole picture
    height: int
    focal_px: float
    camera_to_world: NDArray[np.float64]  # [4, 4] metres
    weights: Mapping[str, float] = field(default_factory=dict)
    gaze_deg: tuple[float, float] | None = None
    head_deg: tuple[float, float] | None = None
    held_out: bool = False  # measured, never trained on
    border: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Surface:
    """A mesh at rest as it is rendered; vertices may be finer or coarser than the rig's."""

    vertices: NDArray[np.float32]  # [V, 3] metres
    faces: NDArray[np.int32]  # [F, 3] triangles, wound counterclockwise seen from outside


@dataclass(frozen=True)
class Strands:
    """Hairs at rest; one that is shorter than the others repeats its last point."""

    points: NDArray[np.float32]  # [N, K, 3] metres, from the root on
    radius: NDArray[np.float32]  # [N] metres


@dataclass(frozen=True)
class Start:
    """What training starts from: the person at rest, by the names of SURFACES and STRANDS, some or all.

    In start.npz: `surface.<name>.vertices`, `surface.<name>.faces`, `strands.<name>.points`,
    `strands.<name>.radius`.
    """

    surfaces: Mapping[str, Surface]
    strands: Mapping[str, Strands] = field(default_factory=dict)


@dataclass(frozen=True)
class Shoot:
    """All pictures of one person."""

    folder: Path
    name: str
    shape: Shape  # of the rig
    shots: tuple[Shot, ...]
    start: Start


def write_shots(folder: Path, name: str, shape: Shape, shots: Sequence[Shot]) -> None:
    """Write shoot.json; it appears whole or not at all. Raises OSError when the disk refuses."""
    header = {
        "format": FORMAT,
        "version": VERSION,
        "name": name,
        "shape": {"targets": dict(shape.targets), "modes": list(shape.modes)},
        "shots": [_as_json(shot) for shot in shots],
    }
    with whole_file(folder / SHOTS_FILE) as temporary:
        temporary.write_text(json.dumps(header, indent=1, allow_nan=False))


def write_start(folder: Path, start: Start) -> None:
    """Write start.npz; it appears whole or not at all. Raises OSError when the disk refuses."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, surface in start.surfaces.items():
        arrays[f"surface.{name}.vertices"] = surface.vertices.astype(np.float32)
        arrays[f"surface.{name}.faces"] = surface.faces.astype(np.int32)
    for name, strands in start.strands.items():
        arrays[f"strands.{name}.points"] = strands.points.astype(np.float32)
        arrays[f"strands.{name}.radius"] = strands.radius.astype(np.float32)
    with whole_file(folder / START_FILE) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub takes names for `allow_pickle`


def read_shoot(folder: Path) -> Shoot:
    """Read a shoot and check all of it but the pictures' pixels. Raises ShootError."""
    path = folder / SHOTS_FILE
    try:
        header = json.loads(path.read_text())
    except OSError as error:
        raise ShootError(
            f"{path} cannot be read ({error.strerror}): is {folder} a shoot's folder?"
        ) from error
    except ValueError as error:
        raise ShootError(f"{path} is no JSON ({error}): {_AGAIN}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT or header.get("version") != VERSION:
        raise ShootError(f"{path} is no {FORMAT} of version {VERSION}: {_AGAIN}")
    try:
        shape = header["shape"]
        shots = tuple(_read_shot(folder, entry, row) for row, entry in enumerate(header["shots"]))
        targets = {str(name): float(weight) for name, weight in shape["targets"].items()}
        body = Shape(targets, tuple(float(mode) for mode in shape["modes"]))
        name = str(header["name"])
    except KeyError as error:
        raise ShootError(f"{path} lacks {error}: {_AGAIN}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise ShootError(f"{path}: {error}: {_AGAIN}") from error
    if not shots:
        raise ShootError(f"{path} names no shot: {_AGAIN}")
    files = [shot.file for shot in shots]
    if len(set(files)) < len(files):
        twice = next(file for file in files if files.count(file) > 1)
        raise ShootError(f"{path} names {twice!r} twice: {_AGAIN}")
    return Shoot(folder, name, body, shots, read_start(folder / START_FILE))


def read_start(path: Path) -> Start:
    """Read and check a start.npz. Raises ShootError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except OSError as error:
        raise ShootError(f"{path} cannot be read ({error.strerror or error}): {_AGAIN}") from error
    except Exception as error:  # numpy raises what the damaged bytes lead it to
        raise ShootError(f"{path} is no file of numpy's arrays: {_AGAIN}") from error
    surfaces, strands = {}, {}
    try:
        for key in arrays:
            kind, name, what = (*key.split("."), "", "")[:3]
            if kind not in ("surface", "strands") or name not in (SURFACES if kind == "surface" else STRANDS):
                known = [f"surface.{s}.*" for s in SURFACES] + [f"strands.{s}.*" for s in STRANDS]
                raise ValueError(f"unknown array {key!r}; known are {', '.join(known)}")
            if what == "vertices":
                surfaces[name] = _surface(arrays, name)
            elif what == "points":
                strands[name] = _strands(arrays, name)
        if not surfaces:
            raise ValueError("no surface.<name>.vertices")
    except KeyError as error:
        raise ShootError(f"{path} lacks {error}: {_AGAIN}") from error
    except ValueError as error:
        raise ShootError(f"{path}: {error}: {_AGAIN}") from error
    return Start(surfaces, strands)


def _as_json(shot: Shot) -> dict[str, Any]:
    entry = {
        "file": shot.file,
        "width": shot.width,
        "height": shot.height,
        "focal_px": shot.focal_px,
        "camera_to_world": np.asarray(shot.camera_to_world, np.float64).tolist(),
        "weights": {name: float(weight) for name, weight in shot.weights.items()},
        "held_out": shot.held_out,
    }
    for name in ("gaze_deg", "head_deg"):
        if (angles := getattr(shot, name)) is not None:
            entry[name] = list(angles)
    if shot.border is not None:
        entry["border"] = list(shot.border)
    return entry


def _read_shot(folder: Path, entry: Any, row: int) -> Shot:
    """Raises KeyError for what is missing, ValueError with the shot and its value for what is wrong."""
    if not isinstance(entry, dict):
        raise ValueError(f"shot {row} is {entry!r}")
    file = str(entry["file"])
    path = Path(file)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"shot {row} has file {file!r}, which lies outside the folder")
    if not (folder / path).is_file():
        raise ValueError(f"shot {row} has file {file!r}, which is not there")
    width, height = (_pixels(entry[key], f"shot {file!r} has {key}") for key in ("width", "height"))
    weights = {str(name): float(weight) for name, weight in entry["weights"].items()}
    numbers = [
        float(entry["focal_px"]),
        *weights.values(),
        *(float(a) for name in ("gaze_deg", "head_deg") for a in entry.get(name, (0, 0))),
    ]
    if not all(map(math.isfinite, numbers)) or numbers[0] <= 0:
        raise ValueError(f"shot {file!r} has a focal length, weight or angle that is no number: {numbers}")
    border = entry.get("border")
    if not isinstance(entry["held_out"], bool):
        raise ValueError(f"shot {file!r} has held_out {entry['held_out']!r}, needs true or false")
    return Shot(
        file=file,
        width=width,
        height=height,
        focal_px=numbers[0],
        camera_to_world=_rigid(entry["camera_to_world"], file),
        weights=weights,
        gaze_deg=_angles(entry.get("gaze_deg")),
        head_deg=_angles(entry.get("head_deg")),
        held_out=entry["held_out"],
        border=None if border is None else _border(border, width, height, file),
    )


def _angles(values: Any) -> tuple[float, float] | None:
    return None if values is None else (float(values[0]), float(values[1]))


def turn_of(angles_deg: tuple[float, float]) -> Rotation:
    """The rotation to the person's left about the upright axis, after up about the axis through the ears."""
    left, up = angles_deg
    return Rotation.from_euler("YX", [left, -up], degrees=True)


def _pixels(value: Any, what: str) -> int:
    if not isinstance(value, int) or not 1 <= value <= _MOST_PIXELS:
        raise ValueError(f"{what} {value!r}, needs 1 to {_MOST_PIXELS} pixels")
    return value


def _border(value: Any, width: int, height: int, file: str) -> tuple[int, int, int, int]:
    left, top, across, down = (int(number) for number in value)
    if left < 0 or top < 0 or across < 1 or down < 1 or left + across > width or top + down > height:
        raise ValueError(f"shot {file!r} has border {value}, which does not lie in {width}x{height} pixels")
    return left, top, across, down


def _rigid(rows: Any, file: str) -> NDArray[np.float64]:
    matrix = np.asarray(rows, np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise ValueError(f"shot {file!r} has a camera_to_world that is no 4x4 matrix of numbers")
    turn = matrix[:3, :3]
    off = max(np.abs(turn @ turn.T - np.eye(3)).max(), np.abs(matrix[3] - (0, 0, 0, 1)).max())
    if off > _RIGID or np.linalg.det(turn) < 0:
        raise ValueError(
            f"shot {file!r} has a camera_to_world that is no rotation and place (off by {off:.3g})"
        )
    return matrix


def _surface(arrays: Mapping[str, NDArray[Any]], name: str) -> Surface:
    vertices, faces = arrays[f"surface.{name}.vertices"], arrays[f"surface.{name}.faces"]
    if vertices.ndim != 2 or vertices.shape[1] != 3 or not np.isfinite(vertices).all():
        raise ValueError(f"surface.{name}.vertices has shape {vertices.shape} or holds no numbers")
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in "iu" or not len(faces):
        raise ValueError(f"surface.{name}.faces has shape {faces.shape} of {faces.dtype}, needs whole [F, 3]")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError(f"surface.{name}.faces names a vertex outside 0..{len(vertices) - 1}")
    return Surface(vertices.astype(np.float32), faces.astype(np.int32))


def _strands(arrays: Mapping[str, NDArray[Any]], name: str) -> Strands:
    points, radius = arrays[f"strands.{name}.points"], arrays[f"strands.{name}.radius"]
    if points.ndim != 3 or points.shape[2] != 3 or points.shape[1] < 2 or not np.isfinite(points).all():
        raise ValueError(f"strands.{name}.points has shape {points.shape} or holds no numbers")
    if radius.shape != points.shape[:1] or not (radius > 0).all():
        raise ValueError(f"strands.{name}.radius has shape {radius.shape} or a value not above 0")
    return Strands(points.astype(np.float32), radius.astype(np.float32))
