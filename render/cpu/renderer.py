"""The CPU renderer: two numba kernels a frame on own threads, straight to the bytes an encoder takes."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.camera import Camera
from render.camera_floats import camera_floats
from render.cpu.blend import BATCH, BATCH_ROW
from render.cpu.lanes import LANES, STRIPS, TILE_FLOATS, TILE_HEIGHT, TILE_WIDTH
from render.cpu.layout import BLOCK, CHUNK, PLANES, RECORD, SIDE_BY_SIDE
from render.cpu.project import project_chunks, row_slots_per_chunk
from render.cpu.raster import DIGITS, raster_rows
from render.cpu.write import FLOAT_RGBA, RGB8, STAGING_BYTES, YUV420
from render.drawing import Background
from render.gaussians import Gaussians
from render.renderer import RenderOutput
from render.yuv import Colorspace, yuv_matrix

Bytes = NDArray[np.uint8]


class CpuRenderer:
    """Draws Gaussians at one size on the CPU; deterministic, whatever the number of threads.

    Not for use by several threads at once: the workspace belongs to the frame being drawn. It grows with the
    largest set of Gaussians seen and is kept; a frame allocates nothing but its result, and not even that
    when `out` is given. Sets on another device, or not float32, are refused.
    """

    def __init__(self, width: int, height: int, num_threads: int | None = None) -> None:
        if not (1 <= width <= 32767 and 1 <= height <= 32767):
            raise ValueError(f"picture size must be 1 to 32767 pixels a side, got {width}x{height}")
        self.width, self.height = width, height
        self.num_threads = num_threads or usable_cores()
        self._pool = ThreadPoolExecutor(max(1, self.num_threads - 1), thread_name_prefix="splat")
        self._tile_rows = (height + TILE_HEIGHT - 1) // TILE_HEIGHT
        self._rows = np.arange(self._tile_rows)
        self._tiles = (width + TILE_WIDTH - 1) // TILE_WIDTH
        self._workspace = _Workspace(0, self._tile_rows, self._tiles, self.num_threads)
        self._no_bytes = np.zeros(0, np.uint8)
        self._no_floats = np.zeros(0, np.float32)
        self._no_quats = np.zeros(0, np.float32)
        # Of the last picture: the kernels leave cold caches, in which every line of Python costs.
        self._view: tuple[Camera, NDArray[np.float32]] | None = None
        self._matrices: dict[Colorspace, NDArray[np.float32]] = {}

    def render(self, gaussians: Gaussians, camera: Camera, background: Tensor | None = None) -> RenderOutput:
        """`background`: [3] colour or [H, W, 3] picture in 0..1; None is black. No depth, no normals."""
        out = np.empty((self.height, self.width, 4), np.float32)
        self._draw(gaussians, camera, FLOAT_RGBA, (0.0, 0.0, 0.0), self._no_floats, self._no_bytes, out)
        rgb, alpha = torch.from_numpy(out).split([3, 1], 2)
        if background is not None:
            rgb = rgb + (1 - alpha) * background
        return RenderOutput(rgb, alpha[..., 0])

    def render_rgb8(
        self, gaussians: Gaussians, camera: Camera, background: Background, out: Bytes | None = None
    ) -> Bytes:
        """uint8 [H, W, 3], written to `out` when given."""
        out = self._output(out, (self.height, self.width, 3))
        self._draw(gaussians, camera, RGB8, background, self._no_floats, out, self._no_floats)
        return out

    def render_yuv420(
        self,
        gaussians: Gaussians,
        camera: Camera,
        background: Background,
        out: Bytes | None = None,
        *,
        colorspace: Colorspace = "bt709",
    ) -> Bytes:
        """Planar I420 in limited range, uint8 [H * 3 / 2, W], written to `out` when given.

        Raises ValueError when the picture has an odd side.
        """
        if self.width % 2 or self.height % 2:
            raise ValueError(f"YUV 4:2:0 needs even sides, got {self.width}x{self.height}")
        out = self._output(out, (self.height * 3 // 2, self.width))
        matrix = self._matrices.get(colorspace)
        if matrix is None:
            matrix = self._matrices[colorspace] = yuv_matrix(colorspace).reshape(-1)
        self._draw(gaussians, camera, YUV420, background, matrix, out, self._no_floats)
        return out

    def close(self) -> None:
        """End the threads; the renderer cannot draw afterwards."""
        self._pool.shutdown()

    def _output(self, out: Bytes | None, shape: tuple[int, ...]) -> Bytes:
        if out is None:
            return np.empty(shape, np.uint8)
        if out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
            raise ValueError(f"out must be contiguous uint8 {shape}, got {out.dtype} {out.shape}")
        return out

    def _draw(
        self,
        gaussians: Gaussians,
        camera: Camera,
        layout: int,
        background: Background,
        matrix: NDArray[np.float32],
        bytes_out: Bytes,
        floats_out: NDArray[np.float32],
    ) -> None:
        if (camera.width, camera.height) != (self.width, self.height):
            raise ValueError(
                f"the camera's picture is {camera.width}x{camera.height}, "
                f"the renderer's {self.width}x{self.height}; use camera.resized"
            )
        g, num = gaussians, gaussians.num_gaussians
        work = self._workspace
        if num > work.capacity:
            capacity = max(num, work.capacity * 3 // 2)
            work = self._workspace = _Workspace(capacity, self._tile_rows, self._tiles, self.num_threads)
        sh_quats = self._no_quats if g.sh_quats is None else _array(g.sh_quats)
        arrays = (*map(_array, (g.means, g.quats, g.log_scales, g.logit_opacities, g.sh)), sh_quats)
        if self._view is None or self._view[0] is not camera:
            self._view = camera, camera_floats(camera)
        view, colour, picture = self._view[1], *self._background(background)
        counter = np.zeros(2, np.int64)
        self._on_all_threads(
            lambda t: project_chunks(
                counter[:1], g.is_surfel, *arrays, view, g.antialiased,
                t.planes, t.row_spans, work.records, work.depths, work.spans,
                work.row_slots, work.row_starts, work.row_ends,
            )
        )  # fmt: skip
        row_order = self._row_order((num + CHUNK - 1) // CHUNK)
        self._on_all_threads(
            lambda t: raster_rows(
                counter[1:], num, g.is_surfel, row_order, work.records, work.depths, work.spans,
                work.row_slots, work.row_starts, work.row_ends, t.keys, t.other_keys, t.histogram,
                t.tile_places, t.tile_starts, t.tile_ends,
                t.tile, t.dimmed, t.batch, t.blocks, t.taken, t.staging,
                self.width, self.height, layout, colour, picture, matrix,
                bytes_out.reshape(-1), floats_out.reshape(-1),
            )
        )  # fmt: skip

    def _row_order(self, chunks: int) -> NDArray[np.int64]:
        """The tile rows, longest first, so that threads finish together."""
        if self.num_threads == 1:
            return self._rows
        work = self._workspace
        sizes = (work.row_ends[:chunks] - work.row_starts[:chunks])[:, : self._tile_rows].sum(0)
        return np.argsort(-sizes, kind="stable")

    def _background(self, background: Background) -> tuple[NDArray[np.float32], Bytes]:
        if isinstance(background, np.ndarray) and background.dtype == np.uint8:
            if background.shape != (self.height, self.width, 3):
                raise ValueError(
                    f"the background must be {self.height}x{self.width}x3 or a colour, got {background.shape}"
                )
            picture = np.ascontiguousarray(background)
            return np.zeros(3, np.float32), (picture if picture.flags.writeable else picture.copy()).reshape(
                -1
            )
        colour = np.array(background, np.float32)
        if colour.shape != (3,):
            raise ValueError(f"the background must be three numbers or a uint8 picture, got {colour.shape}")
        return colour, self._no_bytes

    def _on_all_threads(self, job: Callable[[_ThreadSpace], Any]) -> None:
        """Run `job` here and on the pool; a thread the system did not start in time is simply not needed."""
        spaces = self._workspace.threads
        others = [self._pool.submit(job, space) for space in spaces[1:]]
        job(spaces[0])
        for other in others:
            if not other.cancel():
                other.result()


class _ThreadSpace:
    """Scratch of one thread."""

    def __init__(self, capacity: int, tiles: int) -> None:
        self.planes = np.empty(PLANES * BLOCK, np.float32)
        self.keys = np.empty(capacity, np.int64)
        self.other_keys = np.empty(capacity, np.int64)
        self.row_spans = np.empty(CHUNK, np.int32)
        self.tile_places = np.zeros((capacity + 1) * tiles + 1 + 2 * LANES, np.int32)
        self.tile_starts = np.empty(tiles, np.int64)
        self.tile_ends = np.empty(tiles + SIDE_BY_SIDE, np.int64)
        self.histogram = np.empty(DIGITS, np.int32)
        self.tile = _aligned(TILE_FLOATS)
        self.dimmed = np.empty(STRIPS, np.float32)
        self.batch = _aligned(BATCH * BATCH_ROW)
        self.blocks, self.taken = np.empty(BATCH, np.int32), np.empty(BATCH, np.int32)
        self.staging = np.zeros(STAGING_BYTES, np.uint8)


class _Workspace:
    """Buffers for `capacity` Gaussians, sized for the worst case; the system backs only touched pages."""

    def __init__(self, capacity: int, tile_rows: int, tiles: int, num_threads: int) -> None:
        self.capacity = capacity
        chunks = (capacity + CHUNK - 1) // CHUNK
        self.records = _aligned((capacity + LANES) * RECORD)  # they are written by sixteen
        self.depths, self.spans = np.empty(capacity, np.int32), np.empty(capacity, np.int32)
        self.row_slots = np.empty(chunks * row_slots_per_chunk(tile_rows), np.int32)
        self.row_starts, self.row_ends = np.zeros((2, chunks, tile_rows + SIDE_BY_SIDE), np.int32)
        self.threads = [_ThreadSpace(capacity, tiles) for _ in range(num_threads)]


def _aligned(size: int) -> NDArray[np.float32]:
    """float32 that starts on a cache line."""
    raw = np.empty(size * 4 + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size * 4].view(np.float32)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    """The tensor's own memory, flat, because constant strides vectorise; a copy if it is not contiguous."""
    if tensor.device.type != "cpu" or tensor.dtype != torch.float32:
        raise ValueError(f"the CPU renderer draws float32 on the CPU, got {tensor.dtype} on {tensor.device}")
    return tensor.detach().contiguous().numpy().reshape(-1)


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
