"""Splat records -> pixels: the second kernel of a frame.

A job is one row of 16x16 tiles: sort the row's splats by depth, list them by tile, blend tile after tile in
L1, write the finished tile in the asked format. The jobs are handed out by a counter, so threads never wait
for one another, and a row's result does not depend on who draws it.
"""

from __future__ import annotations

import numpy as np

from render.cpu.blend import BATCH, blend_block, blend_surfel_block, find_rows, open_blocks, splats_of_block
from render.cpu.lanes import (
    BLOCK_FLOATS,
    BLOCK_HEIGHT,
    BLOCK_WIDTH,
    LANES,
    STRIP_FLOATS,
    TILE,
    TILE_FLOATS,
    float_bits,
    kernel,
    take_ticket,
)
from render.cpu.layout import (
    BEND,
    CHUNK,
    COLUMNS,
    DEPTH,
    MEAN_X,
    MEAN_Y,
    REACH,
    RECORD,
    ROWS,
    SLOPE,
    TOP,
)
from render.cpu.write import (
    FLOAT_RGBA,
    YUV420,
    composite,
    write_floats,
    write_rgb8,
    write_yuv420,
)
from render.splatting import EXIT_TRANSMITTANCE

DIGIT_BITS = 11
DIGITS = 1 << DIGIT_BITS
SIDE_BY_SIDE = 3  # tiles of a row that a splat is listed in without asking
STRIP_BLOCKS = STRIP_FLOATS // BLOCK_FLOATS
TILE_BLOCKS = TILE_FLOATS // BLOCK_FLOATS

F = np.float32


@kernel
def _gather_row(row, num, records, row_slots, row_starts, row_records, spans, keys):
    """Copy a row's records from all chunks, in the order of their indices, to where the cache keeps them.

    Fills `row_records` [RECORD per splat], `spans` (last and first tile, 16 bits each) and int64 `keys`: the
    depth in the upper half, less that of the nearest splat, and the place in `row_records` in the lower.
    Returns the number of splats and the greatest depth.
    """
    tile_rows = row_starts.shape[1] - 1
    total = 0
    least = np.int32(0x7FFFFFFF)
    most = np.int32(0)
    for chunk in range((num + CHUNK - 1) // CHUNK):
        base = chunk * CHUNK * tile_rows
        for k in range(base + row_starts[chunk, row], base + row_starts[chunk, row + 1]):
            source, target = np.int64(row_slots[k]) * RECORD, total * RECORD
            for column in range(RECORD):
                row_records[target + column] = records[source + column]
            depth = float_bits(records[source + DEPTH])
            least, most = min(least, depth), max(most, depth)
            keys[total] = (np.int64(depth) << 32) | np.int64(total)
            spans[total] = (float_bits(records[source + COLUMNS]) >> 4) & 0xFFF0FFF
            total += 1
    offset = np.int64(least) << 32
    for k in range(total):
        keys[k] -= offset
    return total, np.int64(most) - np.int64(least)


@kernel
def _sort(keys, other, total, most, histogram):
    """Stable radix sort of `keys`[:total] by the upper half, at most `most`; the array with the result."""
    shift = 32
    while most > 0:
        histogram[:] = 0
        for k in range(total):
            histogram[(keys[k] >> shift) & (DIGITS - 1)] += 1
        below = 0
        for d in range(DIGITS):
            here = histogram[d]
            histogram[d] = below
            below += here
        for k in range(total):
            key = keys[k]
            d = (key >> shift) & (DIGITS - 1)
            other[histogram[d]] = key
            histogram[d] += 1
        keys, other = other, keys
        shift += DIGIT_BITS
        most >>= DIGIT_BITS
    return keys


@kernel
def _list_by_tile(keys, total, spans, tile_starts, tile_ends, tile_places):
    """Splats of each tile of the row, front to back: tile_places[tile_starts[t] : tile_ends[t]].

    A splat is written to SIDE_BY_SIDE tiles whether it reaches them or not, and counted where it does: a loop
    of one to three turns would be mispredicted most of the time. So each list has one entry to spare behind
    it, and there are lists behind the last tile.
    """
    tiles = tile_starts.shape[0]
    tile_ends[:] = 0
    for k in range(total):
        tile_ends[spans[k] & 0xFFFF] += 1
        tile_ends[(spans[k] >> 16) + 1] -= 1
    place = reaching = 0
    for tile in range(tiles):
        reaching += tile_ends[tile]
        tile_starts[tile] = tile_ends[tile] = place
        place += reaching + 1
    tile_ends[tiles:] = place
    for k in range(total):
        at = np.int32(keys[k] & 0xFFFFFFFF)
        first, last = np.int64(spans[at] & 0xFFFF), np.int64(spans[at] >> 16)
        for tile in range(first, first + SIDE_BY_SIDE):
            end = tile_ends[tile]
            tile_places[end] = at
            tile_ends[tile] = end + (tile <= last)
        for tile in range(first + SIDE_BY_SIDE, last + 1):
            tile_places[tile_ends[tile]] = at
            tile_ends[tile] += 1


@kernel
def _take_batch(x0, y0, places, first, last, records, surfel, open_bits, batch, blocks, rows):
    """Copy the records of a batch side by side and find the blocks that each splat touches.

    Fills `batch` [BATCH * RECORD] with means counted from the tile's first pixel, and `blocks` [BATCH]: bit i
    stands for block i of the tile. Blocks that no light passes, of `open_bits`, are left out.
    """
    for k in range(last - first):
        at, target = np.int64(places[first + k]) * RECORD, k * RECORD
        for column in range(RECORD):
            batch[target + column] = records[at + column]
        batch[target + MEAN_X] -= F(x0)
        batch[target + MEAN_Y] -= F(y0)
        columns = float_bits(records[at + COLUMNS])
        if surfel:  # the whole box
            box = float_bits(records[at + ROWS])
            begin = max(np.int64(box & 0xFFFF) - y0, 0) // BLOCK_HEIGHT
            end = min(np.int64(box >> 16) - y0, TILE - 1) // BLOCK_HEIGHT
            rows[0], rows[1], rows[2], rows[3] = begin, end, begin, end
        else:
            mean_x, mean_y, reach = batch[target + MEAN_X], batch[target + MEAN_Y], batch[target + REACH]
            slope, top, bend = batch[target + SLOPE], batch[target + TOP], batch[target + BEND]
            find_rows(rows, 0, -mean_x, mean_y, slope, top, reach, bend)
        left = max((1 << (rows[1] + 1)) - (1 << rows[0]), 0)
        right = max((1 << (rows[3] + 1)) - (1 << rows[2]), 0) << STRIP_BLOCKS
        left = left if (columns & 0xFFFF) < x0 + BLOCK_WIDTH else 0
        right = right if (columns >> 16) >= x0 + BLOCK_WIDTH else 0
        blocks[k] = (left | right) & open_bits
    for k in range(last - first, BATCH):
        blocks[k] = 0


@kernel
def _blend_tile(tile, x0, y0, places, first, last, records, surfel, batch, blocks, rows):
    """Blend splats front to back into the flat `tile` whose first pixel is (x0, y0)."""
    open_bits = np.int32((1 << TILE_BLOCKS) - 1)
    for start in range(first, last, BATCH):
        if start > first:
            open_bits = open_blocks(tile, F(EXIT_TRANSMITTANCE))
            if open_bits == 0:
                break
        stop = min(start + BATCH, last)
        _take_batch(x0, y0, places, start, stop, records, surfel, open_bits, batch, blocks, rows)
        for block in range(TILE_BLOCKS):
            splats = splats_of_block(blocks, np.int32(block))
            if splats == 0:
                continue
            x, y = F(block // STRIP_BLOCKS * BLOCK_WIDTH), F(block % STRIP_BLOCKS * BLOCK_HEIGHT)
            if surfel:
                blend_surfel_block(tile, block * BLOCK_FLOATS, batch, splats, x, y)
            else:
                blend_block(tile, block * BLOCK_FLOATS, batch, splats, x, y)


@kernel
def raster_rows(
    counter, num, surfel, row_order, records, row_slots, row_starts,
    row_records, spans, keys, other_keys, histogram, tile_places, tile_starts, tile_ends,
    tile, batch, blocks, rows, staging,
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
        total, most = _gather_row(row, num, records, row_slots, row_starts, row_records, spans, keys)
        order = _sort(keys, other_keys, total, most, histogram)
        _list_by_tile(order, total, spans, tile_starts, tile_ends, tile_places)
        y0 = row * TILE
        for t in range(tiles):
            x0 = t * TILE
            for k in range(TILE_FLOATS):
                tile[k] = F(1) if k % BLOCK_FLOATS >= 3 * LANES else F(0)
            first, last = tile_starts[t], tile_ends[t]
            _blend_tile(tile, x0, y0, tile_places, first, last, row_records, surfel, batch, blocks, rows)
            if layout == FLOAT_RGBA:
                write_floats(tile, x0, y0, width, height, floats_out)
            else:
                composite(tile, staging, x0, y0, width, height, colour, picture)
                if layout == YUV420:
                    write_yuv420(tile, staging, x0, y0, width, height, yuv_matrix, bytes_out)
                else:
                    write_rgb8(tile, staging, x0, y0, width, height, bytes_out)
