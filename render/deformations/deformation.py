"""How an avatar's Gaussians change beyond what their rig does: condition -> coefficients -> deltas."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from render.cpu.changed_rows import ChangedRows
from render.deformations.coefficients import Coefficients
from render.deformations.condition import Condition
from render.gaussians import Gaussians
from render.play import is_play
from render.rigs.rig import Rig

DELTAS = ("d_means", "d_quats", "d_log_scales", "d_logit_opacities", "d_sh0")


@dataclass(frozen=True)
class Deformation:
    """Changes of the canonical Gaussians, added before they are bound: every delta times its coefficient.

    Deltas of means and scales are in the binding's own units (for triangles: of the triangle's frame and
    scale). Deltas of orientations are added to the stored quaternions, whatever their length, and the sum's
    direction counts: it need not be normalised, as a set of Gaussians' need not. Colours stay in the axes
    of the rest pose: a turn by `d_quats` does not turn them. What is None does not change.
    """

    coefficients: Coefficients
    indices: Tensor  # [M] int64 into the avatar's Gaussians, each at most once
    condition: Condition = field(default_factory=Condition)
    d_means: Tensor | None = None  # [B, M, 3]
    d_quats: Tensor | None = None  # [B, M, 4] wxyz
    d_log_scales: Tensor | None = None  # [B, M, 3], or [B, M, 2] for surfels
    d_logit_opacities: Tensor | None = None  # [B, M]
    d_sh0: Tensor | None = None  # [B, M, 3]
    _changed: dict[str, ChangedRows] = field(default_factory=dict, init=False, repr=False, compare=False)

    def deltas(self) -> dict[str, Tensor]:
        """Those there are, by name."""
        return {name: delta for name in DELTAS if (delta := getattr(self, name)) is not None}

    def summary(self) -> str:
        """In words: kind, size, and what it follows beside the expression and controls."""
        c, hidden = self.coefficients, [len(bias) for bias in self.coefficients.biases[:-1]]
        kind = f"MLP of {' and '.join(map(str, hidden))} units" if hidden else "linear"
        parts = [kind, f"{c.num_outputs} rows"]
        if self.condition.joint_units:
            parts.append("follows the joints")
        if self.condition.head_pose:
            parts.append("follows the head's pose")
        return ", ".join(parts)

    def __call__(self, gaussians: Gaussians, condition: Tensor) -> Gaussians:
        g, weights = gaussians, self.coefficients(condition)
        stored = (g.means, g.quats, g.log_scales, g.logit_opacities, g.sh)
        played = is_play(weights, *stored, *self.deltas().values())

        def moved(values: Tensor, deltas: Tensor | None, name: str) -> Tensor:
            if deltas is None:
                return values
            if not played:
                return _add_deltas(values, self.indices, deltas, weights)
            from render.cpu.posing import add_deltas

            changed = self._changed.setdefault(name, ChangedRows())
            return add_deltas(values, self.indices, deltas, weights, changed)

        return replace(
            g,
            means=moved(g.means, self.d_means, "means"),
            quats=moved(g.quats, self.d_quats, "quats"),
            log_scales=moved(g.log_scales, self.d_log_scales, "log_scales"),
            logit_opacities=moved(g.logit_opacities, self.d_logit_opacities, "logit_opacities"),
            sh=moved(g.sh, self.d_sh0, "sh"),  # the first coefficient is the first three numbers of a row
        )

    def check(self, gaussians: Gaussians, rig: Rig) -> None:
        """Raise ValueError when a shape or an index does not fit."""
        inputs, wanted = self.coefficients.num_inputs, self.condition.size(rig)
        if inputs != wanted:
            raise ValueError(f"the deformation takes {inputs} numbers, its condition has {wanted}")
        shapes = self.shapes(gaussians, self.coefficients.num_outputs, len(self.indices))
        for name, tensor in self.deltas().items():
            if tuple(tensor.shape) != shapes[name]:
                raise ValueError(f"deformation {name} has shape {tuple(tensor.shape)}, needs {shapes[name]}")
        num, index = gaussians.num_gaussians, self.indices
        if len(index) and (int(index.min()) < 0 or int(index.max()) >= num):
            raise ValueError(f"the deformation names a Gaussian outside 0..{num - 1}")

    @staticmethod
    def shapes(gaussians: Gaussians, num_coefficients: int, num_moved: int) -> dict[str, tuple[int, ...]]:
        """What shape each delta has for these Gaussians."""
        columns = (3, 4, gaussians.log_scales.shape[1], None, 3)
        each = (num_coefficients, num_moved)
        return {
            name: each if count is None else (*each, count)
            for name, count in zip(DELTAS, columns, strict=True)
        }

    def to(self, device: torch.device | str) -> Deformation:
        moved: dict[str, Any] = {name: delta.to(device) for name, delta in self.deltas().items()}
        return replace(
            self, coefficients=self.coefficients.to(device), indices=self.indices.to(device), **moved
        )


def _add_deltas(values: Tensor, indices: Tensor, deltas: Tensor, weights: Tensor) -> Tensor:
    """[N, ...] plus the weighted sum of `deltas` [B, M, ...] in the first numbers of rows `indices` [M]."""
    rows, change = values.reshape(len(values), -1), (weights @ deltas.flatten(1)).view(len(indices), -1)
    columns = change.shape[1]
    if columns == rows.shape[1]:
        return rows.index_add(0, indices, change).view_as(values)
    moved = rows[:, :columns].index_add(0, indices, change)
    return torch.cat([moved, rows[:, columns:]], 1).view_as(values)
