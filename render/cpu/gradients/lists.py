"""Which splats each tile draws, front to back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.cpu.gradients.layout import COLUMNS, DEPTH, ROWS, TILE, inlined, kernel
from render.cpu.lanes import float_bits


@inlined
def first_and_last(bits):
    """First and last tile of a box's side."""
    box = float_bits(bits)
    return (box & 0xFFFF) // TILE, (box >> 16) // TILE


@kernel
def _count(records, keys, starts):
    """Keys of drawn splats, depth above index; and in starts[1:] the number of splats of each tile row."""
    total = 0
    for i in range(records.shape[0]):
        if records[i, DEPTH] > 0:
            # a positive float's bits order like integers
            keys[total] = (np.int64(float_bits(records[i, DEPTH])) << 32) | np.int64(i)
            total += 1
            first, last = first_and_last(records[i, ROWS])
            for row in range(first, last + 1):
                starts[row + 1] += 1
    return total


@kernel
def _list(keys, records, starts, members):
    """Write the splats of each row, in the order of `keys`; leaves starts[row] at the row's first."""
    for row in range(starts.shape[0] - 1):
        starts[row + 1] += starts[row]
    for k in range(keys.shape[0]):
        i = np.int32(keys[k] & 0xFFFFFFFF)
        first, last = first_and_last(records[i, ROWS])
        for row in range(first, last + 1):
            members[starts[row]] = i
            starts[row] += 1
    for row in range(starts.shape[0] - 1, 0, -1):
        starts[row] = starts[row - 1]
    starts[0] = 0


def list_by_row(records: NDArray[np.float32], tile_rows: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Splats of each row of tiles, front to back: members[starts[row] : starts[row + 1]]; ties by index."""
    keys, starts = np.empty(len(records), np.int64), np.zeros(tile_rows + 1, np.int64)
    keys = keys[: _count(records, keys, starts)]
    keys.sort()
    members = np.empty(int(starts.sum()), np.int32)
    _list(keys, records, starts, members)
    return starts, members


@kernel
def list_by_tile(members, records, tile_starts, places):
    """The same within a row: places[tile_starts[t] : tile_starts[t + 1]] are places in `members`.

    Returns `places`, or a longer array in its stead.
    """
    tile_starts[:] = 0
    for k in range(members.shape[0]):
        first, last = first_and_last(records[members[k], COLUMNS])
        for tile in range(first, last + 1):
            tile_starts[tile + 1] += 1
    for tile in range(tile_starts.shape[0] - 1):
        tile_starts[tile + 1] += tile_starts[tile]
    if tile_starts[-1] > places.shape[0]:
        places = np.empty(tile_starts[-1] * 3 // 2, np.int32)
    for k in range(members.shape[0]):
        first, last = first_and_last(records[members[k], COLUMNS])
        for tile in range(first, last + 1):
            places[tile_starts[tile]] = k
            tile_starts[tile] += 1
    for tile in range(tile_starts.shape[0] - 1, 0, -1):
        tile_starts[tile] = tile_starts[tile - 1]
    tile_starts[0] = 0
    return places
