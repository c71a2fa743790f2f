"""How much each Gaussian adds to a picture: the largest weight, alpha times transmittance, at any pixel.

The rules are those of render/splatting.py. Nothing but the transmittance is blended, and for every splat and
block of pixels the greatest of the block's weights is kept.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numpy.typing import NDArray

from render.camera import Camera
from render.camera_floats import camera_floats
from render.cpu.gradients.layout import (
    BLOCK_HEIGHT,
    BLOCK_WIDTH,
    COLUMN_BLOCKS,
    COLUMNS,
    CONIC_A,
    CONIC_B,
    CONIC_C,
    LANES,
    LOG2_OPACITY,
    RECORD,
    ROWS,
    TILE,
    TILE_BLOCKS,
    kernel,
)
from render.cpu.gradients.lists import list_by_row, list_by_tile
from render.cpu.gradients.project import project_chunks
from render.cpu.lanes import FLOATS, I32, INTS, VECTOR, Ops, element_pointer, float_bits, lane_operation
from render.gaussians import Gaussians
from render.splatting import ALPHA_MAX, ALPHA_MIN

Floats = NDArray[np.float32]

_OPEN_CHECK = 16  # splats after which a tile looks for blocks that no light passes any more
_HALF = np.float32(0.5)


@lane_operation
def _weigh_block(typingctx, through, at, record, x, y):
    """Blend a splat over a block's transmittance through[at : at + LANES]; returns its greatest weight.

    `record` [RECORD], (x, y) from the splat's mean to the block's first pixel.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        through, at, record, x, y = args
        ops = Ops(builder)
        pointer = element_pointer(context, builder, signature.args[0], through, at)
        start = element_pointer(context, builder, signature.args[2], record, ir.Constant(ir.IntType(64), 0))

        def column(index: int) -> ir.Value:
            return ops.splat(builder.load(builder.gep(start, [ir.Constant(I32, index)])))

        dx = builder.fadd(ops.splat(x), ops.consts([i % BLOCK_WIDTH for i in range(LANES)]))
        dy = builder.fadd(ops.splat(y), ops.consts([i // BLOCK_WIDTH for i in range(LANES)]))
        across = ops.muladd(column(CONIC_B), dy, builder.fmul(column(CONIC_A), dx))
        down = builder.fmul(column(CONIC_C), dy)
        power = ops.muladd(across, dx, ops.muladd(down, dy, column(LOG2_OPACITY)))
        alpha = ops.smaller(ops.exp2(power), ops.const(ALPHA_MAX))
        drawn = builder.fcmp_ordered(">=", power, ops.const(math.log2(ALPHA_MIN)))
        before = ops.load(pointer, 0)
        weight = builder.select(drawn, builder.fmul(alpha, before), ops.const(0.0))
        ops.store(builder.fsub(before, weight), pointer, 0)
        # Bits of floats that are not negative order like integers.
        largest = builder.bitcast(weight, INTS)
        step = LANES // 2
        while step:
            there = builder.shuffle_vector(
                largest, largest, ir.Constant(INTS, [i ^ step for i in range(LANES)])
            )
            largest = builder.select(builder.icmp_signed(">", largest, there), largest, there)
            step //= 2
        return builder.extract_element(builder.bitcast(largest, VECTOR), ir.Constant(I32, 0))

    return types.float32(FLOATS, types.int64, FLOATS, types.float32, types.float32), generate


@kernel
def _weigh_tile(x0, y0, places, members, means_px, records, least, through, is_open, largest):
    for k in range(through.shape[0]):
        through[k] = np.float32(1)
    for block in range(TILE_BLOCKS):
        is_open[block] = True
    for k in range(places.shape[0]):
        if k % _OPEN_CHECK == 0:
            any_open = False
            for block in range(TILE_BLOCKS):
                most = np.float32(0)
                for lane in range(LANES):
                    most = max(most, through[block * LANES + lane])
                is_open[block] = most >= least
                any_open |= is_open[block]
            if not any_open:
                return
        i = members[places[k]]
        rows, columns = float_bits(records[i, ROWS]), float_bits(records[i, COLUMNS])
        top = max(np.int32(rows & 0xFFFF) - y0, 0) // BLOCK_HEIGHT
        bottom = min(np.int32(rows >> 16) - y0, TILE - 1) // BLOCK_HEIGHT
        left = max(np.int32(columns & 0xFFFF) - x0, 0) // BLOCK_WIDTH
        right = min(np.int32(columns >> 16) - x0, TILE - 1) // BLOCK_WIDTH
        x, y = np.float32(x0) + _HALF - means_px[i, 0], np.float32(y0) + _HALF - means_px[i, 1]
        for across in range(left, right + 1):
            for down in range(top, bottom + 1):
                block = across * COLUMN_BLOCKS + down
                if is_open[block]:
                    weight = _weigh_block(
                        through, block * LANES, records[i],
                        x + np.float32(across * BLOCK_WIDTH), y + np.float32(down * BLOCK_HEIGHT),
                    )  # fmt: skip
                    largest[i] = max(largest[i], weight)


@kernel
def _weigh_rows(row_starts, members, means_px, records, tiles, least, largest):
    tile_starts, places = np.empty(tiles + 1, np.int64), np.empty(0, np.int32)
    through, is_open = np.empty(TILE_BLOCKS * LANES, np.float32), np.empty(TILE_BLOCKS, np.bool_)
    for row in range(row_starts.shape[0] - 1):
        mine = members[row_starts[row] : row_starts[row + 1]]
        places = list_by_tile(mine, records, tile_starts, places)
        for tile in range(tiles):
            here = places[tile_starts[tile] : tile_starts[tile + 1]]
            _weigh_tile(
                tile * TILE, row * TILE, here, mine, means_px, records, least, through, is_open, largest
            )  # fmt: skip


def largest_weights(gaussians: Gaussians, camera: Camera, least: float) -> Floats:
    """The greatest share [N] of any pixel's colour that each 3D Gaussian gives; 0 where it is not drawn.

    Weights below `least` may come out smaller than they are: a block of pixels ends where less light than
    that is left. Uses one core and does not hold the GIL for long. Raises ValueError for surfels, and when
    the picture's sides are no multiples of 16 pixels.
    """
    if gaussians.is_surfel:
        raise ValueError("weights are measured of 3D Gaussians, these are surfels")
    if camera.width % TILE or camera.height % TILE:
        raise ValueError(f"the picture must be made of whole tiles, {camera.width}x{camera.height} is not")
    g, num = gaussians, gaussians.num_gaussians
    means_px, records = np.empty((num, 2), np.float32), np.empty((num, RECORD), np.float32)
    grey, no_quats = np.zeros((num, 3), np.float32), np.empty((num, 0), np.float32)
    shape = (t.numpy() for t in (g.means, g.quats, g.log_scales, g.logit_opacities))
    view = camera_floats(camera).astype(np.float64)
    project_chunks(np.zeros(1, np.int64), *shape, grey, no_quats, view, g.antialiased, means_px, records)
    row_starts, members = list_by_row(records, camera.height // TILE)
    largest = np.zeros(num, np.float32)
    _weigh_rows(row_starts, members, means_px, records, camera.width // TILE, least, largest)
    return largest
