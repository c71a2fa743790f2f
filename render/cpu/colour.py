"""Colours of Gaussians seen from the camera, on the CPU; the basis is that of render/sh.py."""

from __future__ import annotations

import numpy as np

from render.cpu.lanes import inlined, kernel, sqrt_lane
from render.cpu.layout import BLOCK, BLUE, DEPTH, DIRECTION_X, DIRECTION_Y, DIRECTION_Z, GREEN, HUGE, RED

F = np.float32


@kernel
def colour_block(means, sh, sh_quats, camera, planes):
    """Colours of a block seen from the camera: 0.5 + SH, at least 0; not finite ones are not drawn."""
    num = means.shape[0] // 3
    terms = sh.shape[0] // means.shape[0]
    c0 = F(0.28209479177387814)
    for j in range(num):
        for k in range(3):
            planes[(RED + k) * BLOCK + j] = F(0.5) + c0 * sh[3 * terms * j + k]
    if terms > 1:
        _directions(means, sh_quats, camera, planes)
        if terms == 4:  # spelled out, because a constant stride lets LLVM vectorise it
            for j in range(num):
                x, y, z = (
                    planes[DIRECTION_X * BLOCK + j],
                    planes[DIRECTION_Y * BLOCK + j],
                    planes[DIRECTION_Z * BLOCK + j],
                )
                for k in range(3):
                    planes[(RED + k) * BLOCK + j] += _band_1(x, y, z, sh, 12 * j + k)
        else:
            for j in range(num):
                x, y, z = (
                    planes[DIRECTION_X * BLOCK + j],
                    planes[DIRECTION_Y * BLOCK + j],
                    planes[DIRECTION_Z * BLOCK + j],
                )
                for k in range(3):
                    at = 3 * terms * j + k
                    value = _band_1(x, y, z, sh, at) + _band_2(x, y, z, sh, at)
                    if terms > 9:
                        value += _band_3(x, y, z, sh, at)
                    planes[(RED + k) * BLOCK + j] += value
    for j in range(num):
        red, green, blue = planes[RED * BLOCK + j], planes[GREEN * BLOCK + j], planes[BLUE * BLOCK + j]
        finite = abs(red) + abs(green) + abs(blue) < F(HUGE)
        planes[RED * BLOCK + j] = max(red, F(0))
        planes[GREEN * BLOCK + j] = max(green, F(0))
        planes[BLUE * BLOCK + j] = max(blue, F(0))
        planes[DEPTH * BLOCK + j] = planes[DEPTH * BLOCK + j] if finite else F(0)


@inlined
def _directions(means, sh_quats, camera, planes):
    """Unit vectors from the camera to the means, in the frame of the harmonics."""
    for j in range(means.shape[0] // 3):
        x, y, z = means[3 * j] - camera[22], means[3 * j + 1] - camera[23], means[3 * j + 2] - camera[24]
        inverse = F(1) / max(sqrt_lane(x * x + y * y + z * z), F(1e-12))
        planes[DIRECTION_X * BLOCK + j] = x * inverse
        planes[DIRECTION_Y * BLOCK + j] = y * inverse
        planes[DIRECTION_Z * BLOCK + j] = z * inverse
    for j in range(sh_quats.shape[0] // 4):
        # the inverse rotation of d is d + 2 (w t + t x q) / |q|^2 with t = d x q
        x, y, z = (
            planes[DIRECTION_X * BLOCK + j],
            planes[DIRECTION_Y * BLOCK + j],
            planes[DIRECTION_Z * BLOCK + j],
        )
        qw, qx, qy, qz = sh_quats[4 * j], sh_quats[4 * j + 1], sh_quats[4 * j + 2], sh_quats[4 * j + 3]
        s = F(2) / (qw * qw + qx * qx + qy * qy + qz * qz)
        tx, ty, tz = y * qz - z * qy, z * qx - x * qz, x * qy - y * qx
        planes[DIRECTION_X * BLOCK + j] = x + s * (qw * tx + ty * qz - tz * qy)
        planes[DIRECTION_Y * BLOCK + j] = y + s * (qw * ty + tz * qx - tx * qz)
        planes[DIRECTION_Z * BLOCK + j] = z + s * (qw * tz + tx * qy - ty * qx)


@inlined
def _band_1(x, y, z, sh, at):
    return F(0.4886025119029199) * (z * sh[at + 6] - y * sh[at + 3] - x * sh[at + 9])


@inlined
def _band_2(x, y, z, sh, at):
    value = F(1.0925484305920792) * (x * y * sh[at + 12] - y * z * sh[at + 15] - x * z * sh[at + 21])
    value += F(0.31539156525252005) * (F(2) * z * z - x * x - y * y) * sh[at + 18]
    return value + F(0.5462742152960396) * (x * x - y * y) * sh[at + 24]


@inlined
def _band_3(x, y, z, sh, at):
    xx, yy, zz = x * x, y * y, z * z
    value = F(2.890611442640554) * x * y * z * sh[at + 30]
    value += F(0.3731763325901154) * z * (F(2) * zz - F(3) * xx - F(3) * yy) * sh[at + 36]
    value += F(1.445305721320277) * z * (xx - yy) * sh[at + 42]
    value -= F(0.4570457994644658) * (F(4) * zz - xx - yy) * (y * sh[at + 33] + x * sh[at + 39])
    value -= F(0.5900435899266435) * y * (F(3) * xx - yy) * sh[at + 27]
    return value - F(0.5900435899266435) * x * (xx - F(3) * yy) * sh[at + 45]
