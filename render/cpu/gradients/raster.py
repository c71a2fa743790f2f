"""Splat records -> maps, and gradients back to the records.

A job is a row of tiles. Backward it adds up what its own tiles give each splat, in its own part of a list of
(row, splat) pairs; the parts are then summed Gaussian by Gaussian, top row first. So the result does not
depend on which thread did what, and no two write to one place.
"""

from __future__ import annotations

import numpy as np

from render.cpu.gradients.blend import (
    blend_colours,
    blend_maps,
    blend_surfel_colours,
    blend_surfel_maps,
    colours_backward,
    maps_backward,
    surfel_colours_backward,
    surfel_maps_backward,
)
from render.cpu.gradients.layout import (
    ALL_PLANES,
    BATCH,
    BLOCK_HEIGHT,
    BLOCK_WIDTH,
    COLOUR_PLANES,
    COLUMN_BLOCKS,
    COLUMNS,
    DEPTH,
    EXIT_TRANSMITTANCE,
    LANES,
    MEAN_X,
    MEAN_Y,
    RECORD,
    ROWS,
    SUM_DEPTH,
    SUM_DEPTH2,
    TILE,
    TILE_BLOCKS,
    inlined,
    kernel,
)
from render.cpu.gradients.lists import list_by_tile
from render.cpu.lanes import float_bits, take_ticket

F = np.float32
_HALF = F(0.5)


@kernel
def _take_batch(x0, y0, places, members, means_px, records, batch, blocks):
    """Copy the records of at most BATCH splats, means counted from the tile's first pixel centre.

    Bit i of blocks[k] says that splat k's box touches block i of the tile.
    """
    for k in range(places.shape[0]):
        i = members[places[k]]
        for column in range(RECORD):
            batch[k * RECORD + column] = records[i, column]
        batch[k * RECORD + MEAN_X] = means_px[i, 0] - _HALF - F(x0)
        batch[k * RECORD + MEAN_Y] = means_px[i, 1] - _HALF - F(y0)
        rows, columns = float_bits(records[i, ROWS]), float_bits(records[i, COLUMNS])
        first = max(np.int32(rows & 0xFFFF) - y0, 0) // BLOCK_HEIGHT
        last = min(np.int32(rows >> 16) - y0, TILE - 1) // BLOCK_HEIGHT
        strip = (1 << (last + 1)) - (1 << first)
        left = strip if (columns & 0xFFFF) < x0 + BLOCK_WIDTH else 0
        right = strip << COLUMN_BLOCKS if (columns >> 16) >= x0 + BLOCK_WIDTH else 0
        blocks[k] = left | right
    for k in range(places.shape[0], BATCH):
        blocks[k] = 0


@inlined
def _splats_of(blocks, block):
    """Bit k is set when bit `block` of blocks[k] is."""
    bits = np.int32(0)
    for k in range(BATCH):
        bits |= np.int32(((blocks[k] >> block) & 1) << k)
    return bits


@inlined
def _first_pixel(block):
    """Of a block, counted from the tile's."""
    return F(block // COLUMN_BLOCKS * BLOCK_WIDTH), F(block % COLUMN_BLOCKS * BLOCK_HEIGHT)


@inlined
def _pixel(block, lane):
    return (
        block // COLUMN_BLOCKS * BLOCK_WIDTH + lane % BLOCK_WIDTH,
        block % COLUMN_BLOCKS * BLOCK_HEIGHT + lane // BLOCK_WIDTH,
    )


@kernel
def _is_open(sums, at):
    """Whether light passes a block."""
    most = F(0)
    for lane in range(LANES):
        most = max(most, sums[at + lane])
    return most >= F(EXIT_TRANSMITTANCE)


@kernel
def _blend_tile(
    x0, y0, places, members, means_px, records, surfel, geometry, origin, batch, blocks, sums, batches
):  # fmt: skip
    """Blend a tile's splats into its `sums`; batches[i]: how many of the batches block i took."""
    block_floats = (ALL_PLANES if geometry else COLOUR_PLANES) * LANES
    for start in range(0, places.shape[0], BATCH):
        taken = False
        for block in range(TILE_BLOCKS):
            if batches[block] * BATCH == start and _is_open(sums, block * block_floats):
                batches[block] += 1
                taken = True
        if not taken:
            return
        _take_batch(x0, y0, places[start : start + BATCH], members, means_px, records, batch, blocks)
        for block in range(TILE_BLOCKS):
            splats = _splats_of(blocks, block)
            if splats == 0 or batches[block] * BATCH <= start:
                continue
            x, y = _first_pixel(block)
            at = block * block_floats
            if geometry and surfel:
                blend_surfel_maps(sums, at, batch, splats, x, y, origin)
            elif geometry:
                blend_maps(sums, at, batch, splats, x, y, origin)
            elif surfel:
                blend_surfel_colours(sums, at, batch, splats, x, y, origin)
            else:
                blend_colours(sums, at, batch, splats, x, y, origin)


@kernel
def _write_tile(x0, y0, sums, geometry, origin, background, rgb, alpha, depth, normal, distortion):
    block_floats = (ALL_PLANES if geometry else COLOUR_PLANES) * LANES
    for block in range(TILE_BLOCKS):
        for lane in range(LANES):
            x, y = _pixel(block, lane)
            x, y = x + x0, y + y0
            if x >= alpha.shape[1] or y >= alpha.shape[0]:
                continue
            at = block * block_floats + lane
            through = sums[at]
            covered = F(1) - through
            alpha[y, x] = covered
            by, bx = min(y, background.shape[0] - 1), min(x, background.shape[1] - 1)
            for k in range(3):
                rgb[y, x, k] = sums[at + (1 + k) * LANES] + through * background[by, bx, k]
            if geometry:
                moment, square = sums[at + SUM_DEPTH * LANES], sums[at + SUM_DEPTH2 * LANES]
                depth[y, x] = origin + moment / covered if covered > 0 else F(0)
                distortion[y, x] = covered * square - moment * moment
                for k in range(3):
                    normal[y, x, k] = sums[at + (SUM_DEPTH2 + 1 + k) * LANES]


@inlined
def _origin(places, members, records):
    """Depth of a tile's nearest splat: depths are counted from it."""
    return records[members[places[0]], DEPTH] if places.shape[0] > 0 else F(0)


@kernel
def raster_rows(
    counter, surfel, geometry, row_starts, members, means_px, records, background,
    sums, batches, rgb, alpha, depth, normal, distortion,
):  # fmt: skip
    """Draw rows of tiles until `counter` runs out; each tile's `sums` and `batches` serve backward."""
    tiles = batches.shape[1]
    tile_starts, places = np.empty(tiles + 1, np.int64), np.empty(0, np.int32)
    batch, blocks = np.empty(BATCH * RECORD, np.float32), np.empty(BATCH, np.int32)
    while True:
        row = take_ticket(counter)
        if row >= batches.shape[0]:
            return
        mine = members[row_starts[row] : row_starts[row + 1]]
        places = list_by_tile(mine, records, tile_starts, places)
        for tile in range(tiles):
            x0, y0 = tile * TILE, row * TILE
            here = places[tile_starts[tile] : tile_starts[tile + 1]]
            tile_sums = sums[row, tile]
            for k in range(tile_sums.shape[0]):
                tile_sums[k] = F(0)
            for block in range(TILE_BLOCKS):
                batches[row, tile, block] = 0
                for lane in range(LANES):
                    tile_sums[block * (tile_sums.shape[0] // TILE_BLOCKS) + lane] = F(1)
            origin = _origin(here, mine, records)
            _blend_tile(
                x0, y0, here, mine, means_px, records, surfel, geometry, origin, batch, blocks,
                tile_sums, batches[row, tile],
            )  # fmt: skip
            _write_tile(
                x0, y0, tile_sums, geometry, origin, background, rgb, alpha, depth, normal, distortion
            )  # fmt: skip


@kernel
def _map_gradients(
    x0, y0, sums, had_geometry, geometry, background, d_rgb, d_alpha, d_depth, d_normal, d_distortion,
    gradients, states,
):  # fmt: skip
    """Gradients of the maps -> those of a tile's sums, in its order, and the states backward starts from.

    A map without a gradient is an empty array. Of the planes the transmittance's stands for alpha.
    """
    planes = ALL_PLANES if geometry else COLOUR_PLANES
    sum_floats = (ALL_PLANES if had_geometry else COLOUR_PLANES) * LANES
    height, width = d_alpha.shape[0], d_alpha.shape[1]
    for block in range(TILE_BLOCKS):
        for lane in range(LANES):
            at, to = block * sum_floats + lane, block * planes * LANES + lane
            states[block * 2 * LANES + lane] = sums[at]
            states[(block * 2 + 1) * LANES + lane] = F(0)
            x, y = _pixel(block, lane)
            x, y = x + x0, y + y0
            if x >= width or y >= height:
                for plane in range(planes):
                    gradients[to + plane * LANES] = F(0)
                continue
            covered = F(1) - sums[at]
            through = d_alpha[y, x]
            by, bx = min(y, background.shape[0] - 1), min(x, background.shape[1] - 1)
            for k in range(3):
                g = d_rgb[y, x, k]
                gradients[to + (1 + k) * LANES] = g
                through -= g * background[by, bx, k]
            if geometry:
                moment, square = sums[at + SUM_DEPTH * LANES], sums[at + SUM_DEPTH2 * LANES]
                d_moment = d_square = F(0)
                if d_depth.shape[0] > 0 and covered > 0:
                    d_moment += d_depth[y, x] / covered
                    through -= d_depth[y, x] * moment / (covered * covered)
                if d_distortion.shape[0] > 0:
                    through += d_distortion[y, x] * square
                    d_square += d_distortion[y, x] * covered
                    d_moment -= F(2) * d_distortion[y, x] * moment
                gradients[to + SUM_DEPTH * LANES] = d_moment
                gradients[to + SUM_DEPTH2 * LANES] = d_square
                for k in range(3):
                    g = d_normal[y, x, k] if d_normal.shape[0] > 0 else F(0)
                    gradients[to + (SUM_DEPTH2 + 1 + k) * LANES] = g
            gradients[to] = through


@kernel
def _tile_backward(
    x0, y0, places, members, means_px, records, surfel, geometry, origin, batch, d_batch, blocks,
    batches, gradients, states, d_pairs,
):  # fmt: skip
    """Add what a tile's pixels give its splats to d_pairs [splats of the row, RECORD]."""
    block_floats = (ALL_PLANES if geometry else COLOUR_PLANES) * LANES
    most = 0
    for block in range(TILE_BLOCKS):
        most = max(most, batches[block])
    for start in range((most - 1) * BATCH, -1, -BATCH):
        part = places[start : start + BATCH]
        _take_batch(x0, y0, part, members, means_px, records, batch, blocks)
        for k in range(BATCH * RECORD):
            d_batch[k] = F(0)
        for block in range(TILE_BLOCKS):
            splats = _splats_of(blocks, block)
            if splats == 0 or batches[block] * BATCH <= start:
                continue
            x, y = _first_pixel(block)
            state, at = block * 2 * LANES, block * block_floats
            if geometry and surfel:
                surfel_maps_backward(states, gradients, state, at, batch, d_batch, splats, x, y, origin)
            elif geometry:
                maps_backward(states, gradients, state, at, batch, d_batch, splats, x, y, origin)
            elif surfel:
                surfel_colours_backward(states, gradients, state, at, batch, d_batch, splats, x, y, origin)
            else:
                colours_backward(states, gradients, state, at, batch, d_batch, splats, x, y, origin)
        for k in range(part.shape[0]):
            for column in range(RECORD):
                d_pairs[part[k], column] += d_batch[k * RECORD + column]


@kernel
def raster_rows_backward(
    counter, surfel, had_geometry, geometry, row_starts, members, means_px, records, background,
    sums, batches, d_rgb, d_alpha, d_depth, d_normal, d_distortion, d_pairs,
):  # fmt: skip
    """Gradients of rows of tiles until `counter` runs out -> d_pairs [pairs, RECORD], beside `members`."""
    tiles = batches.shape[1]
    tile_starts, places = np.empty(tiles + 1, np.int64), np.empty(0, np.int32)
    batch, blocks = np.empty(BATCH * RECORD, np.float32), np.empty(BATCH, np.int32)
    d_batch = np.empty(BATCH * RECORD, np.float32)
    gradients = np.empty(TILE_BLOCKS * ALL_PLANES * LANES, np.float32)
    states = np.empty(TILE_BLOCKS * 2 * LANES, np.float32)
    while True:
        row = take_ticket(counter)
        if row >= batches.shape[0]:
            return
        mine = members[row_starts[row] : row_starts[row + 1]]
        d_mine = d_pairs[row_starts[row] : row_starts[row + 1]]
        for k in range(d_mine.shape[0]):
            for column in range(RECORD):
                d_mine[k, column] = F(0)
        places = list_by_tile(mine, records, tile_starts, places)
        for tile in range(tiles):
            x0, y0 = tile * TILE, row * TILE
            here = places[tile_starts[tile] : tile_starts[tile + 1]]
            if here.shape[0] == 0:
                continue
            _map_gradients(
                x0, y0, sums[row, tile], had_geometry, geometry, background,
                d_rgb, d_alpha, d_depth, d_normal, d_distortion, gradients, states,
            )  # fmt: skip
            _tile_backward(
                x0, y0, here, mine, means_px, records, surfel, geometry, _origin(here, mine, records),
                batch, d_batch, blocks, batches[row, tile], gradients, states, d_mine,
            )  # fmt: skip


@kernel
def sum_pairs(counter, share, members, d_pairs, d_records):
    """Sum the pairs of each Gaussian, top row first -> d_records [N, RECORD]; `share` Gaussians at a time."""
    while True:
        first = take_ticket(counter) * share
        if first >= d_records.shape[0]:
            return
        last = min(first + share, d_records.shape[0])
        d_records[first:last] = F(0)
        for k in range(members.shape[0]):
            i = members[k]
            if first <= i < last:
                for column in range(RECORD):
                    d_records[i, column] += d_pairs[k, column]
