"""The .splat of antimatter15's viewer: 32 bytes a Gaussian, no header.

Source: github.com/antimatter15/splat, `convert.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from render.errors import AvatarError
from render.gaussians import Gaussians
from render.importers.sound import check_count
from render.importers.splats import Splats, logits, sh_of
from render.sh import SH_C0

_ROW = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("quat", "u1", 4)])


def looks_like_splat(head: bytes) -> bool:
    """Whether bytes are rows of such a file, which nothing else in it says: sizes positive, orientations of
    unit length to the byte, in nearly all."""
    rows = np.frombuffer(head[: len(head) // _ROW.itemsize * _ROW.itemsize], _ROW)
    if not len(rows):
        return False
    with np.errstate(all="ignore"):
        sized = ((rows["scale"] >= 0) & np.isfinite(rows["scale"])).all(1) & np.isfinite(rows["mean"]).all(1)
        length = np.linalg.norm((rows["quat"].astype(np.float32) - 128) / 128, axis=1)
    return float((sized & (np.abs(length - 1) < 0.05)).mean()) > 0.9


def read_splat(path: Path) -> Splats:
    """Raises AvatarError when the file holds no whole number of Gaussians."""
    size = path.stat().st_size
    count, rest = divmod(size, _ROW.itemsize)
    if rest:
        raise AvatarError(
            f"{path} is no whole .splat: {size} bytes are no multiple of {_ROW.itemsize}; copy it again"
        )
    check_count(count, path)
    rows = np.fromfile(path, _ROW, count)
    with np.errstate(divide="ignore", invalid="ignore"):  # no size and less are looked for later
        log_scales = np.log(rows["scale"])
    return Splats(
        Gaussians(
            means=torch.from_numpy(rows["mean"].copy()),
            quats=torch.from_numpy((rows["quat"].astype(np.float32) - 128) / 128),
            log_scales=torch.from_numpy(log_scales),
            logit_opacities=logits(rows["rgba"][:, 3] / 255),
            sh=sh_of((rows["rgba"][:, :3] / 255 - 0.5) / SH_C0, np.zeros((count, 0, 3))),
            antialiased=False,
        ),
        ".splat",
    )
