"""Niantic's .spz: quantised attributes one after the other, in one gzip stream or (version 4) in zstd frames.

Source: Niantic spz, `load-spz.cc`. Its axes are RUB, which are this program's.
"""

from __future__ import annotations

import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from render.errors import AvatarError
from render.gaussians import Gaussians
from render.importers.sound import check_count, check_expansion
from render.importers.splats import Splats, cut_note, from_smallest_three, logits, sh_of

MAGIC = b"NGSP"
_GZIP = b"\x1f\x8b"
_LATEST, _FRAMES_SINCE = 4, 4
_ANTIALIASED, _EXTENDED = 1, 2  # flags


@dataclass(frozen=True)
class _Header:
    version: int
    count: int
    degree: int
    fraction_bits: int
    flags: int
    frames: int

    def widths(self) -> tuple[int, ...]:
        """Bytes a Gaussian of positions, opacities, colours, scales, orientations and harmonics."""
        turn = 4 if self.version >= 3 else 3
        return (6 if self.version == 1 else 9), 1, 3, 3, turn, 3 * ((self.degree + 1) ** 2 - 1)


def gzip_begins_with(path: Path) -> bytes:
    """The first 16 bytes in a gzip file, fewer when it is damaged."""
    with path.open("rb") as file:
        try:
            return zlib.decompressobj(31).decompress(file.read(1 << 16), 16)
        except zlib.error:
            return b""


def read_spz(path: Path) -> Splats:
    """Gaussians of versions 1 to 4. Raises AvatarError for others and for damaged files."""
    with path.open("rb") as file:
        head = file.read(32)
    packed = head.startswith(_GZIP)
    header = _header(gzip_begins_with(path) if packed else head, path)
    if packed or header.version < _FRAMES_SINCE:
        attributes = _one_stream(path, header, packed)
    else:
        attributes = _frames(path, header)
    notes = cut_note(header.degree)
    if header.flags & _EXTENDED:
        notes += ("extensions of the file not read",)
    return Splats(_decoded(header, attributes), f".spz version {header.version}", notes)


def _header(data: bytes, path: Path) -> _Header:
    if len(data) < 16 or not data.startswith(MAGIC):
        raise _damaged(path, "its header is cut short")
    header = _Header(*struct.unpack_from("<IIBBBB", data, 4))
    if not 1 <= header.version <= _LATEST:
        raise AvatarError(
            f"{path} is .spz version {header.version}, 1 to {_LATEST} can be read; export a .ply instead"
        )
    if header.degree > 4 or header.fraction_bits > 24:
        what = f"harmonics of degree {header.degree}, {header.fraction_bits} bits of fraction"
        raise _damaged(path, what)
    check_count(header.count, path)
    return header


def _one_stream(path: Path, header: _Header, packed: bool) -> list[NDArray[np.uint8]]:
    sizes = [16] + [header.count * width for width in header.widths()]
    wanted = sum(sizes)
    check_expansion(path, path.stat().st_size, wanted)
    with path.open("rb") as file:
        data = file.read(wanted + (1 << 20))  # a gzip of noise is larger than what it holds, by little
    if packed:
        try:
            # One byte more, so that a stream that ends here has its checksum looked at.
            data = zlib.decompressobj(31).decompress(data, wanted + 1)
        except zlib.error as error:
            raise _damaged(path, str(error)) from error
    if len(data) < wanted:
        raise _damaged(path, f"{len(data)} of its {wanted} bytes are there")
    ends = np.cumsum(sizes)
    return [
        np.frombuffer(data, np.uint8, size, end - size) for size, end in zip(sizes[1:], ends[1:], strict=True)
    ]


def _frames(path: Path, header: _Header) -> list[NDArray[np.uint8]]:
    zstd = _zstd(path)
    sizes = [header.count * width for width in header.widths()]
    check_expansion(path, path.stat().st_size, sum(sizes))
    data = path.read_bytes()
    try:
        (at,) = struct.unpack_from("<I", data, 16)
        table = struct.unpack_from(f"<{2 * header.frames}Q", data, at)
    except struct.error as error:
        raise _damaged(path, "its table of frames is cut short") from error
    start, out = at + 16 * header.frames, []
    lengths = iter(zip(table[::2], table[1::2], strict=True))
    for size in sizes:
        length, claimed = next(lengths, (0, 0)) if size else (0, 0)  # nothing has no frame
        if claimed != size:
            raise _damaged(path, f"a frame of {claimed} bytes where {size} belong")
        if start + length > len(data):
            raise _damaged(path, f"it ends after {len(data)} bytes, in a frame up to {start + length}")
        frame = data[start : start + length]
        start += length
        try:
            values = zstd.ZstdDecompressor().decompress(frame, max_length=size + 1) if size else b""
        except zstd.ZstdError as error:
            raise _damaged(path, str(error)) from error
        if len(values) != size:
            raise _damaged(path, f"{len(values)} of {size} bytes in a frame")
        out.append(np.frombuffer(values, np.uint8))
    return out


def _zstd(path: Path) -> Any:
    """Python's own module, or what stands in for it before 3.14."""
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ModuleNotFoundError as error:
        raise AvatarError(
            f"{path} is an .spz of version 4, which takes zstd; pip install backports.zstd, "
            "or export version 3 or a .ply"
        ) from error
    return zstd


def _decoded(header: _Header, attributes: list[NDArray[np.uint8]]) -> Gaussians:
    positions, opacities, colours, scales, turns, higher = attributes
    n = header.count
    if header.version == 1:
        means = positions.view("<f2").reshape(n, 3).astype(np.float32)
    else:
        padded = np.zeros((n, 3, 4), np.uint8)
        padded[..., 1:] = positions.reshape(n, 3, 3)
        means = ((padded.view("<i4")[..., 0] >> 8) * 2.0**-header.fraction_bits).astype(np.float32)
    if header.version >= 3:
        words = turns.view("<u4")
        xyzw = from_smallest_three(_smallest(words), words >> np.uint32(30))
    else:
        xyz = turns.reshape(n, 3) / 127.5 - 1
        xyzw = from_smallest_three(xyz, np.full(n, 3))
    return Gaussians(
        means=torch.from_numpy(means),
        quats=xyzw[:, [3, 0, 1, 2]],
        log_scales=torch.from_numpy((scales.reshape(n, 3) / 16 - 10).astype(np.float32)),
        logit_opacities=logits(opacities / 255),
        sh=sh_of((colours.reshape(n, 3) / 255 - 0.5) / 0.15, (higher.reshape(n, -1, 3) - 128.0) / 128),
        antialiased=bool(header.flags & _ANTIALIASED),
    )


def _smallest(words: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Three components [N, 3] of sign and 9 bits, in 30 bits from the first one down."""
    codes = np.stack([words >> np.uint32(low) & np.uint32(1023) for low in (20, 10, 0)], 1)
    sizes = (codes & np.uint32(511)) / 511 * np.sqrt(0.5)
    return np.where(codes & np.uint32(512), -sizes, sizes)


def _damaged(path: Path, reason: str) -> AvatarError:
    return AvatarError(f"{path} is no whole .spz file ({reason}); export it again")
