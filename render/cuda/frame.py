"""One frame's buffers on the device and the launches that fill them.

Why four kernels and no global sort. A frame of 100k Gaussians moves some 20 MB, 5 us of an H200's memory
and most of it in the L2 cache; a graph's node costs 1 to 2 us, so nodes are what there is to save. Each
Gaussian's triangle is worked out again for it instead of once in a kernel before (100k * 150 operations:
under 1 us). The scan over tiles is done by the last block that counts. The lists are filled in any order by
atomics, which also put the counts back to zero. The block that draws a tile sorts its own list in shared
memory, by depth and index: keys are unique, so the result does not depend on the order in which the list
was filled. A radix sort of all pairs would be at least 8 nodes and 8 passes over the pairs. A list of more
than 2,048 is sorted by its block too, in place, by merging pieces of that size.
bench/results/cuda_predictions.md counts the bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.cuda.device import Device
from render.cuda.drawable import Drawable
from render.cuda.layout import JOINT_FLOATS, LAYOUTS, THREADS, TILE, DrawableStruct, FrameStruct
from render.yuv import Colorspace, yuv_matrix

Layout = Literal["rgb8", "yuv420", "nv12", "float"]
_VERTICES_OF_A_BLOCK = 32  # RIG_VERTICES of kernels/rig.cu


@dataclass(frozen=True)
class Statistics:
    """What a renderer has done so far."""

    pairs: int  # Gaussian-tile pairs of the last frame, of the picture in the batch that had most
    capacity: int  # pairs a picture has memory for
    overflows: int  # frames that had more pairs than that
    frames: int
    captures: int  # graphs recorded: 1 and one more for every change of capacity; `CudaRenderer` records none


def picture_shape(layout: Layout, width: int, height: int) -> tuple[int, ...]:
    """Shape of a picture. Raises ValueError when YUV is asked of an odd side."""
    if layout == "rgb8":
        return height, width, 3
    if layout == "float":
        return height, width, 4
    if width % 2 or height % 2:
        raise ValueError(f"YUV 4:2:0 needs even sides, got {width}x{height}")
    return height * 3 // 2, width


class Frame:
    """Buffers of a batch of pictures of one size; `launch` draws them.

    `largest` is the layout that takes most bytes of those that will be asked for. Raises ValueError for a
    size or a batch that the kernels do not draw.
    """

    def __init__(
        self, device: Device, width: int, height: int, batch: int, largest: Layout, capacity: int
    ) -> None:
        if not (1 <= width <= 32767 and 1 <= height <= 32767):
            raise ValueError(f"picture size must be 1 to 32767 pixels a side, got {width}x{height}")
        if not 1 <= batch <= 65535:
            raise ValueError(f"a batch has 1 to 65535 pictures, got {batch}")
        self.width, self.height, self.batch = width, height, batch
        self._device = device
        self._kept: dict[str, Tensor] = {}
        self._drawables: list[Drawable] = []  # whose arrays the kernels read
        tiles_x, tiles_y = -(-width // TILE), -(-height // TILE)
        self._tiles = tiles_x * tiles_y
        self.struct = FrameStruct(width=width, height=height, tiles_x=tiles_x, tiles_y=tiles_y)
        self.struct.picture_stride = -(-_num_bytes(largest, width, height) // 16) * 16
        # The pair counts stand behind the pictures, so that one copy brings both to the host.
        self.result = self._empty("picture", batch * self.struct.picture_stride + 4 * batch, torch.uint8)
        self.struct.pairs = self.struct.picture + batch * self.struct.picture_stride
        self.result[-4 * batch :] = 0
        self._empty("tile_counts", batch * self._tiles, torch.int32).zero_()
        self._empty("tickets", batch, torch.int32).zero_()
        self._empty("tile_starts", batch * (self._tiles + 1), torch.int32)
        self._background = self._empty("background", height * width * 3, torch.uint8)
        self._shown: NDArray[np.uint8] | None = None
        self._kernels: tuple[tuple[str, int], ...] = ()
        self.reserve(capacity)

    def reserve(self, capacity: int) -> None:
        """Memory for that many pairs a picture; what was recorded before is no longer valid."""
        self._empty("keys", self.batch * capacity, torch.int64)
        self.struct.capacity = capacity

    def set_layout(self, layout: Layout, colorspace: Colorspace) -> None:
        self.struct.layout = LAYOUTS[layout]
        self.struct.yuv[:] = yuv_matrix(colorspace).reshape(-1).tolist()

    def set_drawables(self, drawables: list[Drawable]) -> None:
        """One drawable for each picture, all of one kind; makes room for their Gaussians and rigs."""
        surfel = drawables[0].is_surfel
        structs = [drawable.struct for drawable in drawables]
        raw = bytearray((DrawableStruct * len(structs))(*structs))
        self._drawables = drawables
        self._kept["drawables"] = torch.frombuffer(raw, dtype=torch.uint8).to(self._device.device)
        self.struct.drawables = self._kept["drawables"].data_ptr()
        self._stride("vertices", "vertices_stride", max(3 * s.num_vertices for s in structs))
        self._stride("joints", "joints_stride", max(JOINT_FLOATS * s.num_joints for s in structs))
        self._stride("coefficients", "coefficients_stride", max(s.num_coefficients for s in structs))
        most = max(drawable.num_gaussians for drawable in drawables)
        planes = 4 if surfel else 3
        if "records" not in self._kept or self._kept["records"].numel() < self.batch * most * planes * 4:
            self._empty("records", self.batch * most * planes * 4, torch.float32)
        self.struct.num_records = most
        kind = "surfels" if surfel else "gaussians"
        rig_blocks = [1 + -(-s.num_vertices // _VERTICES_OF_A_BLOCK) for s in structs if s.num_joints]
        rig = (("pose_rig", max(rig_blocks)),) if rig_blocks else ()
        self._kernels = (
            *rig,
            (f"place_{kind}", max(1, *(drawable.blocks for drawable in drawables))),
            (f"list_{kind}", max(1, -(-most // THREADS))),
            (f"draw_{kind}", self._tiles),
        )

    def set_parameters(self, params: Tensor) -> None:
        """Where the kernels read the pictures' parameters, float32 [B, P] on the device."""
        self._kept["params"] = params
        self.struct.params, self.struct.params_stride = params.data_ptr(), params.shape[1]

    def show_background(self, picture: NDArray[np.uint8]) -> None:
        """Copy the background picture to the device, unless it is the array of last time."""
        if picture is self._shown:
            return
        if picture.shape != (self.height, self.width, 3):
            raise ValueError(
                f"the background must be {self.height}x{self.width}x3 or a colour, got {picture.shape}"
            )
        plain = np.array(picture)  # its own, contiguous and writable: torch warns of the others
        self._background.copy_(torch.from_numpy(plain).reshape(-1))
        self._shown = picture

    def pictures(self, result: Tensor, layout: Layout) -> Tensor:
        """The pictures [B, ...] in `result` or in a copy of it, a view."""
        shape = picture_shape(layout, self.width, self.height)
        size = _num_bytes(layout, self.width, self.height)
        each = result[: -4 * self.batch].view(self.batch, -1)[:, :size]
        return (each.view(torch.float32) if layout == "float" else each).unflatten(1, shape)

    def pairs(self, result: Tensor) -> Tensor:
        """The pictures' pairs, int32 [B], likewise."""
        return result[-4 * self.batch :].view(torch.int32)

    def launch(self) -> None:
        """Start the kernels of one frame."""
        for kernel, blocks in self._kernels:
            self._device.launch(kernel, blocks, self.batch, self.struct)

    def close(self) -> None:
        """Give the memory back; nothing may be launched afterwards."""
        self._kept.clear()
        self._drawables = []
        self._shown = None
        self._kernels = ()
        self.result = self._background = torch.empty(0, dtype=torch.uint8)

    def _stride(self, name: str, stride: str, size: int) -> None:
        self._empty(name, self.batch * size, torch.float32)
        setattr(self.struct, stride, size)

    def _empty(self, name: str, size: int, kind: torch.dtype) -> Tensor:
        tensor = self._kept[name] = torch.empty(size, dtype=kind, device=self._device.device)
        setattr(self.struct, name, tensor.data_ptr())
        return tensor


def _num_bytes(layout: Layout, width: int, height: int) -> int:
    return math.prod(picture_shape(layout, width, height)) * (4 if layout == "float" else 1)
