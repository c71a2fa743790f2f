"""A small mesh rasteriser: which triangle each sample of a picture sees, and what the vertices say there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import prange
from numpy.typing import NDArray

from render.machine_code import kept_njit

Array = NDArray[np.float32]

_BANDS = 8  # rows of the picture are shared out over the cores in this many bands


@dataclass(frozen=True)
class Samples:
    """What a camera sees, `supersampling` samples along each side of a pixel."""

    triangle: NDArray[np.int32]  # [H * s, W * s] row of the faces, -1 for nothing
    inverse_depth: Array  # [H * s, W * s] 1 / metres, 0 for nothing
    supersampling: int


def see(
    points_px: Array, faces: NDArray[np.int32], width: int, height: int, supersampling: int = 1
) -> Samples:
    """Nearest triangle of every sample; triangles show both sides.

    `points_px` [V, 3]: x right and y down in pixels (pixel centres at half integers), depth in metres.
    Triangles that reach behind the camera are left out.
    """
    s = supersampling
    triangle = np.full((height * s, width * s), -1, np.int32)
    inverse = np.zeros((height * s, width * s), np.float32)
    scaled = points_px * np.array([s, s, 1], np.float32)
    _see(scaled.astype(np.float32), faces, triangle, inverse)
    return Samples(triangle, inverse, s)


@kept_njit(parallel=True, nogil=True)
def _see(points: Array, faces: NDArray[np.int32], triangle: NDArray[np.int32], inverse: Array) -> None:
    height, width = triangle.shape
    rows = (height + _BANDS - 1) // _BANDS
    for band in prange(_BANDS):
        top, bottom = band * rows, min(height, (band + 1) * rows)
        for f in range(faces.shape[0]):
            i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
            y0, y1, y2 = points[i, 1], points[j, 1], points[k, 1]
            low, high = min(y0, y1, y2), max(y0, y1, y2)
            if not (high >= top and low <= bottom):
                continue
            z0, z1, z2 = points[i, 2], points[j, 2], points[k, 2]
            if z0 <= 1e-3 or z1 <= 1e-3 or z2 <= 1e-3:
                continue
            x0, x1, x2 = points[i, 0], points[j, 0], points[k, 0]
            area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
            if area == 0:
                continue
            left = max(0, int(np.ceil(min(x0, x1, x2) - 0.5)))
            right = min(width - 1, int(np.floor(max(x0, x1, x2) - 0.5)))
            first = max(top, int(np.ceil(low - 0.5)))
            last = min(bottom - 1, int(np.floor(high - 0.5)))
            w0, w1, w2 = 1 / z0, 1 / z1, 1 / z2
            for y in range(first, last + 1):
                for x in range(left, right + 1):
                    px, py = x + 0.5, y + 0.5
                    b1 = ((px - x0) * (y2 - y0) - (x2 - x0) * (py - y0)) / area
                    b2 = ((x1 - x0) * (py - y0) - (px - x0) * (y1 - y0)) / area
                    b0 = 1 - b1 - b2
                    if b0 < 0 or b1 < 0 or b2 < 0:
                        continue
                    w = b0 * w0 + b1 * w1 + b2 * w2  # linear in the picture, unlike depth
                    if w > inverse[y, x]:
                        inverse[y, x] = w
                        triangle[y, x] = f


def resolve(
    samples: Samples, points_px: Array, faces: NDArray[np.int32], values: Array
) -> tuple[Array, Array]:
    """Mean of the vertices' `values` [V, C] over the covered samples of each pixel, and the covered share.

    Returns [H, W, C], zero where nothing is covered, and [H, W] in 0..1.
    """
    s = samples.supersampling
    height, width = samples.triangle.shape[0] // s, samples.triangle.shape[1] // s
    mean = np.zeros((height, width, values.shape[1]), np.float32)
    cover = np.zeros((height, width), np.float32)
    scaled = (points_px * np.array([s, s, 1], np.float32)).astype(np.float32)
    _resolve(samples.triangle, scaled, faces, np.ascontiguousarray(values, np.float32), s, mean, cover)
    return mean, cover


@kept_njit(parallel=True, nogil=True)
def _resolve(
    triangle: NDArray[np.int32],
    points: Array,
    faces: NDArray[np.int32],
    values: Array,
    s: int,
    mean: Array,
    cover: Array,
) -> None:
    height, width, channels = mean.shape
    for y in prange(height):
        for x in range(width):
            count = 0
            for b in range(s):
                for a in range(s):
                    f = triangle[y * s + b, x * s + a]
                    if f < 0:
                        continue
                    count += 1
                    i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
                    x0, y0 = points[i, 0], points[i, 1]
                    x1, y1 = points[j, 0], points[j, 1]
                    x2, y2 = points[k, 0], points[k, 1]
                    px, py = x * s + a + 0.5, y * s + b + 0.5
                    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
                    b1 = ((px - x0) * (y2 - y0) - (x2 - x0) * (py - y0)) / area
                    b2 = ((x1 - x0) * (py - y0) - (px - x0) * (y1 - y0)) / area
                    b0 = 1 - b1 - b2
                    # Perspective: weights in space, not in the picture.
                    b0, b1, b2 = b0 / points[i, 2], b1 / points[j, 2], b2 / points[k, 2]
                    total = b0 + b1 + b2
                    for c in range(channels):
                        mean[y, x, c] += (b0 * values[i, c] + b1 * values[j, c] + b2 * values[k, c]) / total
            if count:
                cover[y, x] = count / (s * s)
                for c in range(channels):
                    mean[y, x, c] /= count
