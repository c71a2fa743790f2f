"""SuperSplat's compressed .ply: 16 bytes a Gaussian within the box of its chunk, harmonics as bytes.

Source: PlayCanvas splat-transform, `decompress-ply.ts`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from render.errors import AvatarError
from render.gaussians import Gaussians
from render.importers.ply_file import PlyFile
from render.importers.sound import check_count
from render.importers.splats import from_smallest_three, logits, sh_of
from render.sh import SH_C0

_CHUNK = 256  # Gaussians
_SH_RANGE = 8.0  # bytes of harmonics span -4..4


def is_compressed(ply: PlyFile) -> bool:
    vertex = ply.element("vertex")
    return vertex is not None and "packed_position" in vertex.types


def read_compressed(ply: PlyFile, path: Path) -> Gaussians:
    """Gaussians of such a file; the last chunk need not be full.

    Raises AvatarError when its parts do not fit each other.
    """
    chunk, vertex = ply.columns("chunk"), ply.columns("vertex")
    words = {n: _words(vertex, f"packed_{n}", path) for n in ("position", "rotation", "scale", "color")}
    count = len(words["position"])
    check_count(count, path)
    of_chunk = np.arange(count) // _CHUNK
    stored = len(next(iter(chunk.values()), ()))
    if stored <= of_chunk[-1]:
        raise AvatarError(f"{path} has {stored} chunks for {count} Gaussians of 256 each; export it again")

    def box(names: list[str]) -> NDArray[np.float64]:
        if missing := [n for n in names if n not in chunk]:
            raise AvatarError(f"{path} has no chunk column {missing[0]}; export it again")
        return np.stack([chunk[n] for n in names], 1).astype(np.float64)[of_chunk]

    def within(values: NDArray[np.float64], axes: Callable[[str], list[str]]) -> NDArray[np.float64]:
        low, high = box(axes("min")), box(axes("max"))
        return low * (1 - values) + high * values

    rgba = _fields(words["color"], (24, 8), (16, 8), (8, 8), (0, 8))
    colours = rgba[:, :3]
    if "min_r" in chunk:  # not in the first files of the kind
        colours = within(colours, lambda end: [f"{end}_{c}" for c in "rgb"])
    triple = ((21, 11), (11, 10), (0, 11))
    means = within(_fields(words["position"], *triple), lambda end: [f"{end}_{a}" for a in "xyz"])
    sizes = within(_fields(words["scale"], *triple), lambda end: [f"{end}_scale_{a}" for a in "xyz"])
    turns = (_fields(words["rotation"], (20, 10), (10, 10), (0, 10)) - 0.5) * np.sqrt(2)
    return Gaussians(
        means=torch.from_numpy(means.astype(np.float32)),
        quats=from_smallest_three(turns, words["rotation"] >> np.uint32(30)),
        log_scales=torch.from_numpy(sizes.astype(np.float32)),
        logit_opacities=logits(rgba[:, 3]),
        sh=sh_of((colours - 0.5) / SH_C0, _harmonics(ply, count, path)),
        antialiased=False,
    )


def _harmonics(ply: PlyFile, count: int, path: Path) -> NDArray[np.float64]:
    """Higher coefficients [N, K, 3]; K is 0 without an `sh` element."""
    if ply.element("sh") is None:
        return np.zeros((count, 0, 3))
    columns = ply.columns("sh")
    names = [f"f_rest_{i}" for i in range(len(columns))]
    if columns.keys() != set(names) or len(names) not in (9, 24, 45) or len(columns[names[0]]) != count:
        raise AvatarError(f"{path} has an sh element of another layout; export it again")
    stored = np.stack([columns[n] for n in names], 1).astype(np.float64)
    middle = np.select([stored == 0, stored == 255], [0.0, 1.0], (stored + 0.5) / 256)
    return ((middle - 0.5) * _SH_RANGE).reshape(count, 3, -1).transpose(0, 2, 1)


def _words(vertex: dict[str, NDArray[Any]], name: str, path: Path) -> NDArray[np.uint32]:
    if name not in vertex:
        raise AvatarError(f"{path} has no column {name}; it is no whole compressed .ply, export it again")
    return vertex[name].astype(np.uint32)


def _fields(words: NDArray[np.uint32], *places: tuple[int, int]) -> NDArray[np.float64]:
    """Bit fields (lowest bit, bits) of words [N] as numbers in 0..1, [N, fields]."""
    parts = [(words >> np.uint32(low) & np.uint32(2**bits - 1)) / (2**bits - 1) for low, bits in places]
    return np.stack(parts, 1)
