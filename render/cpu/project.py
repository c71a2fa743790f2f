"""Gaussians -> splat records of a picture, on the CPU: the first of the two kernels of a frame.

The rules are those of render/splatting.py; render/projection.py says the same in torch.
A chunk of Gaussians is projected in blocks: a straight-line loop over structure-of-arrays scratch, which LLVM
turns into vector code, then a loop that packs the visible ones into records of one cache line and lists them by
tile row. Every chunk writes only to its own part of the outputs, so threads need no lock and the result does not
depend on how many there are.
"""

from __future__ import annotations

import math

import numpy as np

from render.cpu.lanes import bits_float, float_bits, inlined, kernel, sqrt_lane, take_ticket
from render.splatting import ALPHA_MIN, LOW_PASS_PX2, NEAR_M, SURFEL_LOW_PASS_PX2

CHUNK = 2048  # Gaussians a thread takes at a time
BLOCK = 128  # Gaussians projected together; the scratch stays in the L1 cache

# Columns of a record [16] float32: everything the raster kernel needs to draw a splat.
MEAN_X, MEAN_Y, CONIC_A, CONIC_B, CONIC_C, LOG2_OPACITY, TILT_X, TILT_Y = range(8)
ROWS, COLUMNS = 8, 9  # last and first pixel row (column) of the box, 16 bits each, as int32 bits
RED, GREEN, BLUE = 10, 11, 12
DEPTH = 13  # only between the two loops; 0 when the Gaussian is not drawn
COPIED, PLANES, RECORD = 13, 14, 16

F = np.float32
_LOG2_E = F(1.0 / math.log(2.0))
_TWO_LN2 = F(2.0 * math.log(2.0))
_LOG2_ALPHA_MIN = F(math.log2(ALPHA_MIN))
_LOW_PASS, _SURFEL_LOW_PASS, _NEAR = F(LOW_PASS_PX2), F(SURFEL_LOW_PASS_PX2), F(NEAR_M)
_HUGE = F(1e30)  # a splat of this size or position is treated as infinite: its squares would overflow


@inlined
def exp_lane(x):
    """e^x, relative error 1e-7, limited to 1e-38 .. 1e38; vectorises where math.exp is a call per element."""
    y = min(max(x * _LOG2_E, F(-126)), F(127))
    whole = np.int32(np.int32(y + F(126.5)) - np.int32(126))
    f = y - F(whole)
    p = F(0.00132764715)
    p = p * f + F(0.00967554153)
    p = p * f + F(0.0555071327)
    p = p * f + F(0.240221197)
    p = p * f + F(0.693146967)
    p = p * f + F(1.00000007)
    return p * bits_float(np.int32(np.int32(whole + np.int32(127)) << np.int32(23)))


@inlined
def log2_lane(x):
    """log2 of a positive normal number, absolute error 2e-7."""
    bits = float_bits(x)
    exponent = np.int32(
        np.int32(bits - np.int32(0x3F3504F3)) >> np.int32(23)
    )  # mantissa in sqrt(1/2) .. sqrt(2)
    m = bits_float(np.int32(bits - np.int32(exponent << np.int32(23))))
    t = (m - F(1)) / (m + F(1))
    t2 = t * t
    series = F(1) + t2 * (F(1 / 3) + t2 * (F(1 / 5) + t2 * F(1 / 7)))
    return F(exponent) + F(2.0 / math.log(2.0)) * t * series


@inlined
def _span(mean, extent, size):
    """First and last pixel whose centre lies in mean +- extent, in 16 bits each, or -1 when there is none.

    Limited before the conversion, because that of a huge float is undefined, and up to 0.01 px too wide, so that
    rounding never cuts a pixel off: the kernel that draws tests every pixel anyway.
    """
    low = max(mean - extent - F(0.51), F(-1))
    high = min(mean + extent - F(0.49), size - F(1))
    first = max(np.int32(32768) - np.int32(F(32768) - low), np.int32(0))  # ceil
    last = np.int32(max(high + F(1), F(0))) - np.int32(1)  # floor, -1 for negative numbers
    return np.int32(np.int32(last << 16) | np.int32(first)) if first <= last else np.int32(-1)


@kernel
def _project_block(means, quats, log_scales, logits, camera, antialiased, planes):
    """3D Gaussians (at most BLOCK) -> flat planes [PLANES * BLOCK]."""
    r00, r01, r02, r10, r11, r12, r20, r21, r22 = camera[0:9]
    t0, t1, t2, fx, fy, cx, cy = camera[9:16]
    width, height, low_x, high_x, low_y, high_y = camera[16:22]
    for j in range(logits.shape[0]):
        px, py, pz = means[3 * j], means[3 * j + 1], means[3 * j + 2]
        x = r00 * px + r01 * py + r02 * pz + t0
        y = r10 * px + r11 * py + r12 * pz + t1
        z = r20 * px + r21 * py + r22 * pz + t2
        near = not z >= _NEAR
        z = F(1) if near else z
        iz = F(1) / z
        tan_x, tan_y = x * iz, y * iz
        mean_x, mean_y = fx * tan_x + cx, fy * tan_y + cy
        j00, j11 = fx * iz, fy * iz
        j02 = -j00 * min(max(tan_x, low_x), high_x)
        j12 = -j11 * min(max(tan_y, low_y), high_y)
        a0, a1, a2 = j00 * r00 + j02 * r20, j00 * r01 + j02 * r21, j00 * r02 + j02 * r22
        b0, b1, b2 = j11 * r10 + j12 * r20, j11 * r11 + j12 * r21, j11 * r12 + j12 * r22

        qw, qx, qy, qz = quats[4 * j], quats[4 * j + 1], quats[4 * j + 2], quats[4 * j + 3]
        norm2 = qw * qw + qx * qx + qy * qy + qz * qz
        s = F(2) / norm2
        s0, s1, s2 = (
            exp_lane(log_scales[3 * j]),
            exp_lane(log_scales[3 * j + 1]),
            exp_lane(log_scales[3 * j + 2]),
        )
        q00, q01, q02 = F(1) - s * (qy * qy + qz * qz), s * (qx * qy - qw * qz), s * (qx * qz + qw * qy)
        q10, q11, q12 = s * (qx * qy + qw * qz), F(1) - s * (qx * qx + qz * qz), s * (qy * qz - qw * qx)
        q20, q21, q22 = s * (qx * qz - qw * qy), s * (qy * qz + qw * qx), F(1) - s * (qx * qx + qy * qy)
        u0, v0 = (a0 * q00 + a1 * q10 + a2 * q20) * s0, (b0 * q00 + b1 * q10 + b2 * q20) * s0
        u1, v1 = (a0 * q01 + a1 * q11 + a2 * q21) * s1, (b0 * q01 + b1 * q11 + b2 * q21) * s1
        u2, v2 = (a0 * q02 + a1 * q12 + a2 * q22) * s2, (b0 * q02 + b1 * q12 + b2 * q22) * s2

        xx, yy, xy = u0 * u0 + u1 * u1 + u2 * u2, v0 * v0 + v1 * v1 + v2 * v2, u0 * v0 + u1 * v1 + u2 * v2
        m0, m1, m2 = u1 * v2 - u2 * v1, u2 * v0 - u0 * v2, u0 * v1 - u1 * v0
        det = m0 * m0 + m1 * m1 + m2 * m2
        after = det + _LOW_PASS * (xx + yy) + _LOW_PASS * _LOW_PASS
        opacity = F(1) / (F(1) + exp_lane(-logits[j]))
        if antialiased:
            opacity *= sqrt_lane(det / after)
        log2_opacity = log2_lane(max(opacity, F(1e-30)))
        radius2 = _TWO_LN2 * (log2_opacity - _LOG2_ALPHA_MIN)
        a, c = xx + _LOW_PASS, yy + _LOW_PASS
        scale = F(-0.5) * _LOG2_E / after
        rim = max(radius2, F(0))
        finite = abs(px) + abs(py) + abs(pz) + abs(qw) + abs(qx) + abs(qy) + abs(qz) < _HUGE
        numbers = (log_scales[3 * j] == log_scales[3 * j]) & (log_scales[3 * j + 1] == log_scales[3 * j + 1])
        numbers &= (log_scales[3 * j + 2] == log_scales[3 * j + 2]) & (logits[j] == logits[j])
        finite &= numbers & (a + c < _HUGE) & (after < _HUGE) & (norm2 > F(1e-20)) & (not near)
        planes[MEAN_X * BLOCK + j] = mean_x - F(0.5)
        planes[MEAN_Y * BLOCK + j] = mean_y - F(0.5)
        planes[CONIC_A * BLOCK + j] = scale * c
        planes[CONIC_B * BLOCK + j] = F(-2) * scale * xy
        planes[CONIC_C * BLOCK + j] = scale * a
        planes[LOG2_OPACITY * BLOCK + j] = log2_opacity
        rows, columns = _span(mean_y, sqrt_lane(rim * c), height), _span(mean_x, sqrt_lane(rim * a), width)
        planes[TILT_X * BLOCK + j] = F(0)
        planes[TILT_Y * BLOCK + j] = F(0)
        planes[ROWS * BLOCK + j] = bits_float(rows)
        planes[COLUMNS * BLOCK + j] = bits_float(columns)
        visible = finite & (radius2 > F(0)) & (rows >= 0) & (columns >= 0)
        planes[DEPTH * BLOCK + j] = z if visible else F(0)


@kernel
def _project_surfel_block(means, quats, log_scales, logits, camera, antialiased, planes):
    """Surfels (at most BLOCK) -> flat planes [PLANES * BLOCK].

    With pixels counted from the projected mean, the homography's rows are (p0, p1, 0), (q0, q1, 0), (w0, w1, w2),
    and the in-plane distance of 2DGS becomes a conic over a squared perspective term:
    rho = w2^2 ((q1 dx - p1 dy)^2 + (p0 dy - q0 dx)^2) / (d + e dx + f dy)^2, d = p0 q1 - p1 q0.
    """
    r00, r01, r02, r10, r11, r12, r20, r21, r22 = camera[0:9]
    t0, t1, t2, fx, fy, cx, cy = camera[9:16]
    width, height, low_x, high_x, low_y, high_y = camera[16:22]
    for j in range(logits.shape[0]):
        px, py, pz = means[3 * j], means[3 * j + 1], means[3 * j + 2]
        x = r00 * px + r01 * py + r02 * pz + t0
        y = r10 * px + r11 * py + r12 * pz + t1
        z = r20 * px + r21 * py + r22 * pz + t2
        near = not z >= _NEAR
        z = F(1) if near else z
        iz = F(1) / z
        tan_x, tan_y = x * iz, y * iz
        mean_x, mean_y = fx * tan_x + cx, fy * tan_y + cy

        qw, qx, qy, qz = quats[4 * j], quats[4 * j + 1], quats[4 * j + 2], quats[4 * j + 3]
        norm2 = qw * qw + qx * qx + qy * qy + qz * qz
        s = F(2) / norm2
        s0, s1 = exp_lane(log_scales[2 * j]), exp_lane(log_scales[2 * j + 1])
        q00, q01 = F(1) - s * (qy * qy + qz * qz), s * (qx * qy - qw * qz)
        q10, q11 = s * (qx * qy + qw * qz), F(1) - s * (qx * qx + qz * qz)
        q20, q21 = s * (qx * qz - qw * qy), s * (qy * qz + qw * qx)
        x0, x1 = (r00 * q00 + r01 * q10 + r02 * q20) * s0, (r00 * q01 + r01 * q11 + r02 * q21) * s1
        y0, y1 = (r10 * q00 + r11 * q10 + r12 * q20) * s0, (r10 * q01 + r11 * q11 + r12 * q21) * s1
        w0, w1 = (r20 * q00 + r21 * q10 + r22 * q20) * s0, (r20 * q01 + r21 * q11 + r22 * q21) * s1
        p0, p1 = fx * (x0 - tan_x * w0), fx * (x1 - tan_x * w1)
        q0, q1 = fy * (y0 - tan_y * w0), fy * (y1 - tan_y * w1)

        opacity = F(1) / (F(1) + exp_lane(-logits[j]))
        if antialiased:
            # The affine footprint at the mean uses the limited Jacobian, like that of a 3D Gaussian.
            limited_x, limited_y = min(max(tan_x, low_x), high_x), min(max(tan_y, low_y), high_y)
            u0, u1 = fx * iz * (x0 - limited_x * w0), fx * iz * (x1 - limited_x * w1)
            v0, v1 = fy * iz * (y0 - limited_y * w0), fy * iz * (y1 - limited_y * w1)
            xx, yy, xy = u0 * u0 + u1 * u1, v0 * v0 + v1 * v1, u0 * v0 + u1 * v1
            det = (u0 * v1 - u1 * v0) * (u0 * v1 - u1 * v0)
            large = F(0.5) * (xx + yy) + sqrt_lane(F(0.25) * (xx - yy) * (xx - yy) + xy * xy)
            small = det / max(large, F(1e-20))
            opacity *= sqrt_lane(det / (max(large, _SURFEL_LOW_PASS) * max(small, _SURFEL_LOW_PASS)))
        log2_opacity = log2_lane(max(opacity, F(1e-30)))
        radius2 = _TWO_LN2 * (log2_opacity - _LOG2_ALPHA_MIN)
        rim = max(radius2, F(0))

        d = p0 * q1 - p1 * q0
        least = F(1e-9) * (abs(p0 * q1) + abs(p1 * q0)) + F(1e-15)  # edge-on: a line, and the low-pass disc
        d = d if abs(d) > least else least
        scale = F(-0.5) * _LOG2_E * (z / d) * (z / d)
        plane = rim * (w0 * w0 + w1 * w1) - z * z
        before_camera = plane < F(0)
        plane = min(plane, F(-1e-20))
        shift_x, shift_y = rim * (p0 * w0 + p1 * w1) / plane, rim * (q0 * w0 + q1 * w1) / plane
        extent_x = sqrt_lane(max(shift_x * shift_x - rim * (p0 * p0 + p1 * p1) / plane, F(0)))
        extent_y = sqrt_lane(max(shift_y * shift_y - rim * (q0 * q0 + q1 * q1) / plane, F(0)))
        disc = sqrt_lane(rim * _SURFEL_LOW_PASS)
        finite = abs(px) + abs(py) + abs(pz) + abs(qw) + abs(qx) + abs(qy) + abs(qz) < _HUGE
        numbers = (log_scales[2 * j] == log_scales[2 * j]) & (log_scales[2 * j + 1] == log_scales[2 * j + 1])
        finite &= numbers & (logits[j] == logits[j]) & (norm2 > F(1e-20)) & (not near) & before_camera
        finite &= extent_x + extent_y < _HUGE
        planes[MEAN_X * BLOCK + j] = mean_x - F(0.5)
        planes[MEAN_Y * BLOCK + j] = mean_y - F(0.5)
        planes[CONIC_A * BLOCK + j] = scale * (q1 * q1 + q0 * q0)
        planes[CONIC_B * BLOCK + j] = F(-2) * scale * (q1 * p1 + q0 * p0)
        planes[CONIC_C * BLOCK + j] = scale * (p1 * p1 + p0 * p0)
        planes[LOG2_OPACITY * BLOCK + j] = log2_opacity
        # The box must hold both the ellipse, off-centre by the perspective, and the disc around the mean.
        rows, columns = (
            _span(mean_y, max(abs(shift_y) + extent_y, disc), height),
            _span(mean_x, max(abs(shift_x) + extent_x, disc), width),
        )
        planes[TILT_X * BLOCK + j] = (w1 * q0 - w0 * q1) / d
        planes[TILT_Y * BLOCK + j] = (p1 * w0 - p0 * w1) / d
        planes[ROWS * BLOCK + j] = bits_float(rows)
        planes[COLUMNS * BLOCK + j] = bits_float(columns)
        visible = finite & (radius2 > F(0)) & (rows >= 0) & (columns >= 0)
        planes[DEPTH * BLOCK + j] = z if visible else F(0)


@kernel
def _colour_block(means, sh, sh_quats, camera, planes):
    """Colours of a block seen from the camera: 0.5 + SH, at least 0; not finite ones are not drawn.

    The basis is that of render/sh.py.
    """
    num = means.shape[0] // 3
    terms = sh.shape[0] // means.shape[0]
    c0 = F(0.28209479177387814)
    for j in range(num):
        for k in range(3):
            planes[(RED + k) * BLOCK + j] = F(0.5) + c0 * sh[3 * terms * j + k]
    if terms > 1:
        for j in range(num):
            if planes[DEPTH * BLOCK + j] > F(0):
                _add_highlights(j, means, sh, terms, sh_quats, camera, planes)
    for j in range(num):
        red, green, blue = planes[RED * BLOCK + j], planes[GREEN * BLOCK + j], planes[BLUE * BLOCK + j]
        finite = abs(red) + abs(green) + abs(blue) < _HUGE
        planes[RED * BLOCK + j] = max(red, F(0))
        planes[GREEN * BLOCK + j] = max(green, F(0))
        planes[BLUE * BLOCK + j] = max(blue, F(0))
        planes[DEPTH * BLOCK + j] = planes[DEPTH * BLOCK + j] if finite else F(0)


@inlined
def _add_highlights(j, means, sh, terms, sh_quats, camera, planes):
    """Bands 1 and up of Gaussian j."""
    x, y, z = means[3 * j] - camera[22], means[3 * j + 1] - camera[23], means[3 * j + 2] - camera[24]
    inverse = F(1) / max(sqrt_lane(x * x + y * y + z * z), F(1e-12))
    x, y, z = x * inverse, y * inverse, z * inverse
    if sh_quats.shape[0] > 0:  # the inverse rotation of d is d + 2 (w t + t x q) / |q|^2, t = d x q
        qw, qx, qy, qz = sh_quats[4 * j], sh_quats[4 * j + 1], sh_quats[4 * j + 2], sh_quats[4 * j + 3]
        s = F(2) / (qw * qw + qx * qx + qy * qy + qz * qz)
        tx, ty, tz = y * qz - z * qy, z * qx - x * qz, x * qy - y * qx
        x, y, z = (
            x + s * (qw * tx + ty * qz - tz * qy),
            y + s * (qw * ty + tz * qx - tx * qz),
            z + s * (qw * tz + tx * qy - ty * qx),
        )
    xx, yy, zz = x * x, y * y, z * z
    for k in range(3):
        at = 3 * terms * j + k
        value = F(0.4886025119029199) * (z * sh[at + 6] - y * sh[at + 3] - x * sh[at + 9])
        if terms > 4:
            value += F(1.0925484305920792) * (x * y * sh[at + 12] - y * z * sh[at + 15] - x * z * sh[at + 21])
            value += F(0.31539156525252005) * (F(2) * zz - xx - yy) * sh[at + 18]
            value += F(0.5462742152960396) * (xx - yy) * sh[at + 24]
        if terms > 9:
            value -= F(0.5900435899266435) * y * (F(3) * xx - yy) * sh[at + 27]
            value += F(2.890611442640554) * x * y * z * sh[at + 30]
            value -= F(0.4570457994644658) * y * (F(4) * zz - xx - yy) * sh[at + 33]
            value += F(0.3731763325901154) * z * (F(2) * zz - F(3) * xx - F(3) * yy) * sh[at + 36]
            value -= F(0.4570457994644658) * x * (F(4) * zz - xx - yy) * sh[at + 39]
            value += F(1.445305721320277) * z * (xx - yy) * sh[at + 42]
            value -= F(0.5900435899266435) * x * (xx - F(3) * yy) * sh[at + 45]
        planes[(RED + k) * BLOCK + j] += value


@kernel
def project_chunks(
    counter, surfel, means, quats, log_scales, logits, sh, sh_quats, camera, antialiased,
    planes, records, depth_bits, row_slots, row_starts,
):  # fmt: skip
    """Project chunks until `counter` runs out of them.

    Outputs, indexed by slot (a Gaussian's slot is in its own chunk, visible ones first): `records` [N, RECORD],
    `depth_bits` [N] int32, positive floats that order like integers. Per chunk: `row_slots` [N * tile rows] holds the
    chunk's slots listed by tile row; row r's are row_starts[chunk, r] .. row_starts[chunk, r + 1] of the chunk's part.
    """
    num = logits.shape[0]
    tile_rows = row_starts.shape[1] - 1
    axes = 2 if surfel else 3
    sh_size = sh.shape[0] // num if num > 0 else 3
    while True:
        chunk = take_ticket(counter)
        first = chunk * CHUNK
        if first >= num:
            return
        last = min(first + CHUNK, num)
        slot = first
        starts = row_starts[chunk]
        starts[:] = 0
        for start in range(first, last, BLOCK):
            count = min(BLOCK, last - start)
            stop = start + count
            block = (
                means[3 * start : 3 * stop], quats[4 * start : 4 * stop],
                log_scales[axes * start : axes * stop], logits[start:stop],
            )  # fmt: skip
            if surfel:
                _project_surfel_block(*block, camera, antialiased, planes)
            else:
                _project_block(*block, camera, antialiased, planes)
            _colour_block(
                means[3 * start : 3 * stop], sh[sh_size * start : sh_size * stop],
                sh_quats[4 * start : 4 * stop], camera, planes,
            )  # fmt: skip
            for j in range(count):
                if planes[DEPTH * BLOCK + j] == F(0):
                    continue
                for column in range(COPIED):
                    records[slot * RECORD + column] = planes[column * BLOCK + j]
                depth_bits[slot] = float_bits(planes[DEPTH * BLOCK + j])
                rows = float_bits(planes[ROWS * BLOCK + j])
                slot += 1
                for row in range((rows & 0xFFFF) >> 4, (rows >> 20) + 1):
                    starts[row + 1] += 1
        base = first * tile_rows
        for row in range(tile_rows):
            starts[row + 1] += starts[row]
        for s in range(first, slot):
            rows = float_bits(records[s * RECORD + ROWS])
            for row in range((rows & 0xFFFF) >> 4, (rows >> 20) + 1):
                row_slots[base + starts[row]] = s
                starts[row] += 1
        for row in range(tile_rows, 0, -1):
            starts[row] = starts[row - 1]
        starts[0] = 0
