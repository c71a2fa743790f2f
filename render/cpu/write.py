"""A finished tile -> the picture, in the layout that was asked for."""

from __future__ import annotations

import numpy as np

from render.cpu.lanes import LANES, ROW_FLOATS, kernel

# The number of bytes per pixel where a layout has one.
RGB8, RGBA8, FLOAT_RGBA, YUV420 = 3, 4, 5, 6

F = np.float32


@kernel
def _composite(tile, x0, y0, width, height, colour, picture):
    """Tile planes red, green, blue -> 0..255 over the background; returns the tile's size inside the picture.

    `colour` [3] in 0..1 counts when `picture`, flat uint8 RGB of the whole size, is empty.
    """
    columns, rows = min(LANES, width - x0), min(LANES, height - y0)
    for plane in range(3):
        if picture.shape[0] == 0:
            back = colour[plane] * F(255)
            for y in range(rows):
                base = y * ROW_FLOATS
                for x in range(LANES):
                    value = tile[base + plane * LANES + x] * F(255) + tile[base + 3 * LANES + x] * back
                    tile[base + plane * LANES + x] = min(value, F(255))
        else:
            for y in range(rows):
                base = y * ROW_FLOATS
                source = ((y0 + y) * width + x0) * 3 + plane
                for x in range(columns):
                    value = tile[base + plane * LANES + x] * F(255)
                    value += tile[base + 3 * LANES + x] * F(picture[source + 3 * x])
                    tile[base + plane * LANES + x] = min(value, F(255))
    return columns, rows


@kernel
def write_bytes(tile, x0, y0, width, height, layout, colour, picture, out):
    """RGB8 over the background, or RGBA8 with straight (not premultiplied) alpha; `out` is flat uint8."""
    if layout == RGB8:
        columns, rows = _composite(tile, x0, y0, width, height, colour, picture)
        for y in range(rows):
            base, target = y * ROW_FLOATS, ((y0 + y) * width + x0) * 3
            for x in range(columns):
                for plane in range(3):
                    out[target + 3 * x + plane] = np.uint8(np.int32(tile[base + plane * LANES + x] + F(0.5)))
        return
    for y in range(min(LANES, height - y0)):
        base, target = y * ROW_FLOATS, ((y0 + y) * width + x0) * 4
        for x in range(min(LANES, width - x0)):
            alpha = F(1) - tile[base + 3 * LANES + x]
            scale = F(255) / alpha if alpha > F(0) else F(0)
            for plane in range(3):
                value = min(tile[base + plane * LANES + x] * scale, F(255))
                out[target + 4 * x + plane] = np.uint8(np.int32(value + F(0.5)))
            out[target + 4 * x + 3] = np.uint8(np.int32(alpha * F(255) + F(0.5)))


@kernel
def write_floats(tile, x0, y0, width, height, out):
    """Premultiplied RGB and alpha, flat float32 [H, W, 4]."""
    for y in range(min(LANES, height - y0)):
        base, target = y * ROW_FLOATS, ((y0 + y) * width + x0) * 4
        for x in range(min(LANES, width - x0)):
            for plane in range(3):
                out[target + 4 * x + plane] = tile[base + plane * LANES + x]
            out[target + 4 * x + 3] = F(1) - tile[base + 3 * LANES + x]


@kernel
def write_yuv420(tile, x0, y0, width, height, colour, picture, matrix, out):
    """Planar I420: Y [H, W], then U and V [H / 2, W / 2], each the mean of 2x2 pixels; `out` is flat uint8.

    `matrix` [12] maps RGB in 0..255 to Y, U, V: three rows of red, green, blue and an offset.
    """
    columns, rows = _composite(tile, x0, y0, width, height, colour, picture)
    for y in range(rows):
        base, target = y * ROW_FLOATS, (y0 + y) * width + x0
        for x in range(columns):
            luma = matrix[0] * tile[base + x] + matrix[1] * tile[base + LANES + x]
            luma += matrix[2] * tile[base + 2 * LANES + x] + matrix[3]
            out[target + x] = np.uint8(np.int32(luma + F(0.5)))
    quarter = (width // 2) * (height // 2)
    for plane in range(2):
        m = 4 + 4 * plane
        start = width * height + plane * quarter
        for y in range(rows // 2):
            top, target = 2 * y * ROW_FLOATS, start + (y0 // 2 + y) * (width // 2) + x0 // 2
            bottom = top + ROW_FLOATS
            for x in range(columns // 2):
                chroma = matrix[m + 3]
                for k in range(3):
                    at = k * LANES + 2 * x
                    mean = tile[top + at] + tile[top + at + 1] + tile[bottom + at] + tile[bottom + at + 1]
                    chroma += matrix[m + k] * F(0.25) * mean
                out[target + x] = np.uint8(np.int32(chroma + F(0.5)))
