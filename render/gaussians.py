"""Gaussian primitives as a structure of arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussians:
    """3D Gaussians, or 2D surfels when `log_scales` has two columns (the local z axis is the normal).

    Stored values say what they are; `scales()` and `opacities()` give the real ones.
    Colour is real spherical harmonics in the 3DGS convention, rgb = 0.5 + sum(sh * basis(direction)), with
    the direction from the camera centre to the Gaussian, expressed in the frame `sh_quats` rotates to world
    (world itself when None): rotating a Gaussian rotates its highlights without touching coefficients.
    """

    means: Tensor  # [N, 3] metres
    quats: Tensor  # [N, 4] wxyz, need not be normalised
    log_scales: Tensor  # [N, 3] log metres; [N, 2] for surfels
    logit_opacities: Tensor  # [N]
    sh: Tensor  # [N, (degree + 1)^2, 3]
    sh_quats: Tensor | None = None  # [N, 4] wxyz, local-to-world
    # How the opacities were made: for the opacity-compensated low-pass (True), or for the plain dilation of
    # 3DGS and LAM (False); render/splatting.py has both rules. Copies of a set keep it.
    antialiased: bool = True

    @property
    def num_gaussians(self) -> int:
        return int(self.means.shape[0])

    @property
    def sh_degree(self) -> int:
        return {1: 0, 4: 1, 9: 2, 16: 3}[int(self.sh.shape[1])]

    @property
    def is_surfel(self) -> bool:
        return int(self.log_scales.shape[1]) == 2

    def scales(self) -> Tensor:
        """Standard deviations along the local axes, metres, same shape as `log_scales`."""
        return self.log_scales.exp()

    def opacities(self) -> Tensor:
        """Peak opacities in 0..1, [N]."""
        return self.logit_opacities.sigmoid()

    def to(self, device: torch.device | str) -> Gaussians:
        return self._changed(lambda tensor: tensor.to(device))

    def chosen(self, rows: Tensor) -> Gaussians:
        """Some of them, by bool [N] or index, in that order."""
        return self._changed(lambda tensor: tensor[rows])

    def _changed(self, change: Callable[[Tensor], Tensor]) -> Gaussians:
        tensors: dict[str, Any] = {
            f.name: change(v) for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)
        }
        return replace(self, **tensors)

    @staticmethod
    def concat(parts: Sequence[Gaussians]) -> Gaussians:
        """Join sets of one kind and one SH degree. Raises ValueError when they differ."""
        if not parts:
            raise ValueError("concat needs at least one set of Gaussians")
        if len({(p.is_surfel, p.sh_degree, p.sh_quats is None, p.antialiased) for p in parts}) != 1:
            raise ValueError("cannot join Gaussians of different kinds, SH degrees or low-pass rules")
        names = [f.name for f in fields(Gaussians) if isinstance(getattr(parts[0], f.name), Tensor)]
        joined: dict[str, Any] = {name: torch.cat([getattr(p, name) for p in parts]) for name in names}
        return replace(parts[0], **joined)
