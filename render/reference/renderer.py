"""The renderer that defines what the others must draw: plain torch, differentiable, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

from render.camera import Camera
from render.gaussians import Gaussians
from render.reference.projection import Splats, project
from render.renderer import RenderOutput
from render.splatting import ALPHA_MAX, ALPHA_MIN


class ReferenceRenderer:
    """Tile by tile, all splats of a tile at once; exact blending to the last splat, in the Gaussians' dtype.

    Gradients flow to every Gaussian tensor. Made to be read and compared against, not to be fast; a tile
    takes about `tile_px`^2 * `max_splats` * 100 bytes.
    """

    def __init__(self, tile_px: int = 32, max_splats: int = 1024) -> None:
        self.tile_px = tile_px
        self.max_splats = max_splats  # blended in one go; more are blended batch by batch

    def render(self, gaussians: Gaussians, camera: Camera, background: Tensor | None = None) -> RenderOutput:
        """`background`: [3] colour or [H, W, 3] picture in 0..1; None is black."""
        splats, means_px = project(gaussians, camera)
        # Depths counted from here: squares of the plain ones lose what the distortion is made of.
        origin = splats.depths.detach().sum() / max(len(splats.depths), 1)
        size = self.tile_px
        rows = [
            torch.cat(
                [
                    self._tile(
                        splats, origin, x, y, min(size, camera.width - x), min(size, camera.height - y)
                    )
                    for x in range(0, camera.width, size)
                ],
                1,
            )
            for y in range(0, camera.height, size)
        ]
        picture = torch.cat(rows, 0)
        return RenderOutput.from_sums(picture[..., :8], picture[..., 8], origin, background, means_px)

    def _tile(self, splats: Splats, origin: Tensor, x0: int, y0: int, width: int, height: int) -> Tensor:
        """Blended [height, width, 9] of the pixels from (x0, y0): the sums of `from_sums`, then alpha."""
        like = splats.means_px
        ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        pixels = torch.stack([xs + x0, ys + y0], -1).reshape(-1, 2).to(like) + 0.5
        low, high = pixels[0], pixels[-1]
        touching = ((splats.high_px >= low) & (splats.low_px <= high)).all(1).nonzero()[:, 0]
        sums = like.new_zeros(len(pixels), 9)
        transmittance = like.new_ones(len(pixels), 1)
        for batch in touching.split(self.max_splats):
            part, transmittance = _blend(splats.take(batch), origin, pixels, transmittance)
            sums = sums + part
        return sums.reshape(height, width, 9)


def _blend(splats: Splats, origin: Tensor, pixels: Tensor, transmittance: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted sums [P, 9] of splats behind `transmittance` [P, 1], and the transmittance behind them."""
    rho, depths = splats.squared_distances(pixels)
    alpha = (splats.opacities * torch.exp(-0.5 * rho)).clamp_max(ALPHA_MAX)
    alpha = torch.where(alpha >= ALPHA_MIN, alpha, 0)
    through = torch.cat([transmittance, transmittance * (1 - alpha).cumprod(1)], 1)
    weights = through[:, :-1] * alpha
    depths = torch.where(alpha > 0, depths - origin, 0)
    moments = torch.stack([(weights * depths).sum(1), (weights * depths * depths).sum(1)], 1)
    total = weights.sum(1, keepdim=True)
    sums = torch.cat([weights @ splats.colours, moments, weights @ splats.normals, total], 1)
    return sums, through[:, -1:]
