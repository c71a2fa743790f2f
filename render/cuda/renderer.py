"""Gaussians that are already posed, drawn on the GPU: the `Renderer` of the CUDA back end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from render.camera import Camera
from render.cpu.renderer import Background
from render.cuda.frame import Colorspace, Statistics
from render.gaussians import Gaussians
from render.renderer import RenderOutput

Bytes = NDArray[np.uint8]


class CudaRenderer:
    """Draws Gaussians at one size on the GPU; deterministic: the same set gives the same bytes.

    Three kernels a picture (`place_gaussians`, `list_tiles`, `draw_gaussians`) and no graph, because the
    arrays are others at every call; an avatar is drawn faster by `CudaStage`. Sets on another device are
    copied. The one wait of a call is for its picture and its pair count; a picture with more pairs than
    memory was set aside for is drawn again with more. Belongs to one thread at a time; close it.
    """

    def __init__(self, width: int, height: int, device: str = "cuda") -> None:
        """Raises RuntimeError with the line of `available()` when there is no usable device."""
        raise NotImplementedError

    def render(self, gaussians: Gaussians, camera: Camera, background: Tensor | None = None) -> RenderOutput:
        """`background`: [3] colour or [H, W, 3] picture in 0..1; None is black. On the device; no depth."""
        raise NotImplementedError

    def render_rgb8(
        self, gaussians: Gaussians, camera: Camera, background: Background, out: Bytes | None = None
    ) -> Bytes:
        """uint8 [H, W, 3] on the host, written to `out` when given."""
        raise NotImplementedError

    def render_yuv420(
        self,
        gaussians: Gaussians,
        camera: Camera,
        background: Background,
        out: Bytes | None = None,
        *,
        colorspace: Colorspace = "bt709",
    ) -> Bytes:
        """Planar I420 in limited range, uint8 [H * 3 / 2, W] on the host, written to `out` when given.

        Raises ValueError when the picture has an odd side.
        """
        raise NotImplementedError

    def render_nv12(
        self,
        gaussians: Gaussians,
        camera: Camera,
        background: Background,
        out: Bytes | None = None,
        *,
        colorspace: Colorspace = "bt709",
    ) -> Bytes:
        """As `render_yuv420`, with U and V interleaved, as hardware encoders take it."""
        raise NotImplementedError

    @property
    def statistics(self) -> Statistics:
        """Pairs, capacity and counters, as of the last picture."""
        raise NotImplementedError

    def close(self) -> None:
        """Free all device memory; closing twice does no harm."""
        raise NotImplementedError
