"""The two steps of a picture as autograd functions: Gaussians -> splats, splats -> maps.

They meet in `means_px`, which is therefore a tensor of the graph: its gradient is that of the screen means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from render.cpu.gradients.layout import (
    ALL_PLANES,
    CHUNK,
    COLOUR_PLANES,
    LANES,
    RECORD,
    TILE,
    TILE_BLOCKS,
)
from render.cpu.gradients.lists import list_by_row
from render.cpu.gradients.project import project_chunks, project_chunks_backward
from render.cpu.gradients.raster import raster_rows, raster_rows_backward, sum_pairs

Floats = NDArray[np.float32]
OnAllThreads = Callable[[Callable[[], Any]], None]
"""Runs a job that takes its work from a counter on every thread, and returns when all is done."""

_NO_PICTURE, _NO_MAP = np.empty((0, 0, 0), np.float32), np.empty((0, 0), np.float32)


@dataclass(frozen=True)
class View:
    """What is constant in a picture. `camera`: the numbers of layout.py, float64."""

    camera: NDArray[np.float64]
    width: int
    height: int
    antialiased: bool
    is_surfel: bool
    geometry: bool  # depth, normal and distortion too
    threads: int
    on_all_threads: OnAllThreads


class ProjectGaussians(torch.autograd.Function):
    """means, quats, log_scales, logit_opacities, sh, sh_quats ([N, 0]: none), world_to_camera
    -> screen means [N, 2] and splat records [N, RECORD]; render/cpu/gradients/layout.py has their columns.
    """

    @staticmethod
    def forward(ctx: Any, view: View, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        inputs = _arrays(tensors[:6])
        num = len(inputs[0])
        means_px, records = np.empty((num, 2), np.float32), np.empty((num, RECORD), np.float32)
        counter = np.zeros(1, np.int64)
        view.on_all_threads(
            lambda: project_chunks(counter, *inputs, view.camera, view.antialiased, means_px, records)
        )
        results = torch.from_numpy(means_px), torch.from_numpy(records)
        ctx.save_for_backward(*tensors, *results)
        ctx.view = view
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_means_px: Tensor | None, d_records: Tensor | None) -> tuple[Tensor | None, ...]:
        view: View = ctx.view
        *tensors, means_px, records = ctx.saved_tensors
        num = len(means_px)
        inputs = _arrays(tensors[:6])
        chunks = (num + CHUNK - 1) // CHUNK
        of_camera = ctx.needs_input_grad[7]
        d_cameras = np.zeros((chunks, 12 if of_camera else 0))
        outputs = [np.zeros_like(array) for array in inputs]
        counter = np.zeros(1, np.int64)
        splats = (
            means_px.numpy(),
            records.numpy(),
            np.zeros((num, 2), np.float32) if d_means_px is None else _array(d_means_px),
            np.zeros((num, RECORD), np.float32) if d_records is None else _array(d_records),
        )
        view.on_all_threads(
            lambda: project_chunks_backward(
                counter, *inputs, view.camera, view.antialiased, *splats, *outputs, d_cameras
            )
        )
        gradients: list[Tensor | None] = [
            torch.from_numpy(array).reshape(tensor.shape) if needed else None
            for array, tensor, needed in zip(outputs, tensors[:6], ctx.needs_input_grad[1:7], strict=True)
        ]
        return None, *gradients, _camera_gradient(d_cameras, tensors[6]) if of_camera else None


class RasterSplats(torch.autograd.Function):
    """Screen means, records and a background [H or 1, W or 1, 3] -> rgb, alpha, depth, normal, distortion."""

    @staticmethod
    def forward(
        ctx: Any, view: View, means_px: Tensor, records: Tensor, background: Tensor
    ) -> tuple[Tensor, ...]:
        height, width = view.height, view.width
        tile_rows, tiles = (height + TILE - 1) // TILE, (width + TILE - 1) // TILE
        row_starts, members = list_by_row(records.numpy(), tile_rows)
        planes = ALL_PLANES if view.geometry else COLOUR_PLANES
        sums = np.empty((tile_rows, tiles, TILE_BLOCKS * planes * LANES), np.float32)
        batches = np.empty((tile_rows, tiles, TILE_BLOCKS), np.int32)
        picture, plane = (height, width, 3), (height, width)
        shapes = [
            picture,
            plane,
            *([plane, picture, plane] if view.geometry else [(0, 0), (0, 0, 0), (0, 0)]),
        ]
        maps = [np.empty(shape, np.float32) for shape in shapes]
        splats = row_starts, members, means_px.numpy(), records.numpy(), _array(background)
        counter = np.zeros(1, np.int64)
        view.on_all_threads(
            lambda: raster_rows(counter, view.is_surfel, view.geometry, *splats, sums, batches, *maps)
        )
        ctx.save_for_backward(means_px, records, background)
        ctx.view, ctx.lists, ctx.sums, ctx.batches = view, (row_starts, members), sums, batches
        ctx.set_materialize_grads(False)
        return tuple(map(torch.from_numpy, maps))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_maps: Tensor | None) -> tuple[Tensor | None, ...]:
        view: View = ctx.view
        means_px, records, background = ctx.saved_tensors
        row_starts, members = ctx.lists
        height, width, num = view.height, view.width, len(means_px)
        d_rgb, d_alpha, d_depth, d_normal, d_distortion = (None if d is None else _array(d) for d in d_maps)
        geometry = view.geometry and not (d_depth is None and d_normal is None and d_distortion is None)
        gradients = (
            np.zeros((height, width, 3), np.float32) if d_rgb is None else d_rgb,
            np.zeros((height, width), np.float32) if d_alpha is None else d_alpha,
            _NO_MAP if d_depth is None else d_depth,
            _NO_PICTURE if d_normal is None else d_normal,
            _NO_MAP if d_distortion is None else d_distortion,
        )
        modes = view.is_surfel, view.geometry, geometry
        d_pairs = np.empty((len(members), RECORD), np.float32)
        d_records = np.empty((num, RECORD), np.float32)
        splats = row_starts, members, means_px.numpy(), records.numpy(), _array(background)
        counter = np.zeros(1, np.int64)
        view.on_all_threads(
            lambda: raster_rows_backward(counter, *modes, *splats, ctx.sums, ctx.batches, *gradients, d_pairs)
        )
        share = max(1, (num + view.threads - 1) // view.threads)
        counter_of_sums = np.zeros(1, np.int64)
        view.on_all_threads(lambda: sum_pairs(counter_of_sums, share, members, d_pairs, d_records))
        d_splats = torch.from_numpy(d_records)
        d_background = None
        if ctx.needs_input_grad[3] and d_maps[0] is not None:
            through = _transmittance(ctx.sums, view)
            d_background = (d_maps[0] * through[..., None]).sum_to_size(background.shape)
        return None, d_splats[:, :2].contiguous(), d_splats, d_background


def _array(tensor: Tensor) -> Floats:
    return tensor.detach().contiguous().numpy()


def _arrays(tensors: Any) -> list[Floats]:
    """The Gaussians' tensors as the kernels take them: harmonics as one row for each Gaussian."""
    return [_array(t.flatten(1)) if t.ndim == 3 else _array(t) for t in tensors]


def _camera_gradient(d_cameras: NDArray[np.float64], world_to_camera: Tensor) -> Tensor:
    total = torch.from_numpy(d_cameras.sum(0)).to(world_to_camera)
    gradient = torch.zeros_like(world_to_camera)
    gradient[:3, :3], gradient[:3, 3] = total[:9].reshape(3, 3), total[9:]
    return gradient


def _transmittance(sums: Floats, view: View) -> Tensor:
    """[H, W] from the tiles' sums."""
    tile_rows, tiles, _ = sums.shape
    first = torch.from_numpy(sums).reshape(tile_rows, tiles, TILE_BLOCKS, -1, LANES)[:, :, :, 0]
    # [rows, tiles, 2 columns, 8 rows of blocks, 2 rows, 8 columns] -> picture
    blocks = first.reshape(tile_rows, tiles, 2, 8, 2, 8).permute(0, 3, 4, 1, 2, 5)
    return blocks.reshape(tile_rows * TILE, tiles * TILE)[: view.height, : view.width]
