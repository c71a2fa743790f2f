"""What every rendering back end offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from render.camera import Camera
from render.gaussians import Gaussians


@dataclass(frozen=True)
class RenderOutput:
    """Float pictures of one camera; a back end leaves out what it was not asked for."""

    rgb: Tensor  # [H, W, 3] in 0..1, composited over the background
    alpha: Tensor  # [H, W] accumulated opacity
    depth: Tensor | None = None  # [H, W] metres along the camera axis, alpha-weighted mean; 0 where empty
    normal: Tensor | None = (
        None  # [H, W, 3] camera axes, alpha-weighted sum of unit normals facing the camera
    )
    distortion: Tensor | None = None  # [H, W] m^2, spread of depth along the ray; render/splatting.py
    # [N, 2] pixels, of every Gaussian given; zero where it has none (behind the camera, not finite). The
    # pictures are drawn from it: after means_px.retain_grad() and backward() its grad is d loss / d means_px.
    means_px: Tensor | None = None

    @classmethod
    def from_sums(
        cls, sums: Tensor, alpha: Tensor, origin: Tensor, background: Tensor | None, means_px: Tensor
    ) -> Self:
        """Pictures from blended sums [H, W, 8] of rgb, depth, depth^2 and normal, and alpha [H, W].

        The sums' depths are measured from `origin` [] metres: squares of the plain depths would lose what the
        distortion is made of.
        """
        rgb, depth, square, normal = sums[..., :3], sums[..., 3], sums[..., 4], sums[..., 5:]
        if background is not None:
            rgb = rgb + (1 - alpha[..., None]) * background.to(rgb)
        covered = alpha > 0
        return cls(
            rgb,
            alpha,
            depth=torch.where(covered, origin + depth / torch.where(covered, alpha, 1), 0),
            normal=normal,
            distortion=alpha * square - depth * depth,
            means_px=means_px,
        )


class Renderer(Protocol):
    """Draws Gaussians. A named back end executes or raises; it never falls back silently."""

    def render(self, gaussians: Gaussians, camera: Camera, background: Tensor | None = None) -> RenderOutput:
        """`background`: [3] colour or [H, W, 3] picture in 0..1; None is black."""
        ...
