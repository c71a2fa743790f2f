"""A signed distance field: hash grid and a softplus MLP, with its gradient and Hessian in closed form."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.train.fields.eigen import symmetric_eigen
from engine.train.fields.grid import GridConfig, HashGrid

_SHARPNESS = 20.0  # of the softplus: nearly a ReLU at the scale of the field, and still curved


@dataclass(frozen=True)
class SdfConfig:
    """Size of the field. Small, because a step at home asks it at every surfel."""

    grid: GridConfig = field(default_factory=GridConfig)
    hidden: int = 64
    num_features: int = 15  # given on to the appearance network, beside the distance


@dataclass(frozen=True)
class SdfSample:
    """The field at some points; the derivatives are None where nobody asked."""

    distance: Tensor  # [N] metres, negative inside
    features: Tensor  # [N, F]
    grid_features: Tensor  # [N, C]
    gradient: Tensor | None = None  # [N, 3], length 1 for a true distance
    hessian: Tensor | None = None  # [N, 3, 3] 1/metre


class SignedDistanceField(nn.Module):
    """f(x) in metres over a cube around `centre`; outside the cube the grid's features are held."""

    centre: Tensor
    half_side: Tensor

    def __init__(self, config: SdfConfig, centre: Tensor, half_side: float) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("centre", centre.detach().clone().float())
        self.register_buffer("half_side", torch.tensor(float(half_side)))
        self.grid = HashGrid(config.grid)
        self.hidden = nn.Linear(3 + config.grid.width, config.hidden)
        self.out = nn.Linear(config.hidden, 1 + config.num_features)

    def normalised(self, points: Tensor) -> Tensor:
        """World metres [N, 3] -> -1..1 within the cube."""
        return (points - self.centre) / self.half_side

    def forward(self, points: Tensor, order: int = 0) -> SdfSample:
        """The field at `points` [N, 3] metres, with `order` derivatives (0 to 2).

        Distance, features and gradient are differentiable in the weights and the points.
        Source of the derivatives: the chain rule for one hidden layer, w2 s(W1 [u, e(u)] + b1).
        """
        u = self.normalised(points)
        encoded, jacobian, curvature = self.grid(0.5 * (u + 1), order)
        activation = functional.linear(torch.cat([u, encoded], 1), self.hidden.weight, self.hidden.bias)
        out = self.out(functional.softplus(activation, beta=_SHARPNESS))
        distance, features = out[:, 0] * self.half_side, out[:, 1:]
        if order == 0 or jacobian is None:
            return SdfSample(distance, features, encoded)
        slope = torch.sigmoid(_SHARPNESS * activation)
        to_inputs = (slope * self.out.weight[0]) @ self.hidden.weight  # [N, 3 + C]
        jacobian = 0.5 * jacobian  # the grid's cube is half as large as u's
        gradient = to_inputs[:, :3] + (to_inputs[:, 3:, None] * jacobian).sum(1)
        if order == 1 or curvature is None:
            return SdfSample(distance, features, encoded, gradient)
        along = self.hidden.weight[:, :3] + torch.einsum("hc,nca->nha", self.hidden.weight[:, 3:], jacobian)
        bend = _SHARPNESS * slope * (1 - slope) * self.out.weight[0]
        hessian = torch.einsum("nh,nha,nhb->nab", bend, along, along)
        hessian = hessian + 0.25 * torch.einsum("nc,ncab->nab", to_inputs[:, 3:], curvature)
        return SdfSample(distance, features, encoded, gradient, hessian / self.half_side)

    def principal_curvatures(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Curvatures [N, 2] in 1/metre and directions [N, 2, 3] of the level sets at `points` [N, 3].

        The eigenvalues of the Hessian projected on the tangent plane; no gradients.
        """
        with torch.no_grad():
            sample = self(points, 2)
            assert sample.gradient is not None
            assert sample.hessian is not None
            length = sample.gradient.norm(dim=1).clamp_min(1e-6)
            normal = sample.gradient / length[:, None]
            eye = torch.eye(3, dtype=normal.dtype, device=normal.device)
            projection = eye - normal[:, :, None] * normal[:, None]
            shape = projection @ sample.hessian @ projection / length[:, None, None]
            values, vectors = symmetric_eigen(shape)
            # The normal is an eigenvector of value zero, wherever it comes in the order: drop it.
            along_normal = (vectors.mT @ normal[:, :, None])[..., 0].abs()
            keep = along_normal.argsort(1)[:, :2].sort(1).values
            return values.gather(1, keep), vectors.mT.gather(1, keep[..., None].expand(-1, -1, 3))
