"""A multi-resolution hash grid with quadratic B-spline interpolation: features that can be derived twice.

Trilinear interpolation has no second derivative inside a cell. A quadratic B-spline takes 3 entries per axis
(27 instead of 8), is C1, and its second derivatives are those of its pieces.
Source: T. Müller et al., "Instant neural graphics primitives", 2022, section 3 (levels and hash).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine.train import kernels

_PRIMES = (1, 2654435761, 805459861)
_INITIAL = 1e-4  # entries start uniform in +- this


@dataclass(frozen=True)
class GridConfig:
    """Resolutions grow geometrically from the coarsest to the finest level."""

    num_levels: int = 8
    num_features: int = 2  # of each level
    log2_entries: int = 15  # of the table of each level
    coarsest: int = 8  # cells along a side
    finest: int = 256

    def __post_init__(self) -> None:
        if self.num_levels < 1 or self.num_features < 1 or not 1 <= self.coarsest <= self.finest:
            raise ValueError(f"a grid needs levels, features and 1 <= coarsest <= finest, got {self}")

    @property
    def width(self) -> int:
        """Features of a point, all levels."""
        return self.num_levels * self.num_features

    def resolutions(self) -> tuple[int, ...]:
        """Cells along a side, per level."""
        if self.num_levels == 1:
            return (self.coarsest,)
        growth = (self.finest / self.coarsest) ** (1 / (self.num_levels - 1))
        return tuple(round(self.coarsest * growth**level) for level in range(self.num_levels))


class HashGrid(nn.Module):
    """Features of points in the unit cube, with first and second derivatives; outside they are held."""

    resolutions: Tensor
    sizes: Tensor
    starts: Tensor

    def __init__(self, config: GridConfig) -> None:
        super().__init__()
        self.config = config
        resolutions = torch.tensor(config.resolutions())
        sizes = ((resolutions + 2) ** 3).clamp_max(1 << config.log2_entries)
        self.register_buffer("resolutions", resolutions, persistent=False)
        self.register_buffer("sizes", sizes, persistent=False)
        self.register_buffer("starts", sizes.cumsum(0) - sizes, persistent=False)
        total = int(sizes.sum())
        self.table = nn.Parameter((torch.rand(total, config.num_features) * 2 - 1) * _INITIAL)

    def forward(self, points: Tensor, order: int = 0) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Features [N, C] of `points` [N, 3] in 0..1, their Jacobians [N, C, 3] and Hessians [N, C, 3, 3].

        `order` says how many derivatives are wanted; the others are None. Features and Jacobians are
        differentiable in the table and in the points; Hessians in neither by the CPU's kernels.
        """
        points = points.clamp(0, 1)
        if kernels.take(points) and points.dtype == torch.float32:
            return self._by_kernels(points, order)
        return self.reference(points, order)

    def _by_kernels(self, points: Tensor, order: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
        from engine.train.fields import grid_kernels

        if order >= 2:
            with torch.no_grad():
                layout = self._layout()
                return grid_kernels.encode(points.detach().contiguous(), self.table.detach(), layout, 2)
        features, jacobian = _Encode.apply(points, self.table, self._layout(), order)
        return features, jacobian if order else None, None

    def _layout(self) -> tuple[Any, Any, Any]:
        return self.resolutions.numpy(), self.sizes.numpy(), self.starts.numpy()

    def reference(self, points: Tensor, order: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The same in plain torch, on any device and in any precision; differentiable throughout."""
        size = self.resolutions[:, None].to(points)  # [L, 1]
        scaled = points[:, None] * size  # [N, L, 3]
        cell = torch.minimum(scaled.detach().floor(), size - 1)
        t = scaled - cell
        # How entries are weighted for the value and its derivatives along an axis: [N, L, 3 axes, 3 taps, K].
        orders = [torch.stack([0.5 * (1 - t) ** 2, 0.5 + t - t * t, 0.5 * t * t], -1)]
        if order > 0:
            orders.append(torch.stack([t - 1, 1 - 2 * t, t], -1) * size[..., None])
        if order > 1:
            one = torch.ones_like(t)
            orders.append(torch.stack([one, -2 * one, one], -1) * size[..., None] ** 2)
        x, y, z = torch.stack(orders, -1).unbind(2)
        index = self._indices(cell.long())
        # Not table[index]: the gradient of that sorts its rows.
        rows = self.table.index_select(0, index.flatten()).view(*index.shape, -1).to(points)
        # One axis after the other, every order along each: [N, L, x, y, z, F] -> [N, L, K, K, K, F].
        mixed = (rows[..., None, :] * z[:, :, None, None, :, :, None]).sum(4)
        mixed = (mixed[:, :, :, :, None] * y[:, :, None, :, :, None, None]).sum(3)
        mixed = (mixed[:, :, :, None] * x[:, :, :, :, None, None, None]).sum(2)

        def taken(*places: tuple[int, int, int]) -> Tensor:
            return torch.stack([mixed[:, :, i, j, k].flatten(1) for i, j, k in places], -1)

        features = mixed[:, :, 0, 0, 0].flatten(1)
        if order == 0:
            return features, None, None
        jacobian = taken((1, 0, 0), (0, 1, 0), (0, 0, 1))
        if order == 1:
            return features, jacobian, None
        xy, xz, yz = (1, 1, 0), (1, 0, 1), (0, 1, 1)
        hessian = taken((2, 0, 0), xy, xz, xy, (0, 2, 0), yz, xz, yz, (0, 0, 2))
        return features, jacobian, hessian.unflatten(-1, (3, 3))

    def _indices(self, cell: Tensor) -> Tensor:
        """Rows of the table [N, L, 3, 3, 3] for the entries around cells [N, L, 3]."""
        taps = cell[..., None] + torch.arange(3, device=cell.device)  # [N, L, axis, tap]
        x = taps[:, :, 0, :, None, None]
        y = taps[:, :, 1, None, :, None]
        z = taps[:, :, 2, None, None, :]
        side = (self.resolutions + 2)[:, None, None, None]
        size = self.sizes[:, None, None, None]
        hashed = (x * _PRIMES[0]) ^ (y * _PRIMES[1]) ^ (z * _PRIMES[2])
        dense = x + side * (y + side * z)
        return torch.where(side**3 <= size, dense, hashed % size) + self.starts[:, None, None, None]


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, table: Tensor, layout: Any, order: int) -> tuple[Tensor, Tensor]:
        from engine.train.fields import grid_kernels

        points = points.contiguous()
        features, jacobian, _ = grid_kernels.encode(points, table, layout, order)
        ctx.save_for_backward(points, table)
        ctx.layout, ctx.order = layout, order
        return features, features.new_zeros(0) if jacobian is None else jacobian

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        from engine.train.fields import grid_kernels

        points, table = ctx.saved_tensors
        of_points, of_table = ctx.needs_input_grad[:2]
        jacobian = gradients[1].contiguous() if ctx.order else None
        features = gradients[0].contiguous()
        return (
            grid_kernels.to_points(points, table, ctx.layout, features, jacobian) if of_points else None,
            grid_kernels.to_table(points, table, ctx.layout, features, jacobian) if of_table else None,
            None,
            None,
        )
