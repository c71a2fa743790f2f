"""Spherical harmonics and their derivatives, in float64; the basis is that of render/sh.py."""

from __future__ import annotations

from math import sqrt

from render.cpu.gradients.axes import rotation_matrix, rotation_matrix_backward, transposed, turned
from render.cpu.gradients.layout import BLUE, EYE, GREEN, RED, inlined

C0 = 0.28209479177387814
_C1 = 0.4886025119029199
_C2, _C20, _C22 = 1.0925484305920792, 0.31539156525252005, 0.5462742152960396
_C33, _C32, _C31, _C30 = 0.5900435899266435, 2.890611442640554, 0.4570457994644658, 0.3731763325901154


@inlined
def fill_basis(basis, terms, x, y, z):
    """Basis functions at a direction -> basis[:terms]."""
    basis[0] = C0
    if terms > 1:
        basis[1], basis[2], basis[3] = -_C1 * y, _C1 * z, -_C1 * x
    if terms > 4:
        basis[4], basis[5], basis[7] = _C2 * x * y, -_C2 * y * z, -_C2 * x * z
        basis[6] = _C20 * (2.0 * z * z - x * x - y * y)
        basis[8] = _C22 * (x * x - y * y)
    if terms > 9:
        xx, yy, zz = x * x, y * y, z * z
        basis[9] = -_C33 * y * (3.0 * xx - yy)
        basis[10] = _C32 * x * y * z
        basis[11] = -_C31 * y * (4.0 * zz - xx - yy)
        basis[12] = _C30 * z * (2.0 * zz - 3.0 * xx - 3.0 * yy)
        basis[13] = -_C31 * x * (4.0 * zz - xx - yy)
        basis[14] = 0.5 * _C32 * z * (xx - yy)
        basis[15] = -_C33 * x * (xx - 3.0 * yy)


@inlined
def direction_gradient(d, terms, x, y, z):
    """Gradient of the direction from that of the basis functions, d[:terms]."""
    dx, dy, dz = -_C1 * d[3], -_C1 * d[1], _C1 * d[2]
    if terms > 4:
        dx += _C2 * (y * d[4] - z * d[7]) - 2.0 * _C20 * x * d[6] + 2.0 * _C22 * x * d[8]
        dy += _C2 * (x * d[4] - z * d[5]) - 2.0 * _C20 * y * d[6] - 2.0 * _C22 * y * d[8]
        dz += -_C2 * (y * d[5] + x * d[7]) + 4.0 * _C20 * z * d[6]
    if terms > 9:
        xx, yy, zz = x * x, y * y, z * z
        dx += -6.0 * _C33 * x * y * d[9] + _C32 * y * z * d[10] + 2.0 * _C31 * x * y * d[11]
        dx += -6.0 * _C30 * x * z * d[12] - _C31 * (4.0 * zz - 3.0 * xx - yy) * d[13]
        dx += _C32 * x * z * d[14] - 3.0 * _C33 * (xx - yy) * d[15]
        dy += -3.0 * _C33 * (xx - yy) * d[9] + _C32 * x * z * d[10]
        dy += -_C31 * (4.0 * zz - xx - 3.0 * yy) * d[11] - 6.0 * _C30 * y * z * d[12]
        dy += 2.0 * _C31 * x * y * d[13] - _C32 * y * z * d[14] + 6.0 * _C33 * x * y * d[15]
        dz += _C32 * x * y * d[10] - 8.0 * _C31 * y * z * d[11] + 3.0 * _C30 * (2.0 * zz - xx - yy) * d[12]
        dz += -8.0 * _C31 * x * z * d[13] + 0.5 * _C32 * (xx - yy) * d[14]
    return dx, dy, dz


@inlined
def _direction(mean, camera):
    """Unit vector from the camera to a mean, and the inverse of its length."""
    x, y, z = mean[0] - camera[EYE], mean[1] - camera[EYE + 1], mean[2] - camera[EYE + 2]
    inverse = 1.0 / max(sqrt(x * x + y * y + z * z), 1e-12)
    return x * inverse, y * inverse, z * inverse, inverse


@inlined
def colour(mean, sh, sh_quat, camera, basis):
    """Red, green and blue of a Gaussian before the limit at 0: 0.5 + SH. `sh_quat` may be empty."""
    terms = sh.shape[0] // 3
    x, y, z = 0.0, 0.0, 1.0
    if terms > 1:
        x, y, z, _ = _direction(mean, camera)
        if sh_quat.shape[0] > 0:
            q = rotation_matrix(*_four(sh_quat))
            x, y, z = turned(transposed(q), x, y, z)
    fill_basis(basis, terms, x, y, z)
    red, green, blue = 0.5, 0.5, 0.5
    for k in range(terms):
        red += basis[k] * sh[3 * k]
        green += basis[k] * sh[3 * k + 1]
        blue += basis[k] * sh[3 * k + 2]
    return red, green, blue


@inlined
def colour_backward(
    mean, sh, sh_quat, camera, gradient, drawn, basis, d_basis, sh_gradient, sh_quat_gradient
):  # fmt: skip
    """Write the gradients of `sh` and `sh_quat`; returns that of the direction's unnormalised vector.

    `gradient` is that of the splat's record, `drawn` the record: a colour limited to 0 has no gradient.
    """
    terms = sh.shape[0] // 3
    red = gradient[RED] if drawn[RED] > 0 else 0.0
    green = gradient[GREEN] if drawn[GREEN] > 0 else 0.0
    blue = gradient[BLUE] if drawn[BLUE] > 0 else 0.0
    if terms == 1:
        sh_gradient[0], sh_gradient[1], sh_gradient[2] = C0 * red, C0 * green, C0 * blue
        return 0.0, 0.0, 0.0
    wx, wy, wz, inverse = _direction(mean, camera)
    x, y, z = wx, wy, wz
    turn = sh_quat.shape[0] > 0
    q = rotation_matrix(*_four(sh_quat)) if turn else (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    if turn:
        x, y, z = turned(transposed(q), wx, wy, wz)
    fill_basis(basis, terms, x, y, z)
    for k in range(terms):
        sh_gradient[3 * k], sh_gradient[3 * k + 1] = basis[k] * red, basis[k] * green
        sh_gradient[3 * k + 2] = basis[k] * blue
        d_basis[k] = red * sh[3 * k] + green * sh[3 * k + 1] + blue * sh[3 * k + 2]
    dx, dy, dz = direction_gradient(d_basis, terms, x, y, z)
    if turn:  # local = Q^T world
        d_matrix = (wx * dx, wx * dy, wx * dz, wy * dx, wy * dy, wy * dz, wz * dx, wz * dy, wz * dz)
        g = rotation_matrix_backward(*_four(sh_quat), d_matrix)
        sh_quat_gradient[0], sh_quat_gradient[1], sh_quat_gradient[2], sh_quat_gradient[3] = g
        dx, dy, dz = turned(q, dx, dy, dz)
    along = wx * dx + wy * dy + wz * dz
    return inverse * (dx - along * wx), inverse * (dy - along * wy), inverse * (dz - along * wz)


@inlined
def _four(quat):
    return float(quat[0]), float(quat[1]), float(quat[2]), float(quat[3])
