"""SOG, PlayCanvas' Gaussians as WebP pictures beside a meta.json, in a folder or a .sog; both versions.

Source: PlayCanvas, "The SOG Format", and splat-transform's `read-sog-v1.ts` for the first version.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from render.errors import AvatarError
from render.gaussians import Gaussians
from render.importers.container import Container
from render.importers.sound import MAX_GAUSSIANS, check_count
from render.importers.splats import Splats, from_smallest_three, logits, sh_of

MARKER = "meta.json"
_LATEST = 2
_PALETTE_COLUMNS = 64  # entries side by side in the picture of harmonics
_MAX_META_BYTES = 4 << 20
_MAX_PIXELS = 4 * MAX_GAUSSIANS


def is_sog_meta(text: bytes) -> bool:
    try:
        meta = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(meta, dict) and {"means", "scales", "quats", "sh0"} <= meta.keys()


def read_sog(path: Path) -> Splats:
    """Gaussians of a folder or an archive. Raises AvatarError when it is damaged, or of a later version."""
    with Container(path, MARKER) as files:
        text = files.read(MARKER)
        if len(text) > _MAX_META_BYTES or not is_sog_meta(text):
            raise AvatarError(f"{files.where(MARKER)} describes no SOG; name a folder or .sog that one wrote")
        meta = json.loads(text)
        try:
            return _read(files, meta)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
            if isinstance(error, AvatarError):
                raise
            reason = " ".join(f"{type(error).__name__} {error}".split())[:160]
            raise AvatarError(f"{files.where(MARKER)} is damaged ({reason}); export it again") from error


def _read(files: Container, meta: Mapping[str, Any]) -> Splats:
    version = int(meta.get("version", 1))
    if not 1 <= version <= _LATEST:
        raise AvatarError(
            f"{files.path} is SOG version {version}, 1 and 2 can be read; export a .ply instead"
        )
    count = int(meta["count"] if version == 2 else meta["means"]["shape"][0])
    check_count(count, files.path)
    low, high = (_picture(files, name, count)[:, :3].astype(np.float64) for name in meta["means"]["files"])
    logged = _within(low + 256 * high, 65535, meta["means"])
    turns = _picture(files, meta["quats"]["files"][0], count)
    sizes = _picture(files, meta["scales"]["files"][0], count)[:, :3]
    rgba = _picture(files, meta["sh0"]["files"][0], count)
    if version == 2:
        log_scales, dc = _codebook(meta["scales"])[sizes], _codebook(meta["sh0"])[rgba[:, :3]]
        logit_opacities = logits(rgba[:, 3] / 255)
    else:
        log_scales, base = _within(sizes, 255, meta["scales"]), _within(rgba, 255, meta["sh0"])
        dc, logit_opacities = base[:, :3], torch.from_numpy(base[:, 3].astype(np.float32))
    # The last byte names the largest component: 252 for w, then x, y, z.
    quats = from_smallest_three((turns[:, :3] / 255 * 2 - 1) / math.sqrt(2), turns[:, 3].astype(int) - 252)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is looked for later
        means = (np.sign(logged) * np.expm1(np.abs(logged))).astype(np.float32)
    gaussians = Gaussians(
        means=torch.from_numpy(means),
        quats=quats,
        log_scales=torch.from_numpy(log_scales.astype(np.float32)),
        logit_opacities=logit_opacities,
        sh=sh_of(dc, _harmonics(files, meta.get("shN"), count)),
        antialiased=bool(meta.get("antialias")) or meta.get("model") == "antialiased",
    )
    return Splats(gaussians, f"SOG version {version}")


def _harmonics(files: Container, meta: Mapping[str, Any] | None, count: int) -> NDArray[np.float64]:
    """Higher coefficients [N, K, 3], which Gaussians share through a palette."""
    if not meta:
        return np.zeros((count, 0, 3))
    centroids, labels = meta["files"]
    picture = _pixels(files, centroids)
    each = picture.shape[1] // _PALETTE_COLUMNS
    if picture.shape[1] % _PALETTE_COLUMNS or each not in (3, 8, 15, 24):
        raise ValueError(f"harmonics in a picture {picture.shape[1]} pixels wide")
    palette = picture[..., :3].reshape(-1, each, 3)
    chosen = _picture(files, labels, count).astype(np.int64)
    index = chosen[:, 0] + 256 * chosen[:, 1]
    if int(index.max()) >= len(palette):
        raise ValueError(f"a Gaussian names entry {index.max()} of {len(palette)} of the palette")
    values = _codebook(meta)[palette] if "codebook" in meta else _within(palette, 255, meta)
    return values[index]


def _within(values: NDArray[Any], full: float, box: Mapping[str, Any]) -> NDArray[np.float64]:
    """Integers 0..full -> `mins`..`maxs`, of each column or of all."""
    low, high = np.asarray(box["mins"], np.float64), np.asarray(box["maxs"], np.float64)
    return low + (high - low) * (values / full)


def _codebook(entry: Mapping[str, Any]) -> NDArray[np.float64]:
    book = np.asarray(entry["codebook"], np.float64)
    if book.ndim != 1 or len(book) > 256:
        raise ValueError(f"a codebook of shape {book.shape}")
    return np.pad(book, (0, 256 - len(book)), constant_values=np.nan)  # found where it is used


def _picture(files: Container, name: str, count: int) -> NDArray[np.uint8]:
    """The first `count` pixels [count, 4] RGBA, row by row."""
    pixels = _pixels(files, name).reshape(-1, 4)
    if len(pixels) < count:
        raise AvatarError(
            f"{files.where(name)} has {len(pixels)} pixels for {count} Gaussians; export it again"
        )
    return pixels[:count]


def _pixels(files: Container, name: str) -> NDArray[np.uint8]:
    """A picture [H, W, 4] RGBA."""
    import cv2

    data = files.read(name)
    width, height = _size(data)
    if width * height > _MAX_PIXELS:
        raise AvatarError(f"{files.where(name)} is {width}x{height} pixels, which no SOG is; export it again")
    picture = None
    if width * height:
        with contextlib.suppress(cv2.error):
            picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in (3, 4):
        raise AvatarError(f"{files.where(name)} is no whole WebP picture; export it again")
    opaque = np.full((*picture.shape[:2], 1), 255, np.uint8)  # what a file without it means
    return np.concatenate([picture[..., 2::-1], picture[..., 3:] if picture.shape[2] == 4 else opaque], 2)


def _size(data: bytes) -> tuple[int, int]:
    """Width and height of a WebP or PNG before anything is decoded, zeros of anything else.

    Source: Google, "WebP Container Specification"; W3C, "Portable Network Graphics", 11.2.1.
    """
    kind, body = data[12:16], data[20:30]
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return 0, 0
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
