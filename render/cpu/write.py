"""A finished tile -> the picture, in the layout that was asked for."""

from __future__ import annotations

import numpy as np

from render.cpu.lanes import (
    BLOCK_FLOATS,
    LANES,
    SIDE,
    STRIP_BLOCKS,
    TILE_BLOCKS,
    TILE_FLOATS,
    TILE_HEIGHT,
    TILE_WIDTH,
    inlined,
    kernel,
)
from render.cpu.pixels import add_colour, add_picture, store_rgb, store_yuv

RGB8, FLOAT_RGBA, YUV420 = range(3)
STAGING_BYTES = 3 * TILE_WIDTH * TILE_HEIGHT

F = np.float32
_AREA = TILE_WIDTH * TILE_HEIGHT


@inlined
def _pixel(x, y):
    """Where the red of a tile's pixel lies; the other planes follow LANES apart."""
    lane = (y % SIDE) * SIDE + x % SIDE
    return (x // SIDE * STRIP_BLOCKS + y // SIDE) * BLOCK_FLOATS + lane


@inlined
def _copy(source, start, stride, target, at, row, size, rows):
    """Rows of bytes from one flat picture into another."""
    for y in range(rows):
        for x in range(size):
            target[at + y * row + x] = source[start + y * stride + x]


@kernel
def composite(tile, staging, x0, y0, width, height, colour, picture):
    """Put the tile over its background, in place: red, green and blue become 0..255.

    `colour` [3] in 0..1 counts when `picture`, flat uint8 RGB of the whole size, is empty.
    """
    red, green, blue = colour[0], colour[1], colour[2]
    for block in range(0, TILE_FLOATS, BLOCK_FLOATS):
        add_colour(tile, block, red, green, blue)
    if picture.shape[0] == 0:
        return
    source, start, stride = picture, (y0 * width + x0) * 3, width * 3
    columns, rows = min(TILE_WIDTH, width - x0), min(TILE_HEIGHT, height - y0)
    if columns < TILE_WIDTH or rows < TILE_HEIGHT:
        _copy(picture, start, stride, staging, 0, 3 * TILE_WIDTH, 3 * columns, rows)
        source, start, stride = staging, 0, 3 * TILE_WIDTH
    for block in range(TILE_BLOCKS):
        x, y = block // STRIP_BLOCKS * SIDE, block % STRIP_BLOCKS * SIDE
        add_picture(tile, block * BLOCK_FLOATS, source, start + y * stride + 3 * x, stride)


@kernel
def write_rgb8(tile, staging, x0, y0, width, height, out):
    """RGB; `out` is flat uint8 [H, W, 3]. A tile across the picture's border goes through `staging`."""
    columns, rows = min(TILE_WIDTH, width - x0), min(TILE_HEIGHT, height - y0)
    whole = columns == TILE_WIDTH and rows == TILE_HEIGHT
    target, start, stride = out, (y0 * width + x0) * 3, width * 3
    if not whole:
        target, start, stride = staging, 0, 3 * TILE_WIDTH
    for block in range(TILE_BLOCKS):
        x, y = block // STRIP_BLOCKS * SIDE, block % STRIP_BLOCKS * SIDE
        store_rgb(tile, block * BLOCK_FLOATS, target, start + y * stride + 3 * x, stride)
    if not whole:
        _copy(staging, 0, 3 * TILE_WIDTH, out, (y0 * width + x0) * 3, width * 3, 3 * columns, rows)


@kernel
def write_yuv420(tile, staging, x0, y0, width, height, matrix, out):
    """Planar I420: Y [H, W], then U and V [H / 2, W / 2], each the mean of 2x2 pixels; `out` is flat uint8.

    `matrix` [12] maps RGB in 0..255 to Y, U, V: three rows of red, green, blue and an offset.
    """
    columns, rows = min(TILE_WIDTH, width - x0), min(TILE_HEIGHT, height - y0)
    whole = columns == TILE_WIDTH and rows == TILE_HEIGHT
    luma, stride = y0 * width + x0, width
    first_u = width * height + y0 // 2 * (width // 2) + x0 // 2
    first_v = first_u + (width // 2) * (height // 2)
    target, to_y, to_u, to_v = out, luma, first_u, first_v
    if not whole:
        target, stride = staging, TILE_WIDTH
        to_y, to_u, to_v = 0, _AREA, _AREA + _AREA // 4
    for block in range(TILE_BLOCKS):
        x, y = block // STRIP_BLOCKS * SIDE, block % STRIP_BLOCKS * SIDE
        chroma = y // 2 * (stride // 2) + x // 2
        at = block * BLOCK_FLOATS
        store_yuv(tile, at, matrix, target, to_y + y * stride + x, stride, to_u + chroma, to_v + chroma)
    if not whole:
        half = width // 2
        _copy(staging, 0, TILE_WIDTH, out, luma, width, columns, rows)
        _copy(staging, to_u, TILE_WIDTH // 2, out, first_u, half, columns // 2, rows // 2)
        _copy(staging, to_v, TILE_WIDTH // 2, out, first_v, half, columns // 2, rows // 2)


@kernel
def write_floats(tile, x0, y0, width, height, out):
    """Premultiplied RGB and alpha; `out` is flat float32 [H, W, 4]."""
    for y in range(min(TILE_HEIGHT, height - y0)):
        for x in range(min(TILE_WIDTH, width - x0)):
            source, target = _pixel(x, y), ((y0 + y) * width + x0 + x) * 4
            for plane in range(3):
                out[target + plane] = tile[source + plane * LANES]
            out[target + 3] = F(1) - tile[source + 3 * LANES]
