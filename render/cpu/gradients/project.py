"""Gaussians -> splat records of a picture, and gradients back. The rules are those of render/splatting.py.

Threads take chunks of Gaussians from a counter; a Gaussian's outputs depend on nothing else, and the camera's
gradient is summed chunk by chunk afterwards, so results do not depend on the number of threads.
"""

from __future__ import annotations

from math import exp, log, sqrt

import numpy as np

from render.cpu.gradients.axes import (
    camera_rotation,
    multiply,
    rotation_matrix,
    rotation_matrix_backward,
    transposed,
    turned,
)
from render.cpu.gradients.footprint import (
    LOG2_E,
    gaussian,
    gaussian_backward,
    mean_px,
    mean_px_backward,
    surfel,
    surfel_backward,
    surfel_share,
)
from render.cpu.gradients.harmonics import colour, colour_backward
from render.cpu.gradients.layout import (
    BLUE,
    CHUNK,
    COLUMNS,
    DEPTH,
    GREEN,
    HEIGHT,
    LOG2_OPACITY,
    NORMAL_X,
    NORMAL_Y,
    NORMAL_Z,
    RECORD,
    RED,
    ROWS,
    TILT_X,
    TILT_Y,
    U_X,
    U_Y,
    V_X,
    V_Y,
    WIDTH,
    inlined,
    kernel,
)
from render.cpu.lanes import bits_float, take_ticket
from render.splatting import ALPHA_MIN, NEAR_M, SURFEL_LOW_PASS_PX2

_HUGE = 1e30  # a number of this size counts as infinite: its square would overflow


@inlined
def _span(low, high, size):
    """First and last pixel whose centre lies in low .. high, 0.01 px more for rounding; -1 when none."""
    first = np.int32(max(np.ceil(low - 0.51), 0.0))
    last = np.int32(min(np.floor(high - 0.49), size - 1.0))
    return np.int32(last << 16) | first if first <= last else np.int32(-1)


@inlined
def _in_camera(mean, camera):
    r = camera_rotation(camera)
    x, y, z = turned(r, float(mean[0]), float(mean[1]), float(mean[2]))
    return x + camera[9], y + camera[10], z + camera[11]


@inlined
def _axes(quat, camera):
    matrix = rotation_matrix(float(quat[0]), float(quat[1]), float(quat[2]), float(quat[3]))
    return multiply(camera_rotation(camera), matrix)


@inlined
def _shortest(is_surfel, scales):
    """Column of the axes that is the normal."""
    if is_surfel or (scales[2] < scales[0] and scales[2] < scales[1]):
        return 2
    return 1 if scales[1] < scales[0] else 0


@inlined
def _normal(axes, column, x, y, z):
    """A column of the axes, turned to the camera, and the sign that did it."""
    nx = axes[0] if column == 0 else (axes[1] if column == 1 else axes[2])
    ny = axes[3] if column == 0 else (axes[4] if column == 1 else axes[5])
    nz = axes[6] if column == 0 else (axes[7] if column == 1 else axes[8])
    sign = -1.0 if nx * x + ny * y + nz * z > 0.0 else 1.0
    return sign * nx, sign * ny, sign * nz, sign


@inlined
def _scales(log_scales):
    third = exp(float(log_scales[2])) if log_scales.shape[0] > 2 else 0.0
    return exp(float(log_scales[0])), exp(float(log_scales[1])), third


@inlined
def _surfel_box(x, y, z, rows, rim, camera):
    """Box of the ellipse u^2 + v^2 = rim and the disc, and whether all lies before the camera."""
    p0, p1, q0, q1, w0, w1 = rows
    plane = rim * (w0 * w0 + w1 * w1) - z * z
    whole = plane < 0.0
    plane = plane if whole else -1.0
    px, py = mean_px(x, y, z, camera)
    shift_x, shift_y = rim * (p0 * w0 + p1 * w1) / plane, rim * (q0 * w0 + q1 * w1) / plane
    extent_x = sqrt(max(shift_x * shift_x - rim * (p0 * p0 + p1 * p1) / plane, 0.0))
    extent_y = sqrt(max(shift_y * shift_y - rim * (q0 * q0 + q1 * q1) / plane, 0.0))
    disc = sqrt(rim * SURFEL_LOW_PASS_PX2)
    return (
        px + min(shift_x - extent_x, -disc), px + max(shift_x + extent_x, disc),
        py + min(shift_y - extent_y, -disc), py + max(shift_y + extent_y, disc), whole,
    )  # fmt: skip


@inlined
def _project(mean, quat, log_scales, logit, sh, sh_quat, camera, antialiased, basis, mean_out, record):
    """Fill a record; its depth is 0 when the Gaussian is not drawn."""
    is_surfel = log_scales.shape[0] == 2
    mean_out[0], mean_out[1] = np.float32(0), np.float32(0)
    for k in range(RECORD):
        record[k] = np.float32(0)
    s0, s1, s2 = _scales(log_scales)
    opacity = 1.0 / (1.0 + exp(-float(logit)))
    red, green, blue = colour(mean, sh, sh_quat, camera, basis)
    norm2 = float(quat[0]) ** 2 + float(quat[1]) ** 2 + float(quat[2]) ** 2 + float(quat[3]) ** 2
    x, y, z = _in_camera(mean, camera)
    size = abs(x) + abs(y) + abs(z) + norm2 + s0 + s1 + s2 + opacity + abs(red) + abs(green) + abs(blue)
    if not (size < _HUGE and z >= NEAR_M and norm2 > 1e-20):
        return
    axes = _axes(quat, camera)
    px, py = mean_px(x, y, z, camera)
    mean_out[0], mean_out[1] = px, py
    if is_surfel:
        forms, tilt, rows = surfel(x, y, z, axes, s0, s1, camera)
        if antialiased:
            opacity *= surfel_share(x, y, z, axes, s0, s1, camera)
        rim = 2.0 * log(max(opacity, 1e-30) / ALPHA_MIN)
        left, right, top, bottom, whole = _surfel_box(x, y, z, rows, max(rim, 0.0), camera)
    else:
        conic, xx, yy, share = gaussian(x, y, z, axes, s0, s1, s2, camera)
        if antialiased:
            opacity *= share
        rim = 2.0 * log(max(opacity, 1e-30) / ALPHA_MIN)
        reach_x, reach_y = sqrt(max(rim, 0.0) * xx), sqrt(max(rim, 0.0) * yy)
        left, right, top, bottom, whole = px - reach_x, px + reach_x, py - reach_y, py + reach_y, True
        forms, tilt = (conic[0], conic[1], conic[2], 0.0), (0.0, 0.0)
    size = abs(forms[0]) + abs(forms[1]) + abs(forms[2]) + abs(forms[3]) + abs(tilt[0]) + abs(tilt[1])
    size += abs(left) + abs(right) + abs(top) + abs(bottom)
    if not (rim > 0.0 and whole and size < _HUGE):
        return
    box_rows, box_columns = _span(top, bottom, camera[HEIGHT]), _span(left, right, camera[WIDTH])
    if box_rows < 0 or box_columns < 0:
        return
    nx, ny, nz, _ = _normal(axes, _shortest(is_surfel, log_scales), x, y, z)
    record[ROWS], record[COLUMNS] = bits_float(box_rows), bits_float(box_columns)
    record[U_X], record[U_Y], record[V_X], record[V_Y] = forms  # 3D: the conic and nothing
    record[TILT_X], record[TILT_Y] = tilt
    record[LOG2_OPACITY] = log(opacity) * LOG2_E
    record[RED], record[GREEN], record[BLUE] = max(red, 0.0), max(green, 0.0), max(blue, 0.0)
    record[DEPTH] = z
    record[NORMAL_X], record[NORMAL_Y], record[NORMAL_Z] = nx, ny, nz


@kernel
def project_chunks(
    counter, means, quats, log_scales, logits, sh, sh_quats, camera, antialiased, means_px, records
):  # fmt: skip
    """Project chunks until `counter` runs out of them -> `means_px` [N, 2], `records` [N, RECORD]."""
    basis = np.empty(16)
    while True:
        first = take_ticket(counter) * CHUNK
        if first >= logits.shape[0]:
            return
        for i in range(first, min(first + CHUNK, logits.shape[0])):
            _project(
                means[i], quats[i], log_scales[i], logits[i], sh[i], sh_quats[i], camera, antialiased,
                basis, means_px[i], records[i],
            )  # fmt: skip


@inlined
def _project_backward(
    mean, quat, log_scales, logit, sh, sh_quat, camera, antialiased, record, d_px, d_record, work,
    d_mean, d_quat, d_log_scales, d_sh, d_sh_quat, d_camera,
):  # fmt: skip
    """Write one Gaussian's gradients; returns that of its logit. The camera's is added to `d_camera`."""
    is_surfel = log_scales.shape[0] == 2
    x, y, z = _in_camera(mean, camera)
    dx, dy, dz = mean_px_backward(x, y, z, camera, float(d_px[0]), float(d_px[1]))
    ex, ey, ez = 0.0, 0.0, 0.0  # of the vector from the camera's position
    d_axes = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    d_logit = 0.0
    if record[DEPTH] > 0:
        s0, s1, s2 = _scales(log_scales)
        axes = _axes(quat, camera)
        if is_surfel:
            t, d_axes, d_scales = surfel_backward(x, y, z, axes, s0, s1, camera, antialiased, d_record)
        else:
            t, d_axes, d_scales = gaussian_backward(x, y, z, axes, s0, s1, s2, camera, antialiased, d_record)
            d_log_scales[2] = d_scales[2]
        d_log_scales[0], d_log_scales[1] = d_scales[0], d_scales[1]
        dx, dy, dz = dx + t[0], dy + t[1], dz + t[2] + d_record[DEPTH]
        column = _shortest(is_surfel, log_scales)
        _, _, _, sign = _normal(axes, column, x, y, z)
        nx, ny, nz = sign * d_record[NORMAL_X], sign * d_record[NORMAL_Y], sign * d_record[NORMAL_Z]
        c0, c1 = 1.0 if column == 0 else 0.0, 1.0 if column == 1 else 0.0
        c2 = 1.0 - c0 - c1
        d_axes = (
            d_axes[0] + c0 * nx, d_axes[1] + c1 * nx, d_axes[2] + c2 * nx,
            d_axes[3] + c0 * ny, d_axes[4] + c1 * ny, d_axes[5] + c2 * ny,
            d_axes[6] + c0 * nz, d_axes[7] + c1 * nz, d_axes[8] + c2 * nz,
        )  # fmt: skip
        d_matrix = multiply(transposed(camera_rotation(camera)), d_axes)
        w = float(quat[0]), float(quat[1]), float(quat[2]), float(quat[3])
        d_quat[0], d_quat[1], d_quat[2], d_quat[3] = rotation_matrix_backward(*w, d_matrix)
        # d ln(sigmoid) = 1 - sigmoid
        d_logit = d_record[LOG2_OPACITY] * LOG2_E / (1.0 + exp(float(logit)))
        ex, ey, ez = colour_backward(
            mean, sh, sh_quat, camera, d_record, record, work[:16], work[16:], d_sh, d_sh_quat
        )
    bx, by, bz = turned(transposed(camera_rotation(camera)), dx, dy, dz)
    d_mean[0], d_mean[1], d_mean[2] = bx + ex, by + ey, bz + ez
    if _overflows(d_mean, d_quat, d_log_scales) and _finite(d_px, d_record):
        d_mean[:], d_quat[:], d_log_scales[:] = np.float32(0), np.float32(0), np.float32(0)
    elif d_camera.shape[0] > 0:
        _camera_backward(mean, quat, camera, (dx, dy, dz), (ex, ey, ez), d_axes, d_camera)
    return d_logit


@inlined
def _overflows(d_mean, d_quat, d_log_scales):
    size = abs(d_mean[0]) + abs(d_mean[1]) + abs(d_mean[2])
    size += abs(d_quat[0]) + abs(d_quat[1]) + abs(d_quat[2]) + abs(d_quat[3])
    for k in range(d_log_scales.shape[0]):
        size += abs(d_log_scales[k])
    return not size < _HUGE


@inlined
def _finite(d_px, d_record):
    size = abs(d_px[0]) + abs(d_px[1])
    for k in range(RECORD):
        size += abs(d_record[k])
    return size < _HUGE


@inlined
def _camera_backward(mean, quat, camera, d, e, d_axes, d_camera):
    """x = R p + t; axes = R Q; the direction of the harmonics starts at -R^T t."""
    px, py, pz = float(mean[0]), float(mean[1]), float(mean[2])
    matrix = rotation_matrix(float(quat[0]), float(quat[1]), float(quat[2]), float(quat[3]))
    d_rotation = multiply(d_axes, transposed(matrix))
    tx, ty, tz = turned(camera_rotation(camera), e[0], e[1], e[2])
    t = camera[9], camera[10], camera[11]
    for i in range(3):
        d_camera[3 * i] += d_rotation[3 * i] + d[i] * px + t[i] * e[0]
        d_camera[3 * i + 1] += d_rotation[3 * i + 1] + d[i] * py + t[i] * e[1]
        d_camera[3 * i + 2] += d_rotation[3 * i + 2] + d[i] * pz + t[i] * e[2]
    d_camera[9] += d[0] + tx
    d_camera[10] += d[1] + ty
    d_camera[11] += d[2] + tz


@kernel
def project_chunks_backward(
    counter, means, quats, log_scales, logits, sh, sh_quats, camera, antialiased, means_px, records,
    d_means_px, d_records,
    d_means, d_quats, d_log_scales, d_logits, d_sh, d_sh_quats, d_cameras,
):  # fmt: skip
    """Gradients of Gaussians until `counter` runs out; outputs come zeroed. `d_cameras`: [chunks, 12 or 0].

    A gradient that overflows, as that of a surfel seen from its very edge may, becomes zero; one of a loss
    that is not a number does not, for that must be seen.
    """
    work = np.empty(32)
    while True:
        chunk = take_ticket(counter)
        first = chunk * CHUNK
        if first >= logits.shape[0]:
            return
        for i in range(first, min(first + CHUNK, logits.shape[0])):
            if means_px[i, 0] == 0 and means_px[i, 1] == 0 and records[i, DEPTH] == 0:
                continue
            d_logits[i] = _project_backward(
                means[i], quats[i], log_scales[i], logits[i], sh[i], sh_quats[i], camera, antialiased,
                records[i], d_means_px[i], d_records[i], work,
                d_means[i], d_quats[i], d_log_scales[i], d_sh[i], d_sh_quats[i], d_cameras[chunk],
            )  # fmt: skip
