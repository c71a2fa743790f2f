"""Avatars to pictures on the GPU: parameters in, pictures out, one captured graph in between."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from render.avatar import Avatar
from render.camera import Camera
from render.cpu.renderer import Background
from render.cuda.frame import Colorspace, Layout, Statistics
from render.rigs.params import RigParams


class CudaStage:
    """Poses and draws a fixed batch of avatars at one size; a frame is an upload, a graph and a read-back.

    Captured in the graph, four kernels whatever the rig and the bindings: `pose_rig` (joints, blendshapes,
    pose correctives, skinning), `place_gaussians` (deformation, binding, projection, harmonics, tile counts
    and their scan), `list_tiles`, `draw_gaussians` (sort and blend of each tile, background, bytes).
    Before it, one copy of all parameters and cameras from pinned memory; after it, one copy of the pictures
    to pinned memory with the pair counts behind them, and one wait: the only one of a frame.
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
        device: str = "cuda",
    ) -> None:
        """`avatar`: one for the whole batch, or one for each of its pictures (they may repeat).

        Raises ValueError when surfels and 3D Gaussians meet in one batch, when a YUV picture has an odd side,
        or when a rig has more than 128 joints; RuntimeError with the line of `available()` when there is no
        usable device.
        """
        raise NotImplementedError

    def draw(
        self, params: Sequence[RigParams], cameras: Sequence[Camera], background: Background
    ) -> NDArray[np.uint8]:
        """Pictures of the batch, [B, ...] in the layout's shape; valid until the next call of `draw`.

        Layouts: `rgb8` [H, W, 3], `yuv420` (I420) and `nv12` [H * 3 / 2, W] uint8 in limited range, `float`
        [H, W, 4] float32 with premultiplied colour (the background is left out).
        A background picture is copied to the device when another array is given than last time.
        A frame with more pairs than memory was set aside for is drawn again with more before it is returned.
        """
        raise NotImplementedError

    def launch(
        self, params: Sequence[RigParams], cameras: Sequence[Camera], background: Background
    ) -> Tensor:
        """Start a frame on torch's current stream and wait for nothing: the pictures, on the device.

        They are valid until the next call. Their pair counts are looked at when the next frame starts: a
        frame over capacity lacks Gaussians, is counted in `statistics.overflows`, and the next has room.
        """
        raise NotImplementedError

    @property
    def statistics(self) -> Statistics:
        """Pairs, capacity and counters, as of the last frame whose counts have arrived."""
        raise NotImplementedError

    def close(self) -> None:
        """Free the graph and all device memory; closing twice does no harm."""
        raise NotImplementedError
