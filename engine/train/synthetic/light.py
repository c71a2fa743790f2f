"""Distant lights with cast shadows: what leaves each vertex towards a camera."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from engine.train.surface.raster import depth_map
from render.machine_code import kept_njit
from render.making.people.fields import unit
from render.making.people.light import Environment

Array = NDArray[Any]  # float32; NumPy's stubs lose that in arithmetic

_MAP = 224  # texels along a shadow map's side
_MAP_M = 0.62
_BIAS_M, _SOFT_M = 3.0e-3, 5.0e-3


def light(
    lights: Environment,
    casters: Array,
    faces: NDArray[np.int32],
    corners: NDArray[np.int32],
    weights: Array,
    normals: Array,
    wrap: Array,
) -> tuple[Array, Array]:
    """Light [N, 3], to be multiplied with the albedo, and how much of each light is seen [N, D] in 0..1.

    Triangles of `casters` [M, 3] throw shadows, which every lit vertex mixes (`weights` [N, 3]) from three
    casters (`corners` [N, 3]). `wrap` [N, 3] per channel: how far light bleeds round the terminator.
    """
    centre = np.array([0, -0.03, 0], np.float32)
    scale = np.float32(_MAP / _MAP_M)
    seen_by = np.empty((len(casters), len(lights.towards)), np.float32)
    for number, direction in enumerate(lights.towards):
        axis = np.array([1.0, 0, 0] if abs(direction[0]) < 0.7 else [0, 1.0, 0])
        u = unit(np.cross(axis, direction))
        frame = np.stack([scale * u, scale * np.cross(direction, u), direction]).astype(np.float32)
        placed = (casters - centre) @ frame.T + np.array([_MAP / 2, _MAP / 2, 0], np.float32)
        _shadow(placed, depth_map(placed, faces, _MAP), seen_by, number)
    visible = _mixed(seen_by, corners, weights)
    return _gather(normals, wrap, visible, lights.towards, lights.radiance), visible


@kept_njit(parallel=True, nogil=True)
def _mixed(values: Array, corners: NDArray[np.int32], weights: Array) -> Array:
    out = np.empty((corners.shape[0], values.shape[1]), np.float32)
    for i in prange(corners.shape[0]):
        a, b, c = corners[i, 0], corners[i, 1], corners[i, 2]
        for d in range(values.shape[1]):
            out[i, d] = (
                weights[i, 0] * values[a, d] + weights[i, 1] * values[b, d] + weights[i, 2] * values[c, d]
            )
    return out


@kept_njit(parallel=True, nogil=True)
def _shadow(points: Array, seen: Array, visible: Array, number: int) -> None:
    size = seen.shape[0]
    for i in prange(points.shape[0]):
        x, y = points[i, 0] - 0.5, points[i, 1] - 0.5
        a, b = int(np.floor(x)), int(np.floor(y))
        if a < 0 or b < 0 or a >= size - 1 or b >= size - 1:
            visible[i, number] = 1
            continue
        total = 0.0
        for db in range(2):
            for da in range(2):
                weight = (x - a if da else 1 - x + a) * (y - b if db else 1 - y + b)
                hidden = seen[b + db, a + da] - points[i, 2] - _BIAS_M
                total += weight * (1.0 if hidden <= 0 else np.exp(-hidden / _SOFT_M))
        visible[i, number] = total


@kept_njit(parallel=True, nogil=True)
def _gather(normals: Array, wrap: Array, visible: Array, towards: Array, radiance: Array) -> Array:
    out = np.zeros((normals.shape[0], 3), np.float32)
    num = towards.shape[0]
    for i in prange(normals.shape[0]):
        sky, open_sky = 1e-6, 0.0
        for d in range(num):
            facing = (
                normals[i, 0] * towards[d, 0] + normals[i, 1] * towards[d, 1] + normals[i, 2] * towards[d, 2]
            )
            if facing > -0.1:
                sky += facing + 0.1
                open_sky += (facing + 0.1) * visible[i, d]
            for c in range(3):
                lit = (facing + wrap[i, c]) / (1 + wrap[i, c]) ** 2
                if lit > 0:
                    out[i, c] += lit * visible[i, d] * radiance[d, c]
        ambient = 0.5 + 0.5 * min(1.0, 1.25 * open_sky / sky)
        for c in range(3):
            out[i, c] *= 4 / num * ambient
    return out


def shine(
    lights: Environment,
    visible: Array,
    points: Array,
    normals: Array,
    strength: Array,
    gloss: Array,
    eye: Array,
    tangents: Array | None,
) -> Array:
    """Highlights [N, 3] towards a camera at `eye` [3]; with `tangents` [N, 3] those of hair.

    Source: J. Blinn, "Models of light reflection", 1977; J. Kajiya and T. Kay, "Rendering fur with three
    dimensional textures", 1989.
    """
    towards, radiance = lights.towards, lights.radiance
    strongest = np.flatnonzero(radiance.max(1) > 0.10 * radiance.max())
    along = np.zeros((0, 3), np.float32) if tangents is None else tangents
    strength, gloss, eye = (values.astype(np.float32) for values in (strength, gloss, eye))
    return _shine(visible, towards, radiance, strongest, points, normals, along, strength, gloss, eye)


@kept_njit(parallel=True, nogil=True)
def _shine(
    visible: Array,
    towards: Array,
    radiance: Array,
    lights: NDArray[np.int64],
    points: Array,
    normals: Array,
    tangents: Array,
    strength: Array,
    gloss: Array,
    eye: Array,
) -> Array:
    out = np.zeros((points.shape[0], 3), np.float32)
    is_hair = tangents.shape[0] > 0
    for i in prange(points.shape[0]):
        vx, vy, vz = eye[0] - points[i, 0], eye[1] - points[i, 1], eye[2] - points[i, 2]
        length = np.sqrt(vx * vx + vy * vy + vz * vz)
        vx, vy, vz = vx / length, vy / length, vz / length
        if not is_hair and vx * normals[i, 0] + vy * normals[i, 1] + vz * normals[i, 2] < -0.2:
            continue
        scale = strength[i] * 4 / towards.shape[0] * (gloss[i] + 2) / 8
        for d in lights:
            if visible[i, d] < 0.02:
                continue
            hx, hy, hz = vx + towards[d, 0], vy + towards[d, 1], vz + towards[d, 2]
            size = np.sqrt(hx * hx + hy * hy + hz * hz)
            if is_hair:
                dot = (hx * tangents[i, 0] + hy * tangents[i, 1] + hz * tangents[i, 2]) / size
                base = np.sqrt(max(0.0, 1 - dot * dot))
            else:
                base = (hx * normals[i, 0] + hy * normals[i, 1] + hz * normals[i, 2]) / size
            if base < 0.6:
                continue
            s = scale * visible[i, d] * base ** gloss[i]
            for c in range(3):
                out[i, c] += s * radiance[d, c]
    return out
