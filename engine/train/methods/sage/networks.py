"""f_app and f_shape: what surfels look like, from where they are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

NUM_APPEARANCE = 4  # logits of red, green, blue and opacity
NUM_SHAPE = 7  # a Hessian's lower triangle and the logarithm of a scale


class AppearanceNetwork(nn.Module):
    """(x, view direction, normal, field features) -> logits of colour and opacity."""

    def __init__(self, num_features: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(9 + num_features, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, NUM_APPEARANCE),
        )

    def forward(self, points: Tensor, directions: Tensor, normals: Tensor, features: Tensor) -> Tensor:
        """`points` [N, 3] in -1..1, unit `directions` and `normals` [N, 3], `features` [N, F] -> [N, 4]."""
        out: Tensor = self.layers(torch.cat([points, directions, normals, features], 1))
        return out


class ShapeNetwork(nn.Module):
    """(x, grid features) -> a Hessian's lower triangle and the logarithm of a scale."""

    def __init__(self, num_features: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3 + num_features, hidden), nn.Softplus(beta=10), nn.Linear(hidden, NUM_SHAPE)
        )

    def forward(self, points: Tensor, features: Tensor) -> Tensor:
        """`points` [N, 3] in -1..1, `features` [N, C] -> [N, 7]."""
        out: Tensor = self.layers(torch.cat([points, features], 1))
        return out
