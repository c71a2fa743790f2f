"""Reading the 3DGS .ply layout into arrays, whatever else the file carries."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.errors import AvatarError
from render.gaussians import Gaussians
from render.sh import SH_C0

_MAX_HEADER_BYTES = 1 << 16
_REST_COUNTS = {0: 0, 9: 1, 24: 2, 45: 3}


def read_vertices(path: Path) -> Mapping[str, NDArray[np.float32]]:
    """Columns of the `vertex` element by name. Raises AvatarError when the file is no readable .ply."""
    from plyfile import PlyData, PlyParseError

    try:
        _check_counts(path)
        with path.open("rb") as file:
            vertex = PlyData.read(file)["vertex"]
            return {p.name: np.array(vertex[p.name]) for p in vertex.properties}
    except OSError as error:
        raise AvatarError(f"{path} cannot be read: {error.strerror or error}; check the path") from error
    except (PlyParseError, KeyError, ValueError, MemoryError, OverflowError) as error:
        if isinstance(error, AvatarError):
            raise
        reason = " ".join(str(error).split())[:160]
        raise AvatarError(
            f"{path} is no whole .ply file with vertices ({reason}); export it again"
        ) from error


def gaussians_from_columns(
    columns: Mapping[str, NDArray[np.float32]], path: Path, *, colours_are_rgb: bool = False
) -> Gaussians:
    """3DGS columns -> Gaussians; two scale columns make surfels.

    `colours_are_rgb`: f_dc holds plain colours in 0..1 (LAM) instead of SH coefficients.
    Raises AvatarError when a column is missing, or a value is not finite.
    """
    axes = 3 if "scale_2" in columns else 2
    rest = sorted((c for c in columns if c.startswith("f_rest_")), key=lambda c: int(c[7:]))
    if len(rest) not in _REST_COUNTS:
        raise AvatarError(
            f"{path} has {len(rest)} f_rest columns, 0, 9, 24 or 45 make an SH degree; export it again"
        )
    dc = _matrix(columns, [f"f_dc_{i}" for i in range(3)], path)[:, None]
    if colours_are_rgb:
        dc = (dc - 0.5) / SH_C0
    count = (_REST_COUNTS[len(rest)] + 1) ** 2 - 1
    # 3DGS stores all red coefficients, then green, then blue.
    higher = _matrix(columns, rest, path).reshape(-1, 3, count).transpose(1, 2) if rest else dc[:, :0]
    return Gaussians(
        means=_matrix(columns, ["x", "y", "z"], path),
        quats=_matrix(columns, [f"rot_{i}" for i in range(4)], path),
        log_scales=_matrix(columns, [f"scale_{i}" for i in range(axes)], path),
        logit_opacities=_matrix(columns, ["opacity"], path)[:, 0],
        sh=torch.cat([dc, higher], 1).contiguous(),
        antialiased=False,  # trained with the plain low-pass of 3DGS
    )


def _matrix(columns: Mapping[str, NDArray[np.float32]], names: list[str], path: Path) -> Tensor:
    missing = [n for n in names if n not in columns]
    if missing:
        raise AvatarError(
            f"{path} has no column {missing[0]}; it is no 3D Gaussian .ply, choose another file"
        )
    values = np.stack([np.asarray(columns[n], np.float32) for n in names], 1)
    bad = ~np.isfinite(values).all(1)
    if bad.any():
        raise AvatarError(
            f"{path} holds {int(bad.sum())} Gaussians with a {names[0]} that is not finite; export it again"
        )
    return torch.from_numpy(values)


def _check_counts(path: Path) -> None:
    """Refuse element counts the file cannot hold before anything is allocated for them."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_MAX_HEADER_BYTES)
    if not head.startswith(b"ply") or b"end_header" not in head:
        raise ValueError("it does not start as one")
    for count in re.findall(rb"element\s+\S+\s+(\d+)", head.split(b"end_header")[0]):
        if int(count) > size:
            raise ValueError(f"it claims {int(count)} elements in {size} bytes")
