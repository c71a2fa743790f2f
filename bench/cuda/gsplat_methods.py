"""gsplat drawing an avatar, to compare with: stock and eager, and as far as its kernels go in a CUDA graph.

Both pose with this project's torch code, blend over a colour, and leave RGB8 on the device, as ours does
before it reads back. Nothing here runs without a device; `fixed_pairs`, the one part of gsplat that a graph
cannot hold and that is therefore replaced, is plain torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from render.avatars.avatar import Avatar
from render.camera import Camera
from render.gaussians import Gaussians
from render.gsplat.kernels import load_gsplat
from render.rigs.params import RigParams

TILE = 16
HEADROOM = 1.25  # of the pairs a graph has memory for over those of its first pose


class GsplatEager:
    """`gsplat.rasterization` (or `_2dgs`) as its documentation has it, on a batch of poses of one avatar."""

    def __init__(self, avatar: Avatar, camera: Camera, batch: int, background: tuple[float, ...]) -> None:
        """Raises GsplatError when gsplat cannot run here."""
        self._gsplat = load_gsplat()
        self._avatar = avatar.to("cuda")
        self._camera = camera
        self._views = camera.world_to_camera.cuda().expand(batch, 1, 4, 4).contiguous()
        self._intrinsics = intrinsics(camera).cuda().expand(batch, 1, 3, 3).contiguous()
        self._background = torch.tensor(background, device="cuda")

    @torch.no_grad()
    def __call__(self, params: Sequence[RigParams]) -> Tensor:
        """uint8 [B, H, W, 3] on the device."""
        posed = [self._avatar.pose(on_device(one)) for one in params]
        means, quats, opacities = (
            torch.stack([getattr(g, name) for g in posed]) for name in ("means", "quats", "logit_opacities")
        )
        scales = torch.stack([scales_3d(g) for g in posed])
        colours = torch.stack([g.sh for g in posed])
        degree = posed[0].sh_degree
        arrays = (means, quats, scales, opacities.sigmoid(), colours, self._views, self._intrinsics)
        size = (self._camera.width, self._camera.height)
        if posed[0].is_surfel:
            rgb, alpha = self._gsplat.rasterization_2dgs(*arrays, *size, sh_degree=degree)[:2]
        else:
            mode = "antialiased" if posed[0].antialiased else "classic"
            rgb, alpha = self._gsplat.rasterization(*arrays, *size, sh_degree=degree, rasterize_mode=mode)[:2]
        # its own `backgrounds` does not take a batch in packed mode, the default
        return to_bytes(rgb + (1 - alpha) * self._background)[:, 0]


class GsplatCaptured:
    """The same picture of one pose from one CUDA graph: gsplat's kernels, with `fixed_pairs` between them."""

    def __init__(
        self, avatar: Avatar, camera: Camera, params: RigParams, background: tuple[float, ...]
    ) -> None:
        """`params`: a pose whose number of pairs is typical. Raises GsplatError as `GsplatEager`."""
        self._gsplat = load_gsplat()
        self._avatar = avatar.to("cuda")
        self._camera = camera
        self._view = camera.world_to_camera.cuda()[None]
        self._position = camera.position().cuda()
        self._intrinsics = intrinsics(camera).cuda()[None]
        self._background = torch.tensor([background], device="cuda")
        self._params = on_device(params)
        self.capacity = 0
        with torch.no_grad():
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # allocates and loads everything before the capture
                total = int(self._draw(1 << 16)[1])
                self.capacity = math.ceil(HEADROOM * max(1, total) / 4096) * 4096
                self._draw(self.capacity)
            torch.cuda.current_stream().wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._picture, self._total = self._draw(self.capacity)

    def __call__(self, params: Sequence[RigParams]) -> Tensor:
        """uint8 [1, H, W, 3] on the device; overwritten by the next call."""
        (one,) = params
        self._params.expression.copy_(one.expression, non_blocking=True)
        self._params.pose.copy_(one.pose, non_blocking=True)
        self._params.translation.copy_(one.translation, non_blocking=True)
        self._graph.replay()
        return self._picture

    @property
    def over_capacity(self) -> bool:
        """Whether the last picture lacks pairs; waits for it."""
        return int(self._total) > self.capacity

    def _draw(self, capacity: int) -> tuple[Tensor, Tensor]:
        """The picture, and how many pairs it has."""
        g, camera, gsplat = self._avatar.pose(self._params), self._camera, self._gsplat
        arrays = (g.quats, scales_3d(g), self._view, self._intrinsics, camera.width, camera.height)
        opacities = g.logit_opacities.sigmoid()[None]
        if g.is_surfel:
            radii, means_px, depths, shapes, normals = gsplat.fully_fused_projection_2dgs(g.means, *arrays)
        else:
            radii, means_px, depths, shapes, shares = gsplat.fully_fused_projection(
                g.means, None, *arrays, calc_compensations=g.antialiased
            )
            if g.antialiased:
                opacities = opacities * shares
        directions = g.means - self._position
        colours = (gsplat.spherical_harmonics(g.sh_degree, directions, g.sh) + 0.5).clamp_min(0)[None]
        across, down = math.ceil(camera.width / TILE), math.ceil(camera.height / TILE)
        keys, ids, total = fixed_pairs(means_px[0], radii[0], depths[0], across, down, capacity)
        # one row of tiles more than the picture has, where the unused pairs lie
        offsets = gsplat.isect_offset_encode(keys, 1, across, down + 1)
        size = (camera.width, camera.height, TILE, offsets, ids)
        if g.is_surfel:
            rgb = gsplat.rasterize_to_pixels_2dgs(
                means_px, shapes, colours, opacities, normals, torch.zeros_like(means_px), *size,
                backgrounds=self._background,
            )[0]  # fmt: skip
        else:
            rgb = gsplat.rasterize_to_pixels(
                means_px, shapes, colours, opacities, *size, backgrounds=self._background
            )[0]
        return to_bytes(rgb), total


def fixed_pairs(
    means_px: Tensor, radii: Tensor, depths: Tensor, across: int, down: int, capacity: int
) -> tuple[Tensor, Tensor, Tensor]:
    """What gsplat's `isect_tiles` gives, in arrays of a fixed length and without a value read on the host.

    `means_px` [N, 2], `radii` [N, 2] int (0: not drawn), `depths` [N] above 0; `across` x `down` tiles.
    Returns keys [capacity] int64 (tile in the high, depth in the low 32 bits; sorted), ids [capacity] int32
    of the Gaussians, and the number of pairs there are, [] int64. Unused pairs have the tile behind the last
    and id 0; pairs beyond the capacity are left out.
    """
    # column by column: a tensor of the limits would be a copy from the host, which a graph cannot hold
    low, high = ((means_px - radii) / TILE).floor().long(), ((means_px + radii) / TILE).ceil().long()
    left, top = low[:, 0].clamp(0, across), low[:, 1].clamp(0, down)
    columns = (high[:, 0].clamp(0, across) - left).clamp_min(0)
    counts = columns * (high[:, 1].clamp(0, down) - top).clamp_min(0) * (radii > 0).all(1)
    ends = counts.cumsum(0)
    slots = torch.arange(capacity, device=means_px.device)
    ids = torch.searchsorted(ends, slots, right=True).clamp_max(len(ends) - 1)
    place = slots - (ends - counts)[ids]
    width = columns[ids].clamp_min(1)
    tiles = (top[ids] + place // width) * across + left[ids] + place % width
    used = slots < ends[-1]
    bits = depths.contiguous().view(torch.int32)[ids].long()  # positive floats sort as integers
    keys = torch.where(used, (tiles << 32) | bits, across * down << 32)
    keys, order = keys.sort()
    return keys, torch.where(used, ids, 0)[order].int(), ends[-1]


def intrinsics(camera: Camera) -> Tensor:
    """[3, 3]."""
    return torch.tensor([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])


def scales_3d(gaussians: Gaussians) -> Tensor:
    """Scales [N, 3]: gsplat's surfels have a third one, which it does not look at."""
    scales = gaussians.scales()
    return torch.nn.functional.pad(scales, (0, 1), value=1.0) if gaussians.is_surfel else scales


def to_bytes(rgb: Tensor) -> Tensor:
    """Colours in 0..1 as bytes, rounded."""
    return (rgb.clamp(0, 1) * 255 + 0.5).byte()


def on_device(params: RigParams) -> RigParams:
    """The same pose on the graphics card."""
    return replace(
        params,
        expression=params.expression.cuda(),
        pose=params.pose.cuda(),
        translation=params.translation.cuda(),
    )
