"""MakeHuman's official assets: clothes, eyes, brows, lashes and teeth for its base mesh, and pictures.

They are CC0 and lie in a folder of their own, see docs/people.md; each file is checked against the folder's
SHA256SUMS. Build time only. Units of the files are decimetres.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from render.making.makehuman import MakeHumanDataError
from render.making.obj import Obj, read_obj

Array = NDArray[np.float64]

VARIABLE = "VISAVIS_MAKEHUMAN"
_SCALES = ("x_scale", "y_scale", "z_scale")
_SECTIONS = ("verts", "delete_verts", "weights")


class Assets:
    """The folder of MakeHuman's official assets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        sums = folder / "SHA256SUMS"
        if not sums.is_file():
            raise MakeHumanDataError(
                f"{folder}: no folder of MakeHuman's assets (it holds no SHA256SUMS); pass --makehuman DIR "
                f"or set {VARIABLE}, see docs/people.md"
            )
        lines = [line.split(maxsplit=1) for line in sums.read_text().splitlines() if line.strip()]
        self._sums = {name.strip().removeprefix("*").removeprefix("./"): digest for digest, name in lines}

    @classmethod
    def open(cls, folder: Path | None = None) -> Assets:
        """The given folder, or that of VISAVIS_MAKEHUMAN; raises MakeHumanDataError without either."""
        chosen = folder or os.environ.get(VARIABLE)
        if not chosen:
            raise MakeHumanDataError(
                "MakeHuman's assets (CC0) are needed to make people: pass --makehuman DIR "
                f"or set {VARIABLE}, see docs/people.md"
            )
        return cls(Path(chosen))

    def file(self, name: str) -> Path:
        """One file by its path in the folder.

        Raises MakeHumanDataError where it is missing or not the official one.
        """
        path, digest = self.folder / name, self.digest(name)
        if not path.is_file():
            raise MakeHumanDataError(f"{path} is missing; fetch MakeHuman's assets again, see docs/people.md")
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise MakeHumanDataError(
                f"{path} is not the official file (its SHA-256 differs); fetch it again, see docs/people.md"
            )
        return path

    def digest(self, name: str) -> str:
        """SHA-256 of an official file. Raises MakeHumanDataError where there is none of that name."""
        if name not in self._sums:
            raise MakeHumanDataError(f"{name} is not among MakeHuman's assets in {self.folder}")
        return self._sums[name]

    def item(self, name: str) -> Item:
        """An item by its path in the folder without `.mhclo`, such as `eyes/high-poly/high-poly`."""
        return _read_item(self, self.file(f"{name}.mhclo"))


@dataclass(frozen=True)
class Item:
    """Something worn: each of its K vertices hangs on three of the body's."""

    obj: Obj
    vertices: NDArray[np.int64]  # [K, 3] of the base mesh
    shares: Array  # [K, 3] sum to 1
    offset: Array  # [K, 3] in units of `scale`
    measured: tuple[tuple[int, int, float] | None, ...]  # per axis: two vertices and their usual distance
    hidden: frozenset[int]  # the body's vertices that lie under it

    def fitted(self, body: Array, measured_on: Array | None = None) -> Array:
        """Its vertices [K, 3] on a body [N, 3]; thickness goes by the size of `measured_on`, or of that."""
        sized = body if measured_on is None else measured_on
        scale = np.array(
            [
                abs(sized[m[0], axis] - sized[m[1], axis]) / m[2] if m else 1.0
                for axis, m in enumerate(self.measured)
            ]
        )
        return (body[self.vertices] * self.shares[:, :, None]).sum(1) + self.offset * scale

    @cached_property
    def corner_uv(self) -> Array:
        """Place in the picture of every corner of every polygon, one after the other, [C, 2]."""
        return self.obj.uv[np.concatenate([np.array(p) for p in self.obj.uv_polygons])]


def _read_item(assets: Assets, path: Path) -> Item:
    measured: list[tuple[int, int, float] | None] = [None, None, None]
    rows: list[list[str]] = []
    hidden: set[int] = set()
    section, obj = "", ""
    for line in path.read_text().splitlines():
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[0] in _SCALES:
            measured[_SCALES.index(words[0])] = int(words[1]), int(words[2]), float(words[3])
        elif words[0] in _SECTIONS:
            section = words[0]
        elif words[0] == "obj_file":
            obj = words[1]
        elif section == "verts" and len(words) in (1, 9):
            # One vertex alone: the item's vertex lies on it.
            rows.append(words if len(words) == 9 else [words[0]] * 3 + ["1", "0", "0"] + ["0"] * 3)
        elif section == "delete_verts":
            for first, last in re.findall(r"(\d+)(?: - (\d+))?", " ".join(words)):
                hidden.update(range(int(first), int(last or first) + 1))
    if not rows or not obj:
        raise MakeHumanDataError(f"{path} names no vertices or no .obj file")
    table = np.array(rows)
    return Item(
        obj=read_obj(assets.file((path.parent / obj).relative_to(assets.folder).as_posix())),
        vertices=table[:, :3].astype(np.int64),
        shares=table[:, 3:6].astype(float),
        offset=table[:, 6:9].astype(float),
        measured=tuple(measured),
        hidden=frozenset(hidden),
    )
