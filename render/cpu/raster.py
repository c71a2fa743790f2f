"""Splat records -> pixels: the second kernel of a frame.

A job is one row of tiles: sort the row's splats by depth, list them by tile, blend tile after tile in
L1, write the finished tile in the asked format. The jobs are handed out by a counter, so threads never wait
for one another, and a row's result does not depend on who draws it.
"""

from __future__ import annotations

import math

import numpy as np

from render.cpu.blend import (
    BATCH,
    BATCH_ROW,
    CENTRE_X,
    CENTRE_Y,
    blend_block,
    blend_surfel_block,
    open_blocks,
    splats_of_block,
    store_polynomials,
    take_touched,
)
from render.cpu.functions import log2_lane
from render.cpu.lanes import (
    BLOCK_FLOATS,
    LANES,
    SIDE,
    STRIP_BLOCKS,
    STRIPS,
    TILE_BLOCKS,
    TILE_FLOATS,
    TILE_HEIGHT,
    TILE_WIDTH,
    at,
    float_bits,
    inlined,
    kernel,
    take_ticket,
)
from render.cpu.layout import (
    BOX_COLUMNS,
    BOX_ROWS,
    CHUNK,
    EXIT_TRANSMITTANCE,
    LEAST_SHARE,
    MEAN_X,
    MEAN_Y,
    RECORD,
    SIDE_BY_SIDE,
)
from render.cpu.write import (
    FLOAT_RGBA,
    YUV420,
    composite,
    write_floats,
    write_rgb8,
    write_yuv420,
)
from render.splatting import ALPHA_MIN

DIGIT_BITS = 11
DIGITS = 1 << DIGIT_BITS
MOST_DROPPED = 3

F = np.float32
_TWO_LN2 = F(2.0 * math.log(2.0))
_DIMMER = F(math.log2(LEAST_SHARE / ALPHA_MIN))


@kernel
def _gather_row(row, num, depths, spans, row_slots, row_starts, row_ends, keys, tile_ends):
    """Collect a row's splats from all chunks, in the order of their indices, and count those of its tiles.

    Fills int64 `keys`: the depth in the upper half, less that of the nearest splat, and the slot in the
    lower. Adds to tile_ends where splats begin (+1) and end (-1) to reach tiles. Returns the number of splats
    and the greatest depth.
    """
    total = 0
    least = np.int32(0x7FFFFFFF)
    most = np.int32(0)
    for chunk in range((num + CHUNK - 1) // CHUNK):
        for k in range(row_starts[chunk, row], row_ends[chunk, row]):
            slot = row_slots[at(k)]
            depth = depths[at(slot)]
            least, most = min(least, depth), max(most, depth)
            keys[at(total)] = (np.int64(depth) << 32) | np.int64(slot)
            total += 1
            span = spans[at(slot)]
            tile_ends[at(span & 0xFFFF)] += 1
            tile_ends[at((span >> 16) + 1)] -= 1
    offset = np.int64(least) << 32
    for k in range(total):
        keys[at(k)] -= offset
    return total, np.int64(most) - np.int64(least)


@kernel
def _sort(keys, other, total, most, histogram):
    """Stable radix sort of `keys`[:total] by the upper half, at most `most`; the array with the result.

    Of a depth up to MOST_DROPPED bits are left out where that saves a pass: a micrometre at a metre.
    """
    shift = 32
    while most >> (2 * DIGIT_BITS) and shift < 32 + MOST_DROPPED:
        most >>= 1
        shift += 1
    while most > 0:
        histogram[:] = 0
        for k in range(total):
            histogram[at((keys[at(k)] >> shift) & (DIGITS - 1))] += 1
        below = 0
        for d in range(DIGITS):
            here = histogram[d]
            histogram[d] = below
            below += here
        for k in range(total):
            key = keys[at(k)]
            d = at((key >> shift) & (DIGITS - 1))
            other[at(histogram[d])] = key
            histogram[d] += 1
        keys, other = other, keys
        shift += DIGIT_BITS
        most >>= DIGIT_BITS
    return keys


@kernel
def _list_by_tile(keys, total, spans, tile_starts, tile_ends, tile_places):
    """Slots of each tile of the row, front to back: tile_places[tile_starts[t] : tile_ends[t]].

    Each list has a place to spare, and there are lists behind the last tile (see SIDE_BY_SIDE).
    """
    tiles = tile_starts.shape[0]
    place = reaching = 0
    for tile in range(tiles):
        reaching += tile_ends[tile]
        tile_starts[tile] = tile_ends[tile] = place
        place += reaching + 1
    tile_ends[tiles:] = place
    for k in range(total):
        slot = np.int32(keys[at(k)] & 0xFFFFFFFF)
        span = spans[at(slot)]
        first, last = np.int64(span & 0xFFFF), np.int64(span >> 16)
        for tile in range(first, first + SIDE_BY_SIDE):
            end = tile_ends[at(tile)]
            tile_places[at(end)] = slot
            tile_ends[at(tile)] = end + (tile <= last)
        for tile in range(first + SIDE_BY_SIDE, last + 1):
            tile_places[at(tile_ends[at(tile)])] = slot
            tile_ends[at(tile)] += 1


@inlined
def _surfel_blocks(records, start, x0, y0):
    """The blocks of a tile in a surfel's box, as `touched_blocks` gives them."""
    rows, columns = float_bits(records[start + BOX_ROWS]), float_bits(records[start + BOX_COLUMNS])
    top, bottom = (
        max(np.int64(rows & 0xFFFF) - y0, 0) // SIDE,
        min(np.int64(rows >> 16) - y0, TILE_HEIGHT - 1) // SIDE,
    )
    left, right = np.int64(columns & 0xFFFF) - x0, np.int64(columns >> 16) - x0
    strip = (1 << (bottom + 1)) - (1 << top)
    touched = 0
    for i in range(STRIPS):
        touched |= strip << (i * STRIP_BLOCKS) if left < (i + 1) * SIDE and right >= i * SIDE else 0
    return np.int32(touched)


@kernel
def _take_batch(x0, y0, places, first, last, records, surfel, open_bits, dimmed, batch, blocks, taken):
    """Put the next splats of a tile side by side that touch one of its blocks that light still passes.

    Fills `batch` [BATCH * BATCH_ROW] and `blocks` [BATCH]: bit i stands for block i of the tile. `taken`
    [BATCH] is scratch. Returns the first place not looked at.
    """
    x, y = F(x0 + CENTRE_X), F(y0 + CENTRE_Y)
    k = 0
    while first < last and k <= BATCH - LANES:
        count = min(LANES, last - first)
        if surfel:
            for j in range(count):
                slot = places[first + j]
                taken[k] = slot
                blocks[k] = _surfel_blocks(records, np.int64(slot) * RECORD, x0, y0) & open_bits
                k += blocks[k] != 0
        else:
            k = take_touched(records, places, first, count, x, y, dimmed, open_bits, taken, blocks, k)
        first += count
    blocks[k:] = 0
    for i in range(k):
        record, row = np.int64(taken[i]) * RECORD, i * BATCH_ROW
        if surfel:
            for column in range(RECORD):
                batch[row + column] = records[record + column]
            batch[row + MEAN_X] -= x
            batch[row + MEAN_Y] -= y
        else:
            store_polynomials(records, record, batch, row, x, y)
    return first


@kernel
def _blend_tile(tile, x0, y0, places, first, last, records, surfel, dimmed, batch, blocks, taken):
    """Blend splats front to back into the flat `tile` whose first pixel is (x0, y0); `dimmed` is scratch."""
    open_bits = np.int32(-1)
    dimmed[:] = F(0)
    while first < last and open_bits != 0:
        first = _take_batch(
            x0, y0, places, first, last, records, surfel, open_bits, dimmed, batch, blocks, taken
        )
        for block in range(TILE_BLOCKS):
            splats = splats_of_block(blocks, np.int32(block))
            if splats == 0:
                continue
            if surfel:
                blend_surfel_block(tile, block, batch, splats)
            else:
                blend_block(tile, block, batch, splats)
        open_bits = open_blocks(tile, F(EXIT_TRANSMITTANCE), dimmed)
        for strip in range(STRIPS):
            least = _DIMMER - log2_lane(max(dimmed[strip], F(1e-6)))
            dimmed[strip] = _TWO_LN2 * max(least, F(0))


@kernel
def raster_rows(
    counter, num, surfel, row_order, records, depths, spans, row_slots, row_starts, row_ends,
    keys, other_keys, histogram, tile_places, tile_starts, tile_ends,
    tile, dimmed, batch, blocks, taken, staging,
    width, height, layout, colour, picture, yuv_matrix, bytes_out, floats_out,
):  # fmt: skip
    """Draw tile rows until `counter` runs out; layout and outputs are those of render/cpu/write.py."""
    tile_rows = row_order.shape[0]
    tiles = tile_starts.shape[0]
    while True:
        job = take_ticket(counter)
        if job >= tile_rows:
            return
        row = row_order[job]
        tile_ends[:] = 0
        total, most = _gather_row(row, num, depths, spans, row_slots, row_starts, row_ends, keys, tile_ends)
        order = _sort(keys, other_keys, total, most, histogram)
        _list_by_tile(order, total, spans, tile_starts, tile_ends, tile_places)
        y0 = row * TILE_HEIGHT
        for t in range(tiles):
            x0 = t * TILE_WIDTH
            for k in range(TILE_FLOATS):
                tile[k] = F(1) if k % BLOCK_FLOATS >= 3 * LANES else F(0)
            first, last = tile_starts[t], tile_ends[t]
            _blend_tile(tile, x0, y0, tile_places, first, last, records, surfel, dimmed, batch, blocks, taken)
            if layout == FLOAT_RGBA:
                write_floats(tile, x0, y0, width, height, floats_out)
            else:
                composite(tile, staging, x0, y0, width, height, colour, picture)
                if layout == YUV420:
                    write_yuv420(tile, staging, x0, y0, width, height, yuv_matrix, bytes_out)
                else:
                    write_rgb8(tile, staging, x0, y0, width, height, bytes_out)
