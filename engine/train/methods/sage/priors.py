"""Pretrained networks that SAGE may lean on, read from the user's own files; none is needed.

Nothing in these files is run as Python: a deformation prior is a safetensors file of plain layers, the
others are programs of torch.export, which hold operators of torch only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from engine.errors import UsageError
from engine.train.methods.sage.warp import to_rest
from render.camera import Camera
from render.rigs.params import RigParams
from render.rigs.rig import Rig


class DeformationPrior(Protocol):
    """Where points of a posed head lie at rest: how rays are warped back to canonical space."""

    def to_rest(
        self, rig: Rig, params: RigParams, face: Tensor, points: Tensor, directions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """World `points` and unit `directions` [R, 3], met on triangles `face` [R] -> the same at rest."""
        ...


class RigDeformation:
    """Without a prior: the tracked rig itself carries points back, each with its triangle."""

    def to_rest(
        self, rig: Rig, params: RigParams, face: Tensor, points: Tensor, directions: Tensor
    ) -> tuple[Tensor, Tensor]:
        return to_rest(rig, rig(params).vertices, face, points, directions)


class NetworkDeformation(nn.Module):
    """The rig's way back, plus offsets that a pretrained network adds for an expression.

    The file holds `layers.0.weight`, `layers.0.bias`, ... of a softplus MLP whose inputs are a point at rest
    in metres and the rig's expression weights, and whose output is an offset in metres.
    """

    def __init__(self, path: Path, num_expressions: int) -> None:
        """Raises UsageError when the file is missing, damaged, or of another number of expressions."""
        super().__init__()
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise UsageError(f"deformation prior {path} cannot be read: {error}") from error
        layers, width = [], 3 + num_expressions
        for number in range(len(tensors) // 2):
            weight, bias = (tensors.get(f"layers.{number}.{part}") for part in ("weight", "bias"))
            if weight is None or bias is None or weight.ndim != 2 or weight.shape[1] != width:
                raise UsageError(
                    f"deformation prior {path}: layer {number} must take {width} numbers "
                    f"(a point and {num_expressions} expression weights feed the first)"
                )
            layer = nn.Linear(width, weight.shape[0])
            layer.load_state_dict({"weight": weight.float(), "bias": bias.float()})
            layers.append(layer)
            width = weight.shape[0]
        if not layers or width != 3:
            raise UsageError(f"deformation prior {path}: the last layer gives {width} numbers, not 3")
        self.layers = nn.ModuleList(layers).requires_grad_(False)

    def to_rest(
        self, rig: Rig, params: RigParams, face: Tensor, points: Tensor, directions: Tensor
    ) -> tuple[Tensor, Tensor]:
        at, along = to_rest(rig, rig(params).vertices, face, points, directions)
        values = torch.cat([at, params.expression.expand(len(at), -1)], 1)
        for layer in self.layers[:-1]:
            values = nn.functional.softplus(layer(values), beta=100)
        return at + self.layers[-1](values), along


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


def deformation_prior(path: str, rig: Rig) -> DeformationPrior:
    """The prior in a file, or the rig's own deformation when `path` is empty."""
    if not path:
        return RigDeformation()
    return NetworkDeformation(Path(path), rig.num_expressions).to(rig.template.device)


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
