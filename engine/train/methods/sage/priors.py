"""A pretrained network that knows better than the rig how a face deforms; none is needed.

Its file is a safetensors file of plain layers: nothing in it is run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from engine.errors import UsageError
from engine.train.methods.sage.warp import to_rest
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


def deformation_prior(path: str, rig: Rig) -> DeformationPrior:
    """The prior in a file, or the rig's own deformation when `path` is empty."""
    if not path:
        return RigDeformation()
    return NetworkDeformation(Path(path), rig.num_expressions).to(rig.template.device)
