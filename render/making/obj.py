"""Wavefront .obj files as MakeHuman writes them: polygons by groups, a uv at every corner."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Obj:
    """One file; polygons may have any number of corners."""

    vertices: Array  # [V, 3]
    uv: Array  # [T, 2], origin bottom left
    polygons: list[list[int]]  # indices of vertices
    uv_polygons: list[list[int]]  # indices of uv, corner by corner
    groups: list[str]  # of each polygon


def read_obj(path: Path) -> Obj:
    """Read a file whose corners all have a uv."""
    vertices: list[list[float]] = []
    uv: list[list[float]] = []
    polygons: list[list[int]] = []
    uv_polygons: list[list[int]] = []
    groups: list[str] = []
    group = ""
    for line in path.read_text().splitlines():
        word, *rest = line.split() or [""]
        if word == "v":
            vertices.append([float(x) for x in rest[:3]])
        elif word == "vt":
            uv.append([float(x) for x in rest[:2]])
        elif word == "g":
            group = rest[0]
        elif word == "f":
            corners = [[int(n) - 1 for n in corner.split("/")[:2]] for corner in rest]
            polygons.append([c[0] for c in corners])
            uv_polygons.append([c[1] for c in corners])
            groups.append(group)
    return Obj(np.array(vertices), np.array(uv), polygons, uv_polygons, groups)
