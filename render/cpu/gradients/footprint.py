"""A Gaussian's footprint on the screen, and back: render/reference/projection.py in numba, for one of them.

A 3D Gaussian's is its covariance, in a record the conic A, B, C: alpha = 2^(log2(opacity) + A dx^2 + B dx dy
+ C dy^2). A surfel's is the perspective image of its plane. With pixels counted from the projected mean the
rows of its homography are (p0, p1, 0), (q0, q1, 0), (w0, w1, z), and the pixel's ray meets the plane at

    u = z (q1 dx - p1 dy) / d / t,   v = z (p0 dy - q0 dx) / d / t,   depth = z / t,   d = p0 q1 - p1 q0,
    t = 1 + ((w1 q0 - w0 q1) dx + (p1 w0 - p0 w1) dy) / d.

A record holds the linear forms u t and v t, times sqrt(0.5 / ln 2), and the tilt: the two numbers of t. Not
the conic of u^2 + v^2, whose terms cancel for a surfel that is seen nearly from its edge.

`axes` is the rotation to camera axes, nine numbers by rows; (x, y, z) the mean in camera axes.
"""

from __future__ import annotations

from math import log, sqrt

from render.cpu.gradients.layout import (
    CENTRE_X,
    CENTRE_Y,
    CONIC_A,
    CONIC_B,
    CONIC_C,
    FOCAL_X,
    FOCAL_Y,
    HIGH_X,
    HIGH_Y,
    LOG2_OPACITY,
    LOW_X,
    LOW_Y,
    TILT_X,
    TILT_Y,
    U_X,
    U_Y,
    V_X,
    V_Y,
    inlined,
)
from render.splatting import LOW_PASS_PX2, SURFEL_LOW_PASS_PX2

LOG2_E = 1.0 / log(2.0)
_HALF = -0.5 * LOG2_E
_ROOT = sqrt(0.5 * LOG2_E)
_STEEP = 1e9
_EPSILON = 1e-20  # as in render/reference/projection.py: a root's gradient stays finite


@inlined
def mean_px(x, y, z, camera):
    return camera[FOCAL_X] * x / z + camera[CENTRE_X], camera[FOCAL_Y] * y / z + camera[CENTRE_Y]


@inlined
def mean_px_backward(x, y, z, camera, d_px, d_py):
    """Gradient of the mean in camera axes."""
    dx, dy = camera[FOCAL_X] * d_px / z, camera[FOCAL_Y] * d_py / z
    return dx, dy, -(dx * x + dy * y) / z


@inlined
def _jacobian(x, y, z, camera):
    """dx/dz and dy/dz of the projection, limited, and the two diagonal elements."""
    j00, j11 = camera[FOCAL_X] / z, camera[FOCAL_Y] / z
    tan_x = min(max(x / z, camera[LOW_X]), camera[HIGH_X])
    tan_y = min(max(y / z, camera[LOW_Y]), camera[HIGH_Y])
    return j00, -j00 * tan_x, j11, -j11 * tan_y


@inlined
def _jacobian_backward(x, y, z, camera, d00, d02, d11, d12):
    """Gradient of the mean in camera axes; a limited slope is a constant."""
    fx, fy = camera[FOCAL_X], camera[FOCAL_Y]
    tan_x = min(max(x / z, camera[LOW_X]), camera[HIGH_X])
    tan_y = min(max(y / z, camera[LOW_Y]), camera[HIGH_Y])
    dz = (-d00 * fx + d02 * fx * tan_x - d11 * fy + d12 * fy * tan_y) / (z * z)
    d_tan_x = -d02 * fx / z if camera[LOW_X] <= x / z <= camera[HIGH_X] else 0.0
    d_tan_y = -d12 * fy / z if camera[LOW_Y] <= y / z <= camera[HIGH_Y] else 0.0
    return d_tan_x / z, d_tan_y / z, dz - (d_tan_x * x + d_tan_y * y) / (z * z)


@inlined
def _spread(axes, jacobian, s0, s1, s2):
    """Rows of the 2x3 matrix from standard deviations to pixels."""
    j00, j02, j11, j12 = jacobian
    u = (
        (j00 * axes[0] + j02 * axes[6]) * s0,
        (j00 * axes[1] + j02 * axes[7]) * s1,
        (j00 * axes[2] + j02 * axes[8]) * s2,
    )
    v = (
        (j11 * axes[3] + j12 * axes[6]) * s0,
        (j11 * axes[4] + j12 * axes[7]) * s1,
        (j11 * axes[5] + j12 * axes[8]) * s2,
    )
    return u, v


@inlined
def _spread_backward(axes, jacobian, s0, s1, s2, du, dv):
    """Gradients of `axes`, of the logarithms of the three scales and of the Jacobian."""
    j00, j02, j11, j12 = jacobian
    # of rows times axes, before the scales
    a0, a1, a2 = du[0] * s0, du[1] * s1, du[2] * s2
    b0, b1, b2 = dv[0] * s0, dv[1] * s1, dv[2] * s2
    d_axes = (
        j00 * a0, j00 * a1, j00 * a2, j11 * b0, j11 * b1, j11 * b2,
        j02 * a0 + j12 * b0, j02 * a1 + j12 * b1, j02 * a2 + j12 * b2,
    )  # fmt: skip
    u, v = _spread(axes, jacobian, s0, s1, s2)
    d_scales = du[0] * u[0] + dv[0] * v[0], du[1] * u[1] + dv[1] * v[1], du[2] * u[2] + dv[2] * v[2]
    d_jacobian = (
        a0 * axes[0] + a1 * axes[1] + a2 * axes[2],
        a0 * axes[6] + a1 * axes[7] + a2 * axes[8],
        b0 * axes[3] + b1 * axes[4] + b2 * axes[5],
        b0 * axes[6] + b1 * axes[7] + b2 * axes[8],
    )
    return d_axes, d_scales, d_jacobian


@inlined
def _moments(u, v):
    """xx, yy, xy of the covariance, and its determinant as a sum of squared minors m."""
    xx = u[0] * u[0] + u[1] * u[1] + u[2] * u[2]
    yy = v[0] * v[0] + v[1] * v[1] + v[2] * v[2]
    xy = u[0] * v[0] + u[1] * v[1] + u[2] * v[2]
    m = u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]
    return xx, yy, xy, m, m[0] * m[0] + m[1] * m[1] + m[2] * m[2]


@inlined
def _moments_backward(u, v, m, d_xx, d_yy, d_xy, d_det):
    m0, m1, m2 = 2.0 * d_det * m[0], 2.0 * d_det * m[1], 2.0 * d_det * m[2]
    du = (
        2.0 * u[0] * d_xx + v[0] * d_xy + v[1] * m2 - v[2] * m1,
        2.0 * u[1] * d_xx + v[1] * d_xy + v[2] * m0 - v[0] * m2,
        2.0 * u[2] * d_xx + v[2] * d_xy + v[0] * m1 - v[1] * m0,
    )
    dv = (
        2.0 * v[0] * d_yy + u[0] * d_xy + m1 * u[2] - m2 * u[1],
        2.0 * v[1] * d_yy + u[1] * d_xy + m2 * u[0] - m0 * u[2],
        2.0 * v[2] * d_yy + u[2] * d_xy + m0 * u[1] - m1 * u[0],
    )
    return du, dv


@inlined
def gaussian(x, y, z, axes, s0, s1, s2, camera):
    """Conic A, B, C of a record, the low-passed covariance's xx and yy, and the share of opacity kept."""
    u, v = _spread(axes, _jacobian(x, y, z, camera), s0, s1, s2)
    xx, yy, xy, _, det = _moments(u, v)
    after = det + LOW_PASS_PX2 * (xx + yy) + LOW_PASS_PX2 * LOW_PASS_PX2
    xx, yy = xx + LOW_PASS_PX2, yy + LOW_PASS_PX2
    scale = _HALF / after
    return (scale * yy, -2.0 * scale * xy, scale * xx), xx, yy, sqrt((det + _EPSILON) / after)


@inlined
def gaussian_backward(x, y, z, axes, s0, s1, s2, camera, antialiased, g):
    """Gradients of the camera-axes mean, `axes` and log scales from that of the record, `g`."""
    jacobian = _jacobian(x, y, z, camera)
    u, v = _spread(axes, jacobian, s0, s1, s2)
    xx, yy, xy, m, det = _moments(u, v)
    after = det + LOW_PASS_PX2 * (xx + yy) + LOW_PASS_PX2 * LOW_PASS_PX2
    scale = _HALF / after
    g_a, g_b, g_c = g[CONIC_A] * scale, g[CONIC_B] * scale, g[CONIC_C] * scale
    d_xx, d_yy, d_xy = g_c, g_a, -2.0 * g_b
    d_after = -(g_a * (yy + LOW_PASS_PX2) - 2.0 * g_b * xy + g_c * (xx + LOW_PASS_PX2)) / after
    d_det = 0.0
    if antialiased:
        d_log = g[LOG2_OPACITY] * LOG2_E
        d_det += 0.5 * d_log / (det + _EPSILON)
        d_after -= 0.5 * d_log / after
    d_det += d_after
    d_xx, d_yy = d_xx + LOW_PASS_PX2 * d_after, d_yy + LOW_PASS_PX2 * d_after
    du, dv = _moments_backward(u, v, m, d_xx, d_yy, d_xy, d_det)
    d_axes, d_scales, d_jacobian = _spread_backward(axes, jacobian, s0, s1, s2, du, dv)
    return _jacobian_backward(x, y, z, camera, *d_jacobian), d_axes, d_scales


@inlined
def _homography(x, y, z, axes, s0, s1, camera):
    """p0, p1, q0, q1, w0, w1 of the module's text, d, and whether it is 0 for our purposes."""
    fx, fy = camera[FOCAL_X], camera[FOCAL_Y]
    w0, w1 = axes[6] * s0, axes[7] * s1
    p0, p1 = fx * (axes[0] * s0 - x / z * w0), fx * (axes[1] * s1 - x / z * w1)
    q0, q1 = fy * (axes[3] * s0 - y / z * w0), fy * (axes[4] * s1 - y / z * w1)
    d = p0 * q1 - p1 * q0
    edge_on = abs(d) <= 1e-7 * (p0 * p0 + p1 * p1 + q0 * q0 + q1 * q1) + 1e-30
    return p0, p1, q0, q1, w0, w1, d, edge_on


@inlined
def surfel(x, y, z, axes, s0, s1, camera):
    """Forms u, v and tilt of a record, and the rows (p, q, w) that its box is made of.

    Edge-on only the low-pass disc is seen: the forms are so steep that no pixel meets the plane.
    """
    p0, p1, q0, q1, w0, w1, d, edge_on = _homography(x, y, z, axes, s0, s1, camera)
    rows = (p0, p1, q0, q1, w0, w1)
    if edge_on:
        return (_STEEP, 0.0, 0.0, _STEEP), (0.0, 0.0), rows
    scale = _ROOT * z / d
    forms = scale * q1, -scale * p1, -scale * q0, scale * p0
    return forms, ((w1 * q0 - w0 * q1) / d, (p1 * w0 - p0 * w1) / d), rows


@inlined
def surfel_share(x, y, z, axes, s0, s1, camera):
    """The share of its opacity that an antialiased surfel keeps."""
    u, v = _spread(axes, _jacobian(x, y, z, camera), s0, s1, 0.0)
    xx, yy, xy, _, det = _moments(u, v)
    large, small, _ = _eigenvalues(xx, yy, xy, det)
    f = SURFEL_LOW_PASS_PX2
    return sqrt((det + _EPSILON) / (max(large, f) * max(small, f)))


@inlined
def _eigenvalues(xx, yy, xy, det):
    root = sqrt(0.25 * (xx - yy) * (xx - yy) + xy * xy + _EPSILON)
    large = 0.5 * (xx + yy) + root
    return large, det / max(large, _EPSILON), root


@inlined
def surfel_backward(x, y, z, axes, s0, s1, camera, antialiased, g):
    """Gradients of the camera-axes mean, `axes` and log scales from that of the record, `g`."""
    fx, fy = camera[FOCAL_X], camera[FOCAL_Y]
    p0, p1, q0, q1, w0, w1, d, edge_on = _homography(x, y, z, axes, s0, s1, camera)
    d_p0, d_p1, d_q0, d_q1, d_w0, d_w1, dz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    if not edge_on:
        scale = _ROOT * z / d
        e, f = g[TILT_X] / d, g[TILT_Y] / d
        d_q1, d_p1 = scale * g[U_X] - e * w0, -scale * g[U_Y] + f * w0
        d_q0, d_p0 = -scale * g[V_X] + e * w1, scale * g[V_Y] - f * w1
        d_w0, d_w1 = f * p1 - e * q1, e * q0 - f * p0
        # the forms go with z / d, the tilt with 1 / d
        forms = scale * (g[U_X] * q1 - g[U_Y] * p1 - g[V_X] * q0 + g[V_Y] * p0)
        dz = forms / z
        d_d = -(forms + e * (w1 * q0 - w0 * q1) + f * (p1 * w0 - p0 * w1)) / d
        d_p0, d_q1, d_p1, d_q0 = d_p0 + d_d * q1, d_q1 + d_d * p0, d_p1 - d_d * q0, d_q0 - d_d * p1
    d_tan_x, d_tan_y = -fx * (d_p0 * w0 + d_p1 * w1), -fy * (d_q0 * w0 + d_q1 * w1)
    d_w0 -= fx * x / z * d_p0 + fy * y / z * d_q0
    d_w1 -= fx * x / z * d_p1 + fy * y / z * d_q1
    dx, dy = d_tan_x / z, d_tan_y / z
    dz -= (d_tan_x * x + d_tan_y * y) / (z * z)
    d_s0 = fx * d_p0 * axes[0] * s0 + fy * d_q0 * axes[3] * s0 + d_w0 * w0
    d_s1 = fx * d_p1 * axes[1] * s1 + fy * d_q1 * axes[4] * s1 + d_w1 * w1
    a0, a1, a3, a4, a6, a7 = (
        fx * d_p0 * s0,
        fx * d_p1 * s1,
        fy * d_q0 * s0,
        fy * d_q1 * s1,
        d_w0 * s0,
        d_w1 * s1,
    )
    if antialiased:
        jacobian = _jacobian(x, y, z, camera)
        u, v = _spread(axes, jacobian, s0, s1, 0.0)
        xx, yy, xy, m, det = _moments(u, v)
        large, small, root = _eigenvalues(xx, yy, xy, det)
        d_log = 0.5 * g[LOG2_OPACITY] * LOG2_E
        d_large = -d_log / large if large >= SURFEL_LOW_PASS_PX2 else 0.0
        d_small = -d_log / small if small >= SURFEL_LOW_PASS_PX2 else 0.0
        d_det = d_log / (det + _EPSILON) + d_small / max(large, _EPSILON)
        d_large -= d_small * small / max(large, _EPSILON)
        apart = 0.25 * d_large * (xx - yy) / root
        d_xx, d_yy, d_xy = 0.5 * d_large + apart, 0.5 * d_large - apart, d_large * xy / root
        du, dv = _moments_backward(u, v, m, d_xx, d_yy, d_xy, d_det)
        d_axes, d_scales, d_jacobian = _spread_backward(axes, jacobian, s0, s1, 0.0, du, dv)
        tx, ty, tz = _jacobian_backward(x, y, z, camera, *d_jacobian)
        dx, dy, dz = dx + tx, dy + ty, dz + tz
        d_s0, d_s1 = d_s0 + d_scales[0], d_s1 + d_scales[1]
        a0, a1, a3, a4 = a0 + d_axes[0], a1 + d_axes[1], a3 + d_axes[3], a4 + d_axes[4]
        a6, a7 = a6 + d_axes[6], a7 + d_axes[7]
    return (dx, dy, dz), (a0, a1, 0.0, a3, a4, 0.0, a6, a7, 0.0), (d_s0, d_s1, 0.0)
