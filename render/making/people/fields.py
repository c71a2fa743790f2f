"""Scalar fields and colours to paint with: noise, ramps, blobs, skin pigments."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# Skin reflectance without pigment, and what one unit of melanin and haemoglobin takes from it (linear RGB).
# Broad-band Beer-Lambert; the coefficients put a fair skin at melanin 0.3 and a deep one at 1.5.
BARE_SKIN = np.array([0.86, 0.80, 0.64])
PIGMENTS = np.array([[0.74, 1.10, 1.42], [0.06, 0.62, 0.52]])  # melanin, haemoglobin


def unit(vectors: ArrayLike) -> Array:
    """Vectors [..., 3] scaled to length 1; zero vectors stay zero."""
    array = np.asarray(vectors, float)
    return array / np.maximum(np.linalg.norm(array, axis=-1, keepdims=True), 1e-12)


def smoothstep(low: float, high: ArrayLike, x: ArrayLike) -> Array:
    """0 below `low`, 1 above `high`, smooth between; `low` > `high` gives the falling ramp."""
    t = np.clip((np.asarray(x, float) - low) / (np.asarray(high, float) - low), 0, 1)
    return t * t * (3 - 2 * t)


def blob(points: Array, centre: ArrayLike, radii: ArrayLike) -> Array:
    """Gaussian bump of peak 1 around `centre` [3] with standard deviations `radii` [3] at points [N, 3]."""
    return np.exp(-0.5 * (((points - np.asarray(centre)) / np.asarray(radii)) ** 2).sum(-1))


def groove(distance: ArrayLike, width: float) -> Array:
    """Profile of a line: 1 on it, falling as a Gaussian of standard deviation `width`."""
    return np.exp(-0.5 * (np.asarray(distance, float) / width) ** 2)


def value_noise(points: Array, frequency: ArrayLike, seed: int) -> Array:
    """Trilinear value noise in -1..1 at points [N, 3]; `frequency` in cells per unit, scalar or [3]."""
    q = points * np.asarray(frequency, float) + seed * 17.3
    cell = np.floor(q).astype(np.int64)
    t = q - cell
    t = t * t * (3 - 2 * t)
    total = np.zeros(len(points))
    for a in (0, 1):
        for b in (0, 1):
            for c in (0, 1):
                h = (
                    (cell[:, 0] + a) * 73856093 ^ (cell[:, 1] + b) * 19349663 ^ (cell[:, 2] + c) * 83492791
                ) ^ seed * 2654435
                h = ((h & 0x7FFFFFFF) * 1103515245 + 12345) & 0x7FFFFFFF
                h = ((h >> 8) ^ h * 7919) & 0xFFFF
                weight = np.abs(1 - a - t[:, 0]) * np.abs(1 - b - t[:, 1]) * np.abs(1 - c - t[:, 2])
                total += (h / 32767.5 - 1) * weight
    return total


def fbm(points: Array, frequency: ArrayLike, seed: int, octaves: int = 3) -> Array:
    """Sum of `octaves` noises, each of twice the frequency and half the strength, in about -1..1."""
    f = np.asarray(frequency, float)
    total = sum(value_noise(points, f * 2**k, seed + k) * 0.5**k for k in range(octaves))
    return np.asarray(total) / (2 - 0.5 ** (octaves - 1))


def polyline_distance(points: Array, line: ArrayLike) -> tuple[Array, Array]:
    """Distance of points [N, D] to an open polyline [K, D], and the place along it in 0..1."""
    nodes = np.asarray(line, float)
    length = np.linalg.norm(np.diff(nodes, axis=0), axis=1)
    start = np.r_[0, np.cumsum(length)]
    best = np.full(len(points), np.inf)
    place = np.zeros(len(points))
    for k in range(len(nodes) - 1):
        along = nodes[k + 1] - nodes[k]
        t = np.clip((points - nodes[k]) @ along / (along @ along), 0, 1)
        distance = np.linalg.norm(points - nodes[k] - t[:, None] * along, axis=1)
        closer = distance < best
        best[closer] = distance[closer]
        place[closer] = ((start[k] + t * length[k]) / start[-1])[closer]
    return best, place


def inside_distance(points: Array, ring: Array) -> Array:
    """Distance [N] to a closed polygon [K, 2], positive inside it."""
    closed = np.concatenate([ring, ring[:1]])
    distance, _ = polyline_distance(points, closed)
    inside = np.zeros(len(points), bool)
    for (x0, y0), (x1, y1) in itertools.pairwise(closed):
        crosses = (y0 > points[:, 1]) != (y1 > points[:, 1])
        if y0 != y1:
            inside ^= crosses & (points[:, 0] < (x1 - x0) * (points[:, 1] - y0) / (y1 - y0) + x0)
    return np.where(inside, distance, -distance)


def linear(red: float, green: float, blue: float) -> Array:
    """sRGB 0..255 -> linear 0..1, [3] (plain 2.2 power)."""
    return (np.array([red, green, blue]) / 255.0) ** 2.2


def skin_colour(melanin: ArrayLike, haemoglobin: ArrayLike) -> Array:
    """Linear reflectance [N, 3] of skin with the given pigments [N]."""
    m, h = np.asarray(melanin, float), np.asarray(haemoglobin, float)
    return np.asarray(BARE_SKIN * np.exp(-m[..., None] * PIGMENTS[0] - h[..., None] * PIGMENTS[1]))
