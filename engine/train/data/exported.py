"""Pretrained networks that make pictures, exported by the user: sharper ones, or from other sides.

They are programs of torch.export, which hold operators of torch only: nothing is run as Python.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from engine.errors import UsageError
from render.camera import Camera


class ViewGenerator:
    """Pseudo multi-view pictures of one picture, by an exported network.

    The program takes rgb [1, 3, H, W], world-to-camera matrices [K, 4, 4] and intrinsics fx, fy, cx, cy
    [K, 4], and gives [K, 4, H, W]: colours and a mask, all in 0..1.
    """

    def __init__(self, path: Path) -> None:
        self._program = _exported(path, "view generator")
        self._path = path

    @torch.no_grad()
    def __call__(self, rgb: Tensor, cameras: list[Camera]) -> Tensor:
        """Pictures [K, H, W, 4] of `rgb` [H, W, 3] from `cameras`. Raises UsageError for another output."""
        matrices = torch.stack([c.world_to_camera for c in cameras])
        intrinsics = torch.tensor([[c.fx, c.fy, c.cx, c.cy] for c in cameras])
        out = _run(self._program, self._path, rgb.permute(2, 0, 1)[None], matrices, intrinsics)
        wanted = (len(cameras), 4, rgb.shape[0], rgb.shape[1])
        if not isinstance(out, Tensor) or tuple(out.shape) != wanted:
            raise UsageError(f"view generator {self._path} gives {_shape(out)}, needed {wanted}")
        return out.permute(0, 2, 3, 1).clamp(0, 1)


class Enhancer:
    """Super-resolution or deblurring of training pictures, by an exported network: [1, 3, H, W] -> larger."""

    def __init__(self, path: Path) -> None:
        self._program = _exported(path, "super-resolution")
        self._path = path

    @torch.no_grad()
    def __call__(self, rgb: Tensor) -> Tensor:
        """`rgb` [H, W, 3] sharpened, at its own size: the camera keeps its pixels."""
        out = _run(self._program, self._path, rgb.permute(2, 0, 1)[None])
        if not isinstance(out, Tensor) or out.ndim != 4 or out.shape[:2] != (1, 3):
            raise UsageError(f"super-resolution {self._path} gives {_shape(out)}, needed (1, 3, H, W)")
        same = nn.functional.interpolate(out, rgb.shape[:2], mode="area")
        return same[0].permute(1, 2, 0).clamp(0, 1)


def _exported(path: Path, what: str) -> nn.Module:
    if not path.is_file():
        raise UsageError(f"{what} {path} does not exist; name a file written by torch.export.save")
    try:
        return torch.export.load(path).module()
    except Exception as error:  # whatever a damaged archive makes torch raise is the file's fault
        raise UsageError(f"{what} {path} is not a program of torch.export: {error}") from error


def _run(program: nn.Module, path: Path, rgb: Tensor, *others: Tensor) -> object:
    """Raises UsageError where the program was exported for pictures of another size."""
    try:
        return program(rgb, *others)
    except (RuntimeError, AssertionError) as error:
        size = f"{rgb.shape[3]}x{rgb.shape[2]}"
        raise UsageError(
            f"{path} does not take pictures of {size}: {error}; prepare the data in its size"
        ) from error


def _shape(out: object) -> object:
    return tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
