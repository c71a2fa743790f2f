"""Means and rotations of Gaussians in camera axes, and back: the steps 3D Gaussians and surfels share.

Matrices are tuples of nine, row by row. Numbers are float64: these steps are few for each Gaussian, and what
follows divides by small differences of theirs.
"""

from __future__ import annotations

from math import sqrt

from render.cpu.gradients.layout import inlined


@inlined
def rotation_matrix(w, x, y, z):
    """Of a quaternion of any length but zero."""
    s = 2.0 / (w * w + x * x + y * y + z * z)
    return (
        1.0 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y),
        s * (x * y + w * z), 1.0 - s * (x * x + z * z), s * (y * z - w * x),
        s * (x * z - w * y), s * (y * z + w * x), 1.0 - s * (x * x + y * y),
    )  # fmt: skip


@inlined
def rotation_matrix_backward(w, x, y, z, d):
    """Gradient of the quaternion from that of its matrix: across it, because its length is free."""
    inverse = 1.0 / sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w * inverse, x * inverse, y * inverse, z * inverse
    d00, d01, d02, d10, d11, d12, d20, d21, d22 = d
    dw = x * (d21 - d12) + y * (d02 - d20) + z * (d10 - d01)
    dx = w * (d21 - d12) + y * (d01 + d10) + z * (d02 + d20) - 2.0 * x * (d11 + d22)
    dy = w * (d02 - d20) + x * (d01 + d10) + z * (d12 + d21) - 2.0 * y * (d00 + d22)
    dz = w * (d10 - d01) + x * (d02 + d20) + y * (d12 + d21) - 2.0 * z * (d00 + d11)
    along = w * dw + x * dx + y * dy + z * dz
    s = 2.0 * inverse
    return s * (dw - along * w), s * (dx - along * x), s * (dy - along * y), s * (dz - along * z)


@inlined
def multiply(a, b):
    """A B"""
    return (
        a[0] * b[0] + a[1] * b[3] + a[2] * b[6], a[0] * b[1] + a[1] * b[4] + a[2] * b[7],
        a[0] * b[2] + a[1] * b[5] + a[2] * b[8], a[3] * b[0] + a[4] * b[3] + a[5] * b[6],
        a[3] * b[1] + a[4] * b[4] + a[5] * b[7], a[3] * b[2] + a[4] * b[5] + a[5] * b[8],
        a[6] * b[0] + a[7] * b[3] + a[8] * b[6], a[6] * b[1] + a[7] * b[4] + a[8] * b[7],
        a[6] * b[2] + a[7] * b[5] + a[8] * b[8],
    )  # fmt: skip


@inlined
def transposed(a):
    return a[0], a[3], a[6], a[1], a[4], a[7], a[2], a[5], a[8]


@inlined
def turned(a, x, y, z):
    """A v"""
    return a[0] * x + a[1] * y + a[2] * z, a[3] * x + a[4] * y + a[5] * z, a[6] * x + a[7] * y + a[8] * z


@inlined
def camera_rotation(camera):
    return (
        camera[0], camera[1], camera[2], camera[3], camera[4], camera[5], camera[6], camera[7], camera[8],
    )  # fmt: skip
