"""Gaussians on triangles in the world, differentiable in the Gaussians, where the rig's motion is given.

The same as `TriangleBinding.bound_to` in plain torch, which is also differentiable in the rig.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.avatars.bindings import TriangleBinding
from render.cpu.lanes import kernel
from render.cpu.posing import TriangleFrames
from render.gaussians import Gaussians
from render.rigs.rig import PosedRig, Rig

F = np.float32


class TrianglePoser:
    """Poses the Gaussians of one binding on a rig, float32 on the CPU."""

    def __init__(self, rig: Rig, binding: TriangleBinding) -> None:
        self._frames = TriangleFrames.of(rig, binding)

    def frames(self, posed: PosedRig) -> NDArray[np.float32]:
        """The triangles in use in a pose; keep it where the pose comes again."""
        return self._frames.fill(posed)

    def __call__(self, local: Gaussians, frames: NDArray[np.float32]) -> Gaussians:
        """Local Gaussians -> world axes, with gradients to means, quaternions and scales."""
        means, quats, log_scales, turns = _Place.apply(
            local.means, local.quats, local.log_scales, frames, self._frames.slot, local.sh_degree > 0
        )
        return replace(
            local,
            means=means,
            quats=quats,
            log_scales=log_scales,
            sh_quats=turns if local.sh_degree else None,
        )


class _Place(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, means: Tensor, quats: Tensor, log_scales: Tensor, frames: Any, slot: Any, turns: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ctx.frames, ctx.slot = frames, slot
        placed = [torch.empty_like(t) for t in (means, quats, log_scales)]
        turned = quats.new_empty(len(quats) if turns else 0, 4)
        TriangleFrames.place(
            frames,
            slot,
            [t.detach().contiguous().numpy() for t in (means, quats, log_scales)],
            [t.numpy() for t in (*placed, turned)],
        )
        ctx.mark_non_differentiable(turned)
        return placed[0], placed[1], placed[2], turned

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        by_means, by_quats, by_scales = (g.contiguous() for g in gradients[:3])
        local_means, local_quats = torch.empty_like(by_means), torch.empty_like(by_quats)
        _place_backward(
            ctx.frames,
            ctx.slot,
            by_means.numpy(),
            by_quats.numpy(),
            local_means.numpy(),
            local_quats.numpy(),
        )
        return local_means, local_quats, by_scales, None, None, None


@kernel
def _place_backward(table, slot, by_means, by_quats, local_means, local_quats):
    """The transposed scaled rotation and the conjugate quaternion of each Gaussian's triangle."""
    for i in range(slot.shape[0]):
        row = table[slot[i]]
        x, y, z = by_means[i, 0], by_means[i, 1], by_means[i, 2]
        for k in range(3):
            local_means[i, k] = row[3 + k] * x + row[6 + k] * y + row[9 + k] * z
        w, i1, j1, k1 = row[12], -row[13], -row[14], -row[15]
        a, b, c, d = by_quats[i, 0], by_quats[i, 1], by_quats[i, 2], by_quats[i, 3]
        local_quats[i, 0] = w * a - i1 * b - j1 * c - k1 * d
        local_quats[i, 1] = w * b + i1 * a + j1 * d - k1 * c
        local_quats[i, 2] = w * c - i1 * d + j1 * a + k1 * b
        local_quats[i, 3] = w * d + i1 * c - j1 * b + k1 * a
