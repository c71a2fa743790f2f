"""Avatars to pictures on the GPU: parameters in, pictures out, one captured graph in between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.avatars.avatar import Avatar
from render.camera import Camera
from render.camera_floats import camera_floats
from render.cuda.capacity import SMALLEST, Capacity
from render.cuda.device import Device, Marker, Recording, open_device
from render.cuda.drawable import avatar_drawable
from render.cuda.frame import Frame, Layout, Statistics
from render.cuda.layout import BACKGROUND
from render.cuda.parameters import num_floats, write_background, write_pose
from render.rigs.params import RigParams
from render.yuv import Colorspace

if TYPE_CHECKING:
    from render.drawing import Background

_FRAMES_UNDER_WAY = 2


class AvatarRenderer:
    """Poses and draws a fixed batch of avatars at one size; a frame is an upload, a graph and a read-back.

    Captured in the graph, four kernels whatever the rig and the bindings: `pose_rig` (joints, blendshapes,
    pose correctives, skinning), `place_gaussians` (deformation, binding, projection, harmonics, tile counts
    and their scan), `list_gaussians`, `draw_gaussians` (sort and blend of each tile, background, bytes); for
    surfels the last three are those of surfels.
    Before it, one copy of all parameters and cameras from pinned memory; after it, one copy of the pictures
    with the pair counts to pinned memory, and one wait: the only one of a frame.
    Belongs to one thread at a time. Close it: device memory goes back.
    """

    def __init__(
        self,
        avatar: Avatar | Sequence[Avatar],
        width: int,
        height: int,
        *,
        batch: int = 1,
        layout: Layout = "rgb8",
        colorspace: Colorspace = "bt709",
        device: str | Device = "cuda",
        capacity: int = SMALLEST,
    ) -> None:
        """`avatar`: one for the whole batch, or one for each of its pictures (they may repeat).

        `capacity`: Gaussian-tile pairs that a picture has memory for at first; it grows as needed.
        Raises ValueError when surfels and 3D Gaussians meet in one batch, when a YUV picture has an odd side,
        or when a rig has more than 128 joints; RuntimeError with the line of `available()` when there is no
        usable device.
        """
        avatars = [avatar] * batch if isinstance(avatar, Avatar) else list(avatar)
        if len(avatars) != batch:
            raise ValueError(f"{len(avatars)} avatars for a batch of {batch}")
        if len({a.gaussians.is_surfel for a in avatars}) > 1:
            raise ValueError("a batch holds surfels or 3D Gaussians, not both")
        self.width, self.height, self.batch = width, height, batch
        self._device = open_device(device) if isinstance(device, str) else device
        self._layout: Layout = layout
        self._avatars = avatars
        self._capacity = Capacity(capacity)
        self._frame = Frame(self._device, width, height, batch, layout, capacity)
        self._frame.set_layout(layout, colorspace)
        drawables = {id(a): avatar_drawable(a, self._device.device) for a in avatars}
        self._frame.set_drawables([drawables[id(a)] for a in avatars])
        size = max(num_floats(avatar) for avatar in avatars)
        self._params = torch.empty(batch, size, device=self._device.device)
        self._frame.set_parameters(self._params)
        self._slots = [_Slot(self._device, batch, size) for _ in range(_FRAMES_UNDER_WAY)]
        self._cameras: list[tuple[Camera, NDArray[np.float32]] | None] = [None] * batch
        self._read_back = self._device.pinned(self._frame.result.numel())
        self._graph: Recording | None = None
        self._pairs = self._frames = self._captures = 0

    def draw(
        self, params: Sequence[RigParams], cameras: Sequence[Camera], background: Background
    ) -> NDArray[Any]:
        """Pictures of the batch, [B, ...] in the layout's shape; valid until the next call.

        Layouts: `rgb8` [H, W, 3], `yuv420` (I420) and `nv12` [H * 3 / 2, W] uint8 in limited range, `float`
        [H, W, 4] float32 with premultiplied colour (the background is left out).
        A background picture is copied to the device when another array is given than last time.
        A frame with more pairs than memory was set aside for is drawn again with more before it is returned.
        Raises ValueError when parameters, cameras or background do not fit the renderer.
        """
        slot = self._fill(params, cameras, background)
        while True:
            self._start(slot)
            self._read_back.copy_(self._frame.result, non_blocking=True)
            self._device.mark().wait()
            for each in self._slots:
                self._settle(each)
            room = self._frame.struct.capacity
            if self._pairs <= slot.capacity or room == slot.capacity:
                return self._frame.pictures(self._read_back, self._layout).numpy()

    def launch(
        self, params: Sequence[RigParams], cameras: Sequence[Camera], background: Background
    ) -> Tensor:
        """Start a frame on torch's current stream and wait for nothing: the pictures [B, ...], on the device.

        They are valid until the next call. Two frames may be under way; a third waits for the first of them,
        and pair counts are looked at then: a frame over capacity lacks Gaussians, is counted in
        `statistics.overflows`, and those that follow have room. Raises ValueError as `draw`.
        """
        self._start(self._fill(params, cameras, background))
        return self._frame.pictures(self._frame.result, self._layout)

    def repeat(self) -> None:
        """Draw the last frame again on torch's current stream, from the graph alone, and wait for nothing.

        For measuring. Raises RuntimeError before the first frame, and when memory grew since the last.
        """
        if self._graph is None:
            raise RuntimeError("there is no graph yet: draw a frame first")
        self._graph.launch()

    @property
    def statistics(self) -> Statistics:
        """Pairs, capacity and counters, as of the last frame whose counts have arrived."""
        return Statistics(
            pairs=self._pairs,
            capacity=self._frame.struct.capacity,
            overflows=self._capacity.overflows,
            frames=self._frames,
            captures=self._captures,
        )

    def close(self) -> None:
        """Free the graph and all device memory; closing twice does no harm."""
        self._device.mark().wait()
        self._forget_graph()
        self._frame.close()
        self._slots.clear()
        self._params = self._read_back = torch.empty(0)

    def _fill(self, params: Sequence[RigParams], cameras: Sequence[Camera], background: Background) -> _Slot:
        """The next slot, its last frame settled, with this frame's parameters."""
        if not len(params) == len(cameras) == self.batch:
            raise ValueError(f"{len(params)} poses and {len(cameras)} cameras for a batch of {self.batch}")
        slot = self._slots[self._frames % len(self._slots)]
        self._settle(slot)
        for i, block in enumerate(slot.blocks):
            block[:BACKGROUND] = self._camera(i, cameras[i])
            write_background(block, background)
            write_pose(block, params[i], self._avatars[i])
        if isinstance(background, np.ndarray) and background.ndim == 3:
            self._frame.show_background(background)
        return slot

    def _camera(self, i: int, camera: Camera) -> NDArray[np.float32]:
        kept = self._cameras[i]
        if kept is None or kept[0] is not camera:
            if (camera.width, camera.height) != (self.width, self.height):
                raise ValueError(
                    f"the camera's picture is {camera.width}x{camera.height}, "
                    f"the renderer's {self.width}x{self.height}; use camera.resized"
                )
            kept = self._cameras[i] = (camera, camera_floats(camera))
        return kept[1]

    def _start(self, slot: _Slot) -> None:
        self._params.copy_(slot.upload, non_blocking=True)
        if self._graph is None:
            self._frame.launch()  # once for real: what fails does so here, with its own message
            self._graph = self._device.record(self._frame.launch)
            self._captures += 1
        else:
            self._graph.launch()
        slot.counts.copy_(self._frame.result[-slot.counts.numel() :], non_blocking=True)
        slot.capacity = self._frame.struct.capacity
        slot.marker = self._device.mark()
        self._frames += 1

    def _settle(self, slot: _Slot) -> None:
        """Wait for the slot's frame and learn from its pair counts."""
        if slot.marker is None:
            return
        slot.marker.wait()
        slot.marker = None
        self._pairs = int(self._frame.pairs(slot.counts).max())
        if self._capacity.observe(self._pairs, slot.capacity):
            self._forget_graph()
            self._frame.reserve(self._capacity.pairs)

    def _forget_graph(self) -> None:
        if self._graph is not None:
            self._graph.close()
            self._graph = None


class _Slot:
    """Host memory of one frame under way."""

    def __init__(self, device: Device, batch: int, size: int) -> None:
        self.upload = device.pinned(batch * size * 4).view(torch.float32).view(batch, size)
        self.blocks = self.upload.numpy()
        self.counts = device.pinned(4 * batch)
        self.marker: Marker | None = None
        self.capacity = 0
