"""The light on a person, baked into colours of vertices by Cycles: once a person, kept in a file.

A file is named by a hash of the description and of how it is baked. What is there is not baked again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from scipy.sparse import coo_array, csr_array, diags_array
from scipy.spatial import cKDTree

from render.camera import Camera
from render.making.people.fields import smoothstep
from render.making.people.person import Person
from render.making.people.scene.baked_mesh import BakedMesh, fine_surface, outwards
from render.making.people.scene.blender import SCRIPT, Blender, BlenderError
from render.making.people.scene.body import Pose
from render.making.people.scene.lighting import STUDIO
from render.making.people.scene.materials import cache_folder
from render.making.people.scene.messages import Arrays, Messages, lighting_message, placed
from render.making.people.scene.model import PersonModel
from render.making.people.scene.surface import Surface

Bytes = NDArray[np.uint8]

# Faces in which that is lit what is dark at rest.
OPENED = {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0, "jawOpen": 0.7}
_MOUTH = {
    "jawOpen": 0.7,
    "mouthUpperUpLeft": 0.6,
    "mouthUpperUpRight": 0.6,
    "mouthLowerDownLeft": 0.6,
    "mouthLowerDownRight": 0.6,
}
_WIDE = {"eyeWideLeft": 1.0, "eyeWideRight": 1.0}
_INSIDE = ("teeth", "gums", "tongue")
# Rays at each corner of a triangle; a vertex has the mean of its corners, about four.
_SAMPLES = {"skin": 32, "ribbons": 12, "clothes": 12, "opened": 24, "mouth": 16, "eyes": 32, "balls": 16}
_SPREAD = 0.5  # share of its neighbours in a vertex of skin, where rays are noisiest
_LOCK, _LOCK_SHARE = 12, 0.75  # nodes that share a ribbon's colour, which stands for so many hairs
_BEHIND_LIDS = 0.65  # of a free eyeball's light, where lids keep all out, and in the eye's corner
_STEP = 5  # of colours in a file; divides 255
_NOT_GREEN = np.array([1, 0, 1], np.uint8)
_CHANGE = (5, 12)  # of colours about a vertex, from which the opened face begins to count; less is chance
_CHANGE_STEPS = 4  # from vertex to vertex, over which it is taken
_VERSION = 1  # of everything here and in the shaders: another one bakes anew
_SCRIPT = SCRIPT.with_name("baking_process.py")


@dataclass(frozen=True)
class BakedColours:
    """Display colours of a person's vertices as `BakedMesh` orders them, eight bits, sRGB."""

    rest: Bytes  # [V, 3]; the mouth's inside as an open mouth shows it
    opened: Bytes  # [S, 3] of the skin with shut eyes and an open mouth


@dataclass(frozen=True)
class _Job:
    """Surfaces that are baked at once."""

    kind: str
    names: tuple[str, ...]
    weights: Mapping[str, float]
    alone: bool = False  # with nothing that shades them but what lies beneath


def baked_file(person: Person, folder: Path | None = None) -> Path:
    """Where a person's colours are or will be; `folder` is the user's cache without one."""

    def rounded(value: Any) -> Any:  # the last digits differ between machines
        if isinstance(value, float):
            return round(value, 6)
        if isinstance(value, dict):
            return {key: rounded(v) for key, v in value.items()}
        return [rounded(v) for v in value] if isinstance(value, list | tuple) else value

    shown = asdict(person)
    del shown["summary"]
    described = rounded({"version": _VERSION, "person": shown, "lighting": asdict(STUDIO)})
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
    return (folder or cache_folder()) / f"baked_{person.name}_{digest[:16]}.npz"


def baked_colours(
    model: PersonModel, mesh: BakedMesh, folder: Path | None = None, python: Path | None = None
) -> BakedColours:
    """A person's colours, baked if they are not there; `python` as `Blender` takes it.

    Raises BlenderError where they cannot be baked, or are those of another mesh.
    """
    path = baked_file(model.person, folder)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        colours = _bake(model, mesh, path.parent, python)
        # Renamed when whole: a kill leaves no half file behind.
        partial = path.with_name(f"partial_{os.getpid()}_{path.name}")
        np.savez_compressed(partial, **_packed(mesh, colours))
        partial.replace(path)
    return _read(path, mesh)


def _packed(mesh: BakedMesh, colours: BakedColours) -> dict[str, Any]:
    """As little as a file can do with: both sides of a ribbon are one, most of the opened face is zero."""
    arrays = {name: _to_steps(colours.rest[rows]) for name, rows in mesh.rows.items()}
    for name in mesh.ribbons:
        arrays[name] = arrays[name][::2]
    return {**arrays, "opened": _to_steps(colours.opened) - arrays["skin"]}  # modulo 256, as all of this


def _read(path: Path, mesh: BakedMesh) -> BakedColours:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    for name in mesh.ribbons:
        if name in arrays:
            arrays[name] = np.repeat(arrays[name], 2, 0)
    sizes = {**mesh.sizes, "opened": mesh.sizes["skin"]}
    if {name: len(colours) for name, colours in arrays.items()} != sizes:
        raise BlenderError(f"{path} holds colours of another mesh than this person's: remove it to bake anew")
    rest = np.concatenate([arrays[name] for name in mesh.sizes])
    return BakedColours(_from_steps(rest), _from_steps(arrays["opened"] + arrays["skin"]))


def _to_steps(colours: Bytes) -> Bytes:
    """Green in coarse steps, and by how many red and blue differ from it."""
    steps = np.minimum(colours.astype(int) + _STEP // 2, 255).astype(np.uint8) // _STEP
    return steps - steps[:, 1:2] * _NOT_GREEN


def _from_steps(steps: Bytes) -> Bytes:
    return _STEP * (steps + steps[:, 1:2] * _NOT_GREEN)


def _bake(model: PersonModel, mesh: BakedMesh, folder: Path, python: Path | None) -> BakedColours:
    jobs = (
        _Job("skin", ("skin",), {}),
        _Job("clothes", ("clothes",), {}),
        _Job("ribbons", tuple(mesh.ribbons), {}),
        _Job("opened", ("skin",), OPENED),
        _Job("mouth", _INSIDE, _MOUTH),
        _Job("eyes", ("eyeballs",), _WIDE),
        _Job("balls", ("eyeballs", "caruncles"), {}, alone=True),
    )
    work = [_SAMPLES[job.kind] * sum(mesh.sizes[name] for name in job.names) for job in jobs]
    picture = (folder / f"partial_{os.getpid()}.png").absolute()
    blender = Blender(python, _SCRIPT)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    try:
        blender.ask(*_person(model, mesh))
        baked: dict[tuple[str, str], Bytes] = {}
        with Progress(*columns) as progress:
            task = progress.add_task(f"light of {model.person.name}", total=sum(work))
            for job, amount in zip(jobs, work, strict=True):
                message, arrays = _bake_message(model, mesh, job)
                blender.ask({**message, "path": str(picture)}, arrays)
                colours = np.asarray(Image.open(picture).convert("RGB")).reshape(-1, 3)
                ends = np.cumsum([mesh.sizes[name] for name in job.names])
                for name, part in zip(job.names, np.split(colours[: ends[-1]], ends[:-1]), strict=True):
                    baked[job.kind, name] = part
                progress.advance(task, amount)
    finally:
        blender.close()
        picture.unlink(missing_ok=True)
    return _finished(model, mesh, baked)


def _finished(model: PersonModel, mesh: BakedMesh, baked: Mapping[tuple[str, str], Bytes]) -> BakedColours:
    """What was baked, by job and surface, as one."""
    rest = {name: part for (kind, name), part in baked.items() if kind not in ("opened", "balls")}
    free = {
        name: (_BEHIND_LIDS * baked["balls", name]).astype(np.uint8) for name in ("eyeballs", "caruncles")
    }
    rest |= {"eyeballs": np.maximum(rest["eyeballs"], free["eyeballs"]), "caruncles": free["caruncles"]}
    nodes = mesh.strand_points(model, model.at(Pose({})))
    for name, points in nodes.items():
        rest[name] = np.repeat(_in_locks(points.reshape(-1, 3), rest[name]), 2, 0)
    rest["skin"], opened = _faces(mesh, rest["skin"], baked["opened", "skin"])
    return BakedColours(np.concatenate([rest[name] for name in mesh.sizes]), opened)


def _person(model: PersonModel, mesh: BakedMesh) -> tuple[dict[str, Any], Arrays]:
    surfaces = {name: fine_surface(model.surfaces[name], fine) for name, fine in mesh.surfaces.items()}
    sizes = {name: fine.matrix.shape[0] for name, fine in mesh.surfaces.items()}
    for name, ribbons in mesh.ribbons.items():
        corners = ribbons.triangles.ravel()
        counts = np.full(len(corners) // 3, 3, np.int32)
        flat = np.zeros((len(corners), 2), np.float32)
        surfaces[name] = Surface(corners, counts, flat, model.strand_material, 0)
        sizes[name] = mesh.sizes[name]
    described, arrays = Messages().surfaces(surfaces, sizes)
    for name, ribbons in mesh.ribbons.items():
        arrays[f"{name}.melanin"] = np.repeat(ribbons.melanin, 2 * ribbons.nodes)
    return {"kind": "person", "surfaces": described, "strands": {}}, arrays


def _bake_message(model: PersonModel, mesh: BakedMesh, job: _Job) -> tuple[dict[str, Any], Arrays]:
    moment = model.at(Pose(job.weights))
    arrays: Arrays = {
        f"{name}.vertices": fine.matrix @ moment.vertices[name] for name, fine in mesh.surfaces.items()
    }
    for name, points in mesh.strand_points(model, moment).items():
        facing = outwards(points, np.gradient(points, axis=1))
        arrays[f"{name}.vertices"] = mesh.ribbons[name].vertices(points, facing)
    arrays |= {f"{name}.state": state for name, state in moment.states.items()}
    eyes = model.body.eye_midpoint.tolist()
    camera = Camera.orbit(
        (eyes[0], eyes[1], eyes[2]), distance_m=1.15, width=64, height=64, vertical_fov_deg=18
    )
    arrays["camera_to_world"] = placed(camera)
    message = {
        "kind": "bake",
        "surfaces": list(job.names),
        "hidden": [name for name in mesh.sizes if job.alone and name not in job.names],
        # A cornea is what is seen through it, and its catchlight is where the camera has it.
        "from_camera": "eyeballs" in job.names,
        "samples": _SAMPLES[job.kind],
        "lighting": lighting_message(model, STUDIO),
        "camera": {"width": camera.width, "height": camera.height, "focal": camera.fy, "border": None},
    }
    return message, arrays


def _in_locks(points: NDArray[np.float32], colours: Bytes) -> Bytes:
    """Colours of nodes [M, 3], each mixed with those around, by colours [2 M, 3] of their vertices."""
    own = colours.reshape(-1, 2, 3).astype(float).mean(1)
    _, near = cKDTree(points).query(points, k=_LOCK)
    return np.asarray((1 - _LOCK_SHARE) * own + _LOCK_SHARE * own[near].mean(1) + 0.5, np.uint8)


def _faces(mesh: BakedMesh, rest: Bytes, opened: Bytes) -> tuple[Bytes, Bytes]:
    """The skin's colours [S, 3] at rest and in the opened face, the same but where light changed."""
    around = _neighbours(mesh.surfaces["skin"].quads, len(rest))
    first, second = ((1 - _SPREAD) * c + _SPREAD * (around @ c) for c in (rest.astype(float), opened))
    change = second - first
    for _ in range(_CHANGE_STEPS):
        change = around @ change
    share = smoothstep(*_CHANGE, np.abs(change).max(1))[:, None]
    second = first + share * (second - first)
    return np.asarray(first + 0.5, np.uint8), np.asarray(second + 0.5, np.uint8)


def _neighbours(quads: NDArray[np.int64], count: int) -> csr_array:
    """What takes the mean [count, count] of the vertices along each one's edges."""
    rows = np.concatenate([quads.ravel()] * 2)
    columns = np.concatenate([np.roll(quads, -ahead, 1).ravel() for ahead in (1, 3)])
    around = coo_array((np.ones(len(rows)), (rows, columns)), shape=(count, count)).tocsr()
    return csr_array(diags_array(1 / np.asarray(around.sum(1))) @ around)
