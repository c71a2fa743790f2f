"""Reading the 3DGS .ply layout into Gaussians, whatever else the file carries."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.errors import AvatarError
from render.gaussians import Gaussians
from render.importers.ply_file import PlyFile
from render.importers.sound import check_count
from render.importers.splats import logits, sh_of
from render.sh import SH_C0

Columns = Mapping[str, NDArray[Any]]

_REST = re.compile(r"f_rest_(\d+)")
_RGB, _ALPHA = (("red", "green", "blue"), ("r", "g", "b")), ("alpha", "a")


def read_vertices(path: Path) -> Columns:
    """Columns of the `vertex` element by name. Raises AvatarError when the file is no readable .ply."""
    with open_ply(path) as ply:
        return ply.columns("vertex")


@contextmanager
def open_ply(path: Path) -> Iterator[PlyFile]:
    """The .ply at `path`. Raises AvatarError when there is none."""
    try:
        with path.open("rb") as stream:
            yield PlyFile(stream, path)
    except OSError as error:
        raise AvatarError(f"{path} cannot be read: {error.strerror or error}; check the path") from error


def gaussians_from_columns(columns: Columns, path: Path, *, colours_are_rgb: bool = False) -> Gaussians:
    """3DGS columns -> Gaussians as they stand in the file; two scale columns make surfels.

    Colours are `f_dc_*` or red, green and blue; opacities `opacity` or alpha. `f_rest_*` of a degree that no
    renderer here draws are cut (`sh_degree` tells). `colours_are_rgb`: f_dc holds plain colours in 0..1
    (LAM) instead of SH coefficients. Raises AvatarError when a column is missing.
    """
    axes = 3 if "scale_2" in columns else 2
    check_count(len(_column(columns, "x", path)), path)
    dc = _colours(columns, path)
    if colours_are_rgb:
        dc = (dc - 0.5) / SH_C0
    rest = _rest_names(columns)
    stored = sh_degree(columns)
    if ((stored + 1) ** 2 - 1) * 3 != len(rest):
        raise AvatarError(
            f"{path} has {len(rest)} f_rest columns, 0, 9, 24 or 45 make an SH degree; export it again"
        )
    if rest and rest[-1] != f"f_rest_{len(rest) - 1}":
        raise AvatarError(f"{path} has {len(rest)} f_rest columns up to {rest[-1]}; export it again")
    # 3DGS stores all red coefficients, then green, then blue.
    higher = _matrix(columns, rest, path).reshape(len(dc), 3, -1).transpose(0, 2, 1)
    return Gaussians(
        means=torch.from_numpy(_matrix(columns, ["x", "y", "z"], path)),
        quats=torch.from_numpy(_matrix(columns, [f"rot_{i}" for i in range(4)], path)),
        log_scales=torch.from_numpy(_matrix(columns, [f"scale_{i}" for i in range(axes)], path)),
        logit_opacities=_logit_opacities(columns, path),
        sh=sh_of(dc, higher),
        antialiased=False,  # trained with the plain low-pass of 3DGS
    )


def sh_degree(columns: Columns) -> int:
    """The degree that a file's `f_rest_*` make, drawn or not; 3 numbers each."""
    return math.isqrt(len(_rest_names(columns)) // 3 + 1) - 1


def _rest_names(columns: Columns) -> list[str]:
    return sorted((c for c in columns if _REST.fullmatch(c)), key=lambda c: int(c[7:]))


def _colours(columns: Columns, path: Path) -> NDArray[np.float32]:
    """SH coefficients of degree 0, [N, 3]."""
    if "f_dc_0" not in columns:
        for names in _RGB:
            if set(names) <= columns.keys():
                return (np.stack([_unit(columns[name]) for name in names], 1) - 0.5) / SH_C0
    return _matrix(columns, [f"f_dc_{i}" for i in range(3)], path)


def _logit_opacities(columns: Columns, path: Path) -> Tensor:
    if "opacity" not in columns:
        for name in _ALPHA:
            if name in columns:
                return logits(_unit(columns[name]))
    return torch.from_numpy(_matrix(columns, ["opacity"], path)[:, 0])


def _unit(values: NDArray[Any]) -> NDArray[np.float32]:
    """A colour or opacity in 0..1: integers fill their type; real numbers are in 0..1, or count as bytes."""
    if values.dtype.kind in "iu":
        full = float(np.iinfo(values.dtype).max)
    else:
        full = 255.0 if np.nanmax(values, initial=0.0) > 2.0 else 1.0
    return (values / full).astype(np.float32)


def _matrix(columns: Columns, names: list[str], path: Path) -> NDArray[np.float32]:
    """Columns side by side, [N, names]."""
    out = np.empty((len(_column(columns, "x", path)), len(names)), np.float32)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is looked for later
        for i, name in enumerate(names):
            out[:, i] = _column(columns, name, path)
    return out


def _column(columns: Columns, name: str, path: Path) -> NDArray[Any]:
    if name not in columns:
        raise AvatarError(f"{path} has no column {name}; it is no 3D Gaussian .ply, choose another file")
    return columns[name]
