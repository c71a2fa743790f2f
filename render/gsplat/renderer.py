"""The differentiable renderer of training on a GPU: our projection, gsplat's rasteriser."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from render.camera import Camera
from render.gaussians import Gaussians
from render.gsplat.kernels import load_gsplat
from render.reference.projection import Splats, project
from render.renderer import RenderOutput

TILE = 16


class GsplatRenderer:
    """Draws Gaussians with gsplat's CUDA kernels, every map, gradients to all inputs.

    The projection is `render.reference.projection`, so that low-pass, opacities, what is not drawn and the
    gradient of screen means are this project's for 3D Gaussians and surfels alike; gsplat's own differs in
    each (its surfels have no opacity compensation, and their disc lies around the middle of the bounding
    box). Colour, the moments of depth and the normal are blended as eight channels.

    One difference is left: gsplat blends values of whole splats, so a surfel's depth is that of its mean, not
    of the point each pixel's ray meets. Its kernels end a pixel at a transmittance of 1e-4.
    """

    def __init__(self, device: torch.device | str = "cuda") -> None:
        """Compiles gsplat's kernels if need be, minutes. Raises GsplatError where they cannot run."""
        self.device = torch.device(device)
        self._gsplat = load_gsplat()

    def render(self, gaussians: Gaussians, camera: Camera, background: Tensor | None = None) -> RenderOutput:
        """`background`: [3] colour or [H, W, 3] picture in 0..1; None is black."""
        means = gaussians.means
        if means.device.type != self.device.type or means.dtype != torch.float32:
            raise ValueError(
                f"gsplat draws float32 on {self.device.type}, got {means.dtype} on {means.device.type}"
            )
        splats, means_px = project(gaussians, camera)
        # As in the reference: squares of the plain depths lose what the distortion is made of.
        origin = splats.depths.detach().sum() / max(len(splats.depths), 1)
        sums, alpha = self._blend(splats, origin, camera)
        return RenderOutput.from_sums(sums, alpha, origin, background, means_px)

    def _blend(self, splats: Splats, origin: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
        """Sums [H, W, 8] of rgb, depth, depth^2 and normal, and alpha [H, W]."""
        width, height = camera.width, camera.height
        if len(splats.depths) == 0:  # the kernels are not made for none
            nothing = splats.means_px.sum()
            return nothing + nothing.new_zeros(height, width, 8), nothing + nothing.new_zeros(height, width)
        depths = (splats.depths - origin)[:, None]
        values = torch.cat([splats.colours, depths, depths * depths, splats.normals], 1)[None]
        means, shapes, opacities = splats.means_px[None], splats.shapes[None], splats.opacities[None]
        lists = self._lists(splats, width, height)
        size: tuple[Any, ...] = (width, height, TILE, *lists)
        if splats.is_surfel:
            sums, alpha, *_ = self._gsplat.rasterize_to_pixels_2dgs(
                means, shapes, values, opacities, splats.normals[None], torch.zeros_like(means), *size
            )
        else:
            sums, alpha = self._gsplat.rasterize_to_pixels(means, shapes, values, opacities, *size)
        return sums[0], alpha[0, ..., 0]

    def _lists(self, splats: Splats, width: int, height: int) -> tuple[Tensor, Tensor]:
        """First splat of each tile [1, rows, columns], and the splats [pairs] tile by tile, front to back.

        gsplat wants boxes as a middle and whole radii; ours need not lie around the mean.
        """
        columns, rows = math.ceil(width / TILE), math.ceil(height / TILE)
        limit = splats.low_px.new_tensor([width, height])
        low = torch.minimum(splats.low_px.clamp_min(-1), limit + 1)
        high = torch.minimum(splats.high_px.clamp_min(-1), limit + 1)
        radii = (0.5 * (high - low)).ceil().clamp_min(1).int()
        _, ids, members = self._gsplat.isect_tiles(
            0.5 * (low + high)[None], radii[None], splats.depths.detach()[None], TILE, columns, rows
        )
        return self._gsplat.isect_offset_encode(ids, 1, columns, rows).reshape(1, rows, columns), members
