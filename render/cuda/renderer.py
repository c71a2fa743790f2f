"""Gaussians that are already posed, drawn on the GPU: the `Renderer` of the CUDA back end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.camera import Camera
from render.camera_floats import camera_floats
from render.cuda.capacity import SMALLEST, Capacity
from render.cuda.device import Device, open_device
from render.cuda.drawable import posed_drawable
from render.cuda.frame import Frame, Layout, Statistics, picture_shape
from render.cuda.layout import BACKGROUND, POSE
from render.cuda.parameters import write_background
from render.gaussians import Gaussians
from render.renderer import RenderOutput
from render.yuv import Colorspace

if TYPE_CHECKING:
    from render.drawing import Background

Bytes = NDArray[np.uint8]


class CudaRenderer:
    """Draws Gaussians at one size on the GPU; deterministic: the same set gives the same bytes.

    Three kernels a picture (`place_gaussians`, `list_gaussians`, `draw_gaussians`, or those of surfels) and
    no graph, because the arrays are others at every call; `AvatarRenderer` draws an avatar faster. Sets on
    another device are copied. The one wait of a call is for its picture and its pair count; a picture with
    more pairs than memory was set aside for is drawn again with more. Belongs to one thread at a time; close
    it.
    """

    def __init__(
        self, width: int, height: int, device: str | Device = "cuda", *, capacity: int = SMALLEST
    ) -> None:
        """`capacity`: Gaussian-tile pairs there is memory for at first; it grows as needed.

        Raises RuntimeError with the line of `available()` when there is no usable device.
        """
        self._device = open_device(device) if isinstance(device, str) else device
        self.width, self.height = width, height
        self._capacity = Capacity(capacity)
        self._frame = Frame(self._device, width, height, 1, "float", capacity)
        self._pairs = self._frames = 0

    def render(self, gaussians: Gaussians, camera: Camera, background: Tensor | None = None) -> RenderOutput:
        """`background`: [3] colour or [H, W, 3] picture in 0..1; None is black. On the device; no depth."""
        self._draw(gaussians, camera, None, "float")
        rgb, alpha = self._frame.pictures(self._frame.result, "float")[0].clone().split([3, 1], 2)
        if background is not None:
            rgb = rgb + (1 - alpha) * background.to(rgb)
        return RenderOutput(rgb, alpha[..., 0])

    def render_rgb8(
        self, gaussians: Gaussians, camera: Camera, background: Background, out: Bytes | None = None
    ) -> Bytes:
        """uint8 [H, W, 3] on the host, written to `out` when given."""
        return self._bytes(gaussians, camera, background, out, "rgb8")

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
        return self._bytes(gaussians, camera, background, out, "yuv420", colorspace)

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
        return self._bytes(gaussians, camera, background, out, "nv12", colorspace)

    @property
    def statistics(self) -> Statistics:
        """Pairs, capacity and counters, as of the last picture."""
        capacity, overflows = self._frame.struct.capacity, self._capacity.overflows
        return Statistics(self._pairs, capacity, overflows, self._frames, captures=0)

    def close(self) -> None:
        """Free all device memory; closing twice does no harm."""
        self._frame.close()

    def _bytes(
        self,
        gaussians: Gaussians,
        camera: Camera,
        background: Background,
        out: Bytes | None,
        layout: Layout,
        colorspace: Colorspace = "bt709",
    ) -> Bytes:
        shape = picture_shape(layout, self.width, self.height)
        if out is None:
            out = np.empty(shape, np.uint8)
        elif out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
            raise ValueError(f"out must be contiguous uint8 {shape}, got {out.dtype} {out.shape}")
        self._draw(gaussians, camera, background, layout, colorspace)
        torch.from_numpy(out).copy_(self._frame.pictures(self._frame.result, layout)[0])
        return out

    def _draw(
        self,
        gaussians: Gaussians,
        camera: Camera,
        background: Background | None,
        layout: Layout,
        colorspace: Colorspace = "bt709",
    ) -> None:
        if (camera.width, camera.height) != (self.width, self.height):
            raise ValueError(
                f"the camera's picture is {camera.width}x{camera.height}, "
                f"the renderer's {self.width}x{self.height}; use camera.resized"
            )
        frame = self._frame
        block = np.zeros(POSE, np.float32)
        block[:BACKGROUND] = camera_floats(camera)
        write_background(block, background)
        if isinstance(background, np.ndarray) and background.ndim == 3:
            frame.show_background(background)
        frame.set_layout(layout, colorspace)
        frame.set_parameters(torch.from_numpy(block)[None].to(self._device.device))
        frame.set_drawables([posed_drawable(gaussians, self._device.device)])
        while True:
            frame.launch()
            self._frames += 1
            self._pairs = int(frame.pairs(frame.result)[0])  # waits for the picture
            had = frame.struct.capacity
            if self._capacity.observe(self._pairs, had):
                frame.reserve(self._capacity.pairs)
            if self._pairs <= had or frame.struct.capacity == had:
                return
