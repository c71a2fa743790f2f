"""Posed Gaussians to the files other viewers read: 3DGS .ply and .spz, colours turned into world axes.

Both keep this program's world axes: x to the subject's left, y up, z out of the face (the RUB axes of .spz).
"""

from __future__ import annotations

import gzip
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from render.avatars.file import write_atomically
from render.errors import AvatarError
from render.gaussians import Gaussians
from render.sh import rotate_sh

_SPZ_MAGIC, _SPZ_VERSION = 0x5053474E, 3
_SPZ_MAX_FRACTION_BITS = 20  # a micrometre; more would say nothing new
_SPZ_MAX_POINTS = 10_000_000  # the limit of the format's own readers


def in_world_axes(gaussians: Gaussians) -> Gaussians:
    """The same set with SH coefficients in world axes and unit quaternions, as other programs expect."""
    sh = gaussians.sh if gaussians.sh_quats is None else rotate_sh(gaussians.sh, gaussians.sh_quats)
    return replace(gaussians, quats=normalize(gaussians.quats, dim=-1), sh=sh, sh_quats=None)


def export_ply(gaussians: Gaussians, path: Path | str) -> None:
    """Write a 3DGS .ply (2DGS for surfels, with two scales). Raises AvatarError when it cannot be written."""
    from plyfile import PlyData, PlyElement

    g = in_world_axes(gaussians)
    n = g.num_gaussians
    higher = g.sh[:, 1:].transpose(1, 2).reshape(n, -1)  # all red coefficients, then green, then blue
    columns = {
        **_named(["x", "y", "z"], _array(g.means)),
        **_named(["nx", "ny", "nz"], np.zeros((n, 3), np.float32)),
        **_named([f"f_dc_{i}" for i in range(3)], _array(g.sh[:, 0])),
        **_named([f"f_rest_{i}" for i in range(higher.shape[1])], _array(higher)),
        "opacity": _array(g.logit_opacities),
        **_named([f"scale_{i}" for i in range(g.log_scales.shape[1])], _array(g.log_scales)),
        **_named([f"rot_{i}" for i in range(4)], _array(g.quats)),
    }
    rows = np.empty(n, [(name, "<f4") for name in columns])
    for name, values in columns.items():
        rows[name] = values
    # As Brush and splat-transform say which low-pass the Gaussians were made for.
    comments = ["SplatRenderMode: mip"] if g.antialiased else []
    data = PlyData([PlyElement.describe(rows, "vertex")], byte_order="<", comments=comments)
    write_atomically(Path(path), data.write)


def export_spz(gaussians: Gaussians, path: Path | str) -> None:
    """Write a gzip .spz, version 3; its quantisation is the format's own (scales to 3 %, colours to 8 bits).

    Surfels become very flat Gaussians. Raises AvatarError when there are too many, or it cannot be written.
    Source: Niantic spz, `load-spz.cc`.
    """
    g = in_world_axes(gaussians)
    if g.num_gaussians > _SPZ_MAX_POINTS:
        raise AvatarError(
            f"{g.num_gaussians} Gaussians are more than .spz readers take; export a .ply instead"
        )
    payload = gzip.compress(_spz_payload(g), mtime=0)
    write_atomically(Path(path), lambda temporary: Path(temporary).write_bytes(payload))


def _spz_payload(g: Gaussians) -> bytes:
    means = _array(g.means).astype(np.float64)
    largest = max(float(np.abs(means).max(initial=0.0)), 1e-6)
    bits = int(np.clip(np.floor(23 - np.log2(largest * 1.000001)), 0, _SPZ_MAX_FRACTION_BITS))
    fixed = np.clip(np.rint(means * 2.0**bits), -(2**23), 2**23 - 1).astype("<i4")
    positions = np.ascontiguousarray(fixed).view(np.uint8).reshape(-1, 3, 4)[..., :3]
    log_scales = _array(g.log_scales)
    if g.is_surfel:
        log_scales = np.concatenate([log_scales, np.full((len(log_scales), 1), -10, np.float32)], 1)
    flags = 1 if g.antialiased else 0
    header = struct.pack("<IIIBBBB", _SPZ_MAGIC, _SPZ_VERSION, len(means), g.sh_degree, bits, flags, 0)
    sections: list[NDArray[Any]] = [
        positions,
        _bytes(_array(g.opacities()) * 255),
        _bytes(_array(g.sh[:, 0]) * (0.15 * 255) + 127.5),
        _bytes((log_scales + 10) * 16),
        _smallest_three(_array(g.quats)),
        _bytes(_array(g.sh[:, 1:]) * 128 + 128),
    ]
    return header + b"".join(section.tobytes() for section in sections)


def _smallest_three(wxyz: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Unit quaternions -> 32 bits: index of the largest component, then sign and 9 bits of each other one."""
    xyzw = wxyz[:, [1, 2, 3, 0]].astype(np.float64)
    largest = np.abs(xyzw).argmax(1)
    xyzw = np.where(np.take_along_axis(xyzw, largest[:, None], 1) < 0, -xyzw, xyzw)
    packed = largest.astype(np.uint32)
    for axis in range(4):
        value = xyzw[:, axis]
        magnitude = np.minimum(np.rint(np.abs(value) * np.sqrt(2) * 511), 511).astype(np.uint32)
        code = magnitude | ((value < 0).astype(np.uint32) << np.uint32(9))
        packed = np.where(largest == axis, packed, (packed << np.uint32(10)) | code)
    return packed.astype("<u4")


def _bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().cpu().float().numpy()


def _named(names: list[str], values: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    return {name: values[:, i] for i, name in enumerate(names)}
