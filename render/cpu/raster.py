"""Splat records -> pixels: the second kernel of a frame.

A job is one row of 16x16 tiles: sort the row's splats by depth, list them by tile, blend tile after tile in
L1, write the finished tile in the asked format. The jobs are handed out by a counter, so threads never wait
for one another, and a row's result does not depend on who draws it.
"""

from __future__ import annotations

import numpy as np

from render.cpu.lanes import (
    BLOCK_FLOATS,
    BLOCK_HEIGHT,
    BLOCK_WIDTH,
    LANES,
    STRIP_FLOATS,
    TILE,
    TILE_FLOATS,
    blend_block,
    blend_surfel_block,
    find_rows,
    float_bits,
    inlined,
    kernel,
    open_blocks,
    take_ticket,
)
from render.cpu.layout import (
    BEND,
    BLUE,
    CHUNK,
    COLUMNS,
    CONIC_A,
    CONIC_B,
    CONIC_C,
    GREEN,
    LOG2_OPACITY,
    MEAN_X,
    MEAN_Y,
    REACH,
    RECORD,
    RED,
    ROWS,
    SLOPE,
    TILT_X,
    TILT_Y,
    TOP,
)
from render.cpu.write import (
    FLOAT_RGBA,
    RGBA8,
    YUV420,
    composite,
    write_floats,
    write_rgb8,
    write_rgba8,
    write_yuv420,
)
from render.splatting import EXIT_TRANSMITTANCE

DIGIT_BITS = 11
DIGITS = 1 << DIGIT_BITS
SIDE_BY_SIDE = 3  # tiles of a row that a splat is listed in without asking
STRIP_BLOCKS = STRIP_FLOATS // BLOCK_FLOATS
BATCH = 32  # splats between two looks at what light still passes

F = np.float32


@kernel
def _gather_row(row, num, depth_bits, tile_spans, row_slots, row_starts, keys, slots, spans):
    """Collect a row's splats from all chunks, in the order of their indices.

    Fills `slots`, `spans` (first and last tile, 16 bits each) and int64 `keys`: the depth in the upper half,
    less that of the nearest splat, and the place in `slots` in the lower. Returns the number and the greatest
    depth.
    """
    tile_rows = row_starts.shape[1] - 1
    total = 0
    least = np.int32(0x7FFFFFFF)
    most = np.int32(0)
    for chunk in range((num + CHUNK - 1) // CHUNK):
        base = chunk * CHUNK * tile_rows
        for k in range(base + row_starts[chunk, row], base + row_starts[chunk, row + 1]):
            slot = row_slots[k]
            depth = depth_bits[slot]
            least, most = min(least, depth), max(most, depth)
            keys[total] = (np.int64(depth) << 32) | np.int64(total)
            slots[total] = slot
            spans[total] = tile_spans[slot]
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
def _list_by_tile(keys, total, slots, spans, tile_starts, tile_ends, tile_slots):
    """Slots of each tile of the row, front to back: tile_slots[tile_starts[t] : tile_ends[t]].

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
        at = keys[k] & 0xFFFFFFFF
        slot, first, last = slots[at], np.int64(spans[at] & 0xFFFF), np.int64(spans[at] >> 16)
        for tile in range(first, first + SIDE_BY_SIDE):
            end = tile_ends[tile]
            tile_slots[end] = slot
            tile_ends[tile] = end + (tile <= last)
        for tile in range(first + SIDE_BY_SIDE, last + 1):
            tile_slots[tile_ends[tile]] = slot
            tile_ends[tile] += 1


@kernel
def _find_rows(x0, y0, slots, first, last, records, surfel, rows):
    """Fill `rows` [4 * BATCH] with the rows of blocks of each splat; see find_rows."""
    for k in range(first, last):
        at, target = np.int64(slots[k]) * RECORD, 4 * (k - first)
        if surfel:  # its box
            box = float_bits(records[at + ROWS])
            begin = max(np.int64(box & 0xFFFF) - y0, 0) // BLOCK_HEIGHT
            end = min(np.int64(box >> 16) - y0, TILE - 1) // BLOCK_HEIGHT
            rows[target], rows[target + 1], rows[target + 2], rows[target + 3] = begin, end, begin, end
        else:
            dx, middle = F(x0) - records[at + MEAN_X], records[at + MEAN_Y] - F(y0)
            slope, top = records[at + SLOPE], records[at + TOP]
            find_rows(rows, target, dx, middle, slope, top, records[at + REACH], records[at + BEND])


@inlined
def _open_rows(blocks, strip):
    """First and last row of blocks of a strip that light still passes; reversed when there is none."""
    column = (blocks >> (strip * STRIP_BLOCKS)) & ((1 << STRIP_BLOCKS) - 1)
    first, last = 0, STRIP_BLOCKS - 1
    while first < STRIP_BLOCKS and not (column >> first) & 1:
        first += 1
    while last >= 0 and not (column >> last) & 1:
        last -= 1
    return first, last


@kernel
def _blend_tile(tile, x0, y0, slots, first, last, records, surfel, rows):
    """Blend splats front to back into the flat `tile` whose first pixel is (x0, y0)."""
    open_first_left, open_last_left = 0, STRIP_BLOCKS - 1
    open_first_right, open_last_right = 0, STRIP_BLOCKS - 1
    for start in range(first, last, BATCH):
        if start > first:
            blocks = open_blocks(tile, F(EXIT_TRANSMITTANCE))
            if blocks == 0:
                break
            open_first_left, open_last_left = _open_rows(blocks, 0)
            open_first_right, open_last_right = _open_rows(blocks, 1)
        stop = min(start + BATCH, last)
        # The rows of a whole batch first: their square roots overlap, and the loops below know their lengths
        # early enough for the processor to run ahead.
        _find_rows(x0, y0, slots, start, stop, records, surfel, rows)
        for k in range(start, stop):
            at = np.int64(slots[k]) * RECORD
            columns = float_bits(records[at + COLUMNS])
            left = max(np.int64(columns & 0xFFFF) - x0, 0) // BLOCK_WIDTH
            right = min(np.int64(columns >> 16) - x0, TILE - 1) // BLOCK_WIDTH
            a, b, c = records[at + CONIC_A], records[at + CONIC_B], records[at + CONIC_C]
            lo, e, f = records[at + LOG2_OPACITY], records[at + TILT_X], records[at + TILT_Y]
            red, green, blue = records[at + RED], records[at + GREEN], records[at + BLUE]
            for column in range(left, right + 1):
                dx = F(x0 + BLOCK_WIDTH * column) - records[at + MEAN_X]
                place = 4 * (k - start) + 2 * column
                begin = max(rows[place], open_first_right if column else open_first_left)
                end = min(rows[place + 1], open_last_right if column else open_last_left)
                for row in range(begin, end + 1):
                    dy = F(y0 + BLOCK_HEIGHT * row) - records[at + MEAN_Y]
                    block = column * STRIP_FLOATS + row * BLOCK_FLOATS
                    if surfel:
                        blend_surfel_block(tile, block, dx, dy, a, b, c, lo, e, f, red, green, blue)
                    else:
                        blend_block(tile, block, dx, dy, a, b, c, lo, red, green, blue)


@kernel
def raster_rows(
    counter, num, surfel, row_order, records, depth_bits, tile_spans, row_slots, row_starts,
    keys, other_keys, slots, spans, tile_slots, tile_starts, tile_ends, histogram, tile, rows, staging,
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
        total, most = _gather_row(row, num, depth_bits, tile_spans, row_slots, row_starts, keys, slots, spans)
        order = _sort(keys, other_keys, total, most, histogram)
        _list_by_tile(order, total, slots, spans, tile_starts, tile_ends, tile_slots)
        y0 = row * TILE
        for t in range(tiles):
            x0 = t * TILE
            for k in range(TILE_FLOATS):
                tile[k] = F(1) if k % BLOCK_FLOATS >= 3 * LANES else F(0)
            _blend_tile(tile, x0, y0, tile_slots, tile_starts[t], tile_ends[t], records, surfel, rows)
            if layout == FLOAT_RGBA:
                write_floats(tile, x0, y0, width, height, floats_out)
            elif layout == RGBA8:
                write_rgba8(tile, x0, y0, width, height, bytes_out)
            else:
                composite(tile, staging, x0, y0, width, height, colour, picture)
                if layout == YUV420:
                    write_yuv420(tile, staging, x0, y0, width, height, yuv_matrix, bytes_out)
                else:
                    write_rgb8(tile, staging, x0, y0, width, height, bytes_out)
