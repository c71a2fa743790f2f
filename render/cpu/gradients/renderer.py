"""The differentiable renderer of training without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from render.camera import Camera
from render.camera_floats import camera_numbers
from render.cpu.gradients.functions import ProjectGaussians, RasterSplats, View
from render.cpu.renderer import usable_cores
from render.gaussians import Gaussians
from render.renderer import RenderOutput


class CpuTrainingRenderer:
    """Draws float32 Gaussians at one size with every map, and differentiates what it draws.

    Gradients flow to every Gaussian tensor, to the background and to the camera's `world_to_camera`; maps
    that a loss does not use cost nothing backward. `geometry=False` leaves out depth, normal and distortion,
    which is cheaper. Pictures and gradients do not depend on the number of threads. Colours given directly
    are harmonics of degree 0: sh = (rgb - 0.5) / SH_C0 [N, 1, 3].

    Not for use by several threads at once.
    """

    def __init__(
        self, width: int, height: int, num_threads: int | None = None, *, geometry: bool = True
    ) -> None:
        if not (1 <= width <= 32767 and 1 <= height <= 32767):
            raise ValueError(f"picture size must be 1 to 32767 pixels a side, got {width}x{height}")
        self.width, self.height, self.geometry = width, height, geometry
        self.num_threads = num_threads or usable_cores()
        self._pool = ThreadPoolExecutor(max(1, self.num_threads - 1), thread_name_prefix="train")

    def render(self, gaussians: Gaussians, camera: Camera, background: Tensor | None = None) -> RenderOutput:
        """`background`: [3] colour or [H, W, 3] picture in 0..1; None is black."""
        if (camera.width, camera.height) != (self.width, self.height):
            raise ValueError(
                f"the camera's picture is {camera.width}x{camera.height}, "
                f"the renderer's {self.width}x{self.height}; use camera.resized"
            )
        g = gaussians
        sh_quats = g.means.new_empty(g.num_gaussians, 0) if g.sh_quats is None else g.sh_quats
        tensors = (g.means, g.quats, g.log_scales, g.logit_opacities, g.sh, sh_quats)
        for tensor in tensors:
            if tensor.device.type != "cpu" or tensor.dtype != torch.float32:
                raise ValueError(
                    f"the CPU renderer draws float32 on the CPU, got {tensor.dtype} on {tensor.device}"
                )
        view = View(
            camera_numbers(camera),
            self.width,
            self.height,
            g.antialiased,
            g.is_surfel,
            self.geometry,
            self.num_threads,
            self._on_all_threads,
        )
        means_px, records = ProjectGaussians.apply(view, *tensors, camera.world_to_camera)
        maps = RasterSplats.apply(view, means_px, records, self._background(background))
        rgb, alpha, depth, normal, distortion = maps
        if not self.geometry:
            return RenderOutput(rgb, alpha, means_px=means_px)
        return RenderOutput(rgb, alpha, depth, normal, distortion, means_px)

    def close(self) -> None:
        """End the threads; the renderer cannot draw afterwards."""
        self._pool.shutdown()

    def _background(self, background: Tensor | None) -> Tensor:
        if background is None:
            return torch.zeros(1, 1, 3)
        if background.shape not in ((3,), (self.height, self.width, 3)):
            raise ValueError(
                f"the background must be [3] or [{self.height}, {self.width}, 3], "
                f"got {tuple(background.shape)}"
            )
        return background.float().reshape((1, 1, 3) if background.ndim == 1 else background.shape)

    def _on_all_threads(self, job: Callable[[], Any]) -> None:
        """Run `job` here and on the pool; a thread the system did not start in time is simply not needed."""
        others = [self._pool.submit(job) for _ in range(1, self.num_threads)]
        job()
        for other in others:
            if not other.cancel():
                other.result()
