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
from numba import njit

from render.cpu.lanes import bits_float, float_bits, take_ticket
from render.splatting import ALPHA_MIN, LOW_PASS_PX2, NEAR_M, SURFEL_LOW_PASS_PX2

CHUNK = 2048  # Gaussians a thread takes at a time
BLOCK = 128  # Gaussians projected together; the scratch stays in the L1 cache
PLANES = 13

# Columns of a record [16] float32: everything the raster kernel needs to draw a splat.
MEAN_X, MEAN_Y, CONIC_A, CONIC_B, CONIC_C, LOG2_OPACITY, RED, GREEN, BLUE, TILT_X, TILT_Y = range(11)
ROWS, COLUMNS = 11, 12  # first and last pixel row (column) of the box, 16 bits each, as int32 bits
RECORD = 16

F = np.float32
_LOG2_E = F(1.0 / math.log(2.0))
_TWO_LN2 = F(2.0 * math.log(2.0))
_LOG2_ALPHA_MIN = F(math.log2(ALPHA_MIN))
_LOW_PASS, _SURFEL_LOW_PASS, _NEAR = F(LOW_PASS_PX2), F(SURFEL_LOW_PASS_PX2), F(NEAR_M)
_HUGE = F(1e30)  # a splat of this size or position is treated as infinite: its squares would overflow

# No "nnan" and "ninf": NaN and infinity are inputs that must be seen and dropped.
FAST = {"contract", "arcp", "nsz", "afn", "reassoc"}
OPTIONS = {"nogil": True, "cache": True, "error_model": "numpy", "boundscheck": False, "fastmath": FAST}


@njit(inline="always", **OPTIONS)
def exp_lane(x):  # type: ignore[no-untyped-def]
    """e^x, relative error 1e-7, limited to 1e-38 .. 1e38; vectorises where math.exp is a call per element."""
    y = min(max(x * _LOG2_E, F(-126)), F(127))
    whole = np.int32(y + F(126.5)) - np.int32(126)
    f = y - F(whole)
    p = F(0.00132764715)
    p = p * f + F(0.00967554153)
    p = p * f + F(0.0555071327)
    p = p * f + F(0.240221197)
    p = p * f + F(0.693146967)
    p = p * f + F(1.00000007)
    return p * bits_float((whole + np.int32(127)) << np.int32(23))


@njit(inline="always", **OPTIONS)
def log2_lane(x):  # type: ignore[no-untyped-def]
    """log2 of a positive normal number, absolute error 2e-7."""
    bits = float_bits(x)
    exponent = (bits - np.int32(0x3F3504F3)) >> np.int32(23)  # mantissa in sqrt(1/2) .. sqrt(2)
    m = bits_float(bits - (exponent << np.int32(23)))
    t = (m - F(1)) / (m + F(1))
    t2 = t * t
    series = F(1) + t2 * (F(1 / 3) + t2 * (F(1 / 5) + t2 * F(1 / 7)))
    return F(exponent) + F(2.0 / math.log(2.0)) * t * series


@njit(**OPTIONS)
def _project_block(start, count, means, quats, log_scales, logits, camera, antialiased, planes):  # type: ignore[no-untyped-def]
    """3D Gaussians start .. start + count -> planes [PLANES, BLOCK]."""
    r00, r01, r02, r10, r11, r12, r20, r21, r22 = camera[0:9]
    t0, t1, t2, fx, fy, cx, cy = camera[9:16]
    low_x, high_x, low_y, high_y = camera[18:22]
    for j in range(count):
        i = start + j
        px, py, pz = means[i, 0], means[i, 1], means[i, 2]
        x = r00 * px + r01 * py + r02 * pz + t0
        y = r10 * px + r11 * py + r12 * pz + t1
        z = r20 * px + r21 * py + r22 * pz + t2
        near = not z >= _NEAR
        z = F(1) if near else z
        iz = F(1) / z
        tan_x, tan_y = x * iz, y * iz
        j00, j11 = fx * iz, fy * iz
        j02 = -j00 * min(max(tan_x, low_x), high_x)
        j12 = -j11 * min(max(tan_y, low_y), high_y)
        a0, a1, a2 = j00 * r00 + j02 * r20, j00 * r01 + j02 * r21, j00 * r02 + j02 * r22
        b0, b1, b2 = j11 * r10 + j12 * r20, j11 * r11 + j12 * r21, j11 * r12 + j12 * r22

        qw, qx, qy, qz = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
        norm2 = qw * qw + qx * qx + qy * qy + qz * qz
        s = F(2) / norm2
        s0, s1, s2 = exp_lane(log_scales[i, 0]), exp_lane(log_scales[i, 1]), exp_lane(log_scales[i, 2])
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
        opacity = F(1) / (F(1) + exp_lane(-logits[i]))
        if antialiased:
            opacity *= math.sqrt(det / after)
        log2_opacity = log2_lane(max(opacity, F(1e-30)))
        radius2 = _TWO_LN2 * (log2_opacity - _LOG2_ALPHA_MIN)
        a, c = xx + _LOW_PASS, yy + _LOW_PASS
        scale = F(-0.5) * _LOG2_E / after
        rim = max(radius2, F(0))
        finite = abs(px) + abs(py) + abs(pz) + abs(qw) + abs(qx) + abs(qy) + abs(qz) < _HUGE
        numbers = (log_scales[i, 0] == log_scales[i, 0]) & (log_scales[i, 1] == log_scales[i, 1])
        numbers &= (log_scales[i, 2] == log_scales[i, 2]) & (logits[i] == logits[i])
        finite &= numbers & (a + c < _HUGE) & (after < _HUGE) & (norm2 > F(1e-20)) & (not near)
        planes[0, j] = fx * tan_x + cx
        planes[1, j] = fy * tan_y + cy
        planes[2, j] = scale * c
        planes[3, j] = F(-2) * scale * xy
        planes[4, j] = scale * a
        planes[5, j] = log2_opacity
        planes[6, j] = z
        planes[7, j] = math.sqrt(rim * a)
        planes[8, j] = math.sqrt(rim * c)
        planes[9, j] = F(0)
        planes[10, j] = F(0)
        planes[11, j] = F(0)
        planes[12, j] = radius2 if finite else F(-1)


@njit(**OPTIONS)
def _project_surfel_block(start, count, means, quats, log_scales, logits, camera, antialiased, planes):  # type: ignore[no-untyped-def]
    """Surfels start .. start + count -> planes [PLANES, BLOCK].

    With pixels counted from the projected mean, the homography's rows are (p0, p1, 0), (q0, q1, 0), (w0, w1, w2),
    and the in-plane distance of 2DGS becomes a conic over a squared perspective term:
    rho = w2^2 ((q1 dx - p1 dy)^2 + (p0 dy - q0 dx)^2) / (d + e dx + f dy)^2, d = p0 q1 - p1 q0.
    """
    r00, r01, r02, r10, r11, r12, r20, r21, r22 = camera[0:9]
    t0, t1, t2, fx, fy, cx, cy = camera[9:16]
    low_x, high_x, low_y, high_y = camera[18:22]
    for j in range(count):
        i = start + j
        px, py, pz = means[i, 0], means[i, 1], means[i, 2]
        x = r00 * px + r01 * py + r02 * pz + t0
        y = r10 * px + r11 * py + r12 * pz + t1
        z = r20 * px + r21 * py + r22 * pz + t2
        near = not z >= _NEAR
        z = F(1) if near else z
        iz = F(1) / z
        tan_x, tan_y = x * iz, y * iz

        qw, qx, qy, qz = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
        norm2 = qw * qw + qx * qx + qy * qy + qz * qz
        s = F(2) / norm2
        s0, s1 = exp_lane(log_scales[i, 0]), exp_lane(log_scales[i, 1])
        q00, q01 = F(1) - s * (qy * qy + qz * qz), s * (qx * qy - qw * qz)
        q10, q11 = s * (qx * qy + qw * qz), F(1) - s * (qx * qx + qz * qz)
        q20, q21 = s * (qx * qz - qw * qy), s * (qy * qz + qw * qx)
        x0, x1 = (r00 * q00 + r01 * q10 + r02 * q20) * s0, (r00 * q01 + r01 * q11 + r02 * q21) * s1
        y0, y1 = (r10 * q00 + r11 * q10 + r12 * q20) * s0, (r10 * q01 + r11 * q11 + r12 * q21) * s1
        w0, w1 = (r20 * q00 + r21 * q10 + r22 * q20) * s0, (r20 * q01 + r21 * q11 + r22 * q21) * s1
        p0, p1 = fx * (x0 - tan_x * w0), fx * (x1 - tan_x * w1)
        q0, q1 = fy * (y0 - tan_y * w0), fy * (y1 - tan_y * w1)

        opacity = F(1) / (F(1) + exp_lane(-logits[i]))
        if antialiased:
            # The affine footprint at the mean uses the limited Jacobian, like that of a 3D Gaussian.
            limited_x, limited_y = min(max(tan_x, low_x), high_x), min(max(tan_y, low_y), high_y)
            u0, u1 = fx * iz * (x0 - limited_x * w0), fx * iz * (x1 - limited_x * w1)
            v0, v1 = fy * iz * (y0 - limited_y * w0), fy * iz * (y1 - limited_y * w1)
            xx, yy, xy = u0 * u0 + u1 * u1, v0 * v0 + v1 * v1, u0 * v0 + u1 * v1
            det = (u0 * v1 - u1 * v0) * (u0 * v1 - u1 * v0)
            large = F(0.5) * (xx + yy) + math.sqrt(F(0.25) * (xx - yy) * (xx - yy) + xy * xy)
            small = det / max(large, F(1e-20))
            opacity *= math.sqrt(det / (max(large, _SURFEL_LOW_PASS) * max(small, _SURFEL_LOW_PASS)))
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
        extent_x = math.sqrt(max(shift_x * shift_x - rim * (p0 * p0 + p1 * p1) / plane, F(0)))
        extent_y = math.sqrt(max(shift_y * shift_y - rim * (q0 * q0 + q1 * q1) / plane, F(0)))
        disc = math.sqrt(rim * _SURFEL_LOW_PASS)
        finite = abs(px) + abs(py) + abs(pz) + abs(qw) + abs(qx) + abs(qy) + abs(qz) < _HUGE
        numbers = (log_scales[i, 0] == log_scales[i, 0]) & (log_scales[i, 1] == log_scales[i, 1])
        finite &= numbers & (logits[i] == logits[i]) & (norm2 > F(1e-20)) & (not near) & before_camera
        finite &= extent_x + extent_y < _HUGE
        planes[0, j] = fx * tan_x + cx
        planes[1, j] = fy * tan_y + cy
        planes[2, j] = scale * (q1 * q1 + q0 * q0)
        planes[3, j] = F(-2) * scale * (q1 * p1 + q0 * p0)
        planes[4, j] = scale * (p1 * p1 + p0 * p0)
        planes[5, j] = log2_opacity
        planes[6, j] = z
        # The box must hold both the ellipse, off-centre by the perspective, and the disc around the mean.
        planes[7, j] = max(abs(shift_x) + extent_x, disc)
        planes[8, j] = max(abs(shift_y) + extent_y, disc)
        planes[9, j] = (w1 * q0 - w0 * q1) / d
        planes[10, j] = (p1 * w0 - p0 * w1) / d
        planes[11, j] = F(0)
        planes[12, j] = radius2 if finite else F(-1)


@njit(**OPTIONS)
def _colour(i, means, sh, sh_quats, camera):  # type: ignore[no-untyped-def]
    """Colour of Gaussian i seen from the camera: 0.5 + SH, at least 0. The basis is that of render/sh.py."""
    c0 = F(0.28209479177387814)
    out_r = F(0.5) + c0 * sh[i, 0, 0]
    out_g = F(0.5) + c0 * sh[i, 0, 1]
    out_b = F(0.5) + c0 * sh[i, 0, 2]
    terms = sh.shape[1]
    if terms > 1:
        x, y, z = means[i, 0] - camera[22], means[i, 1] - camera[23], means[i, 2] - camera[24]
        length = math.sqrt(x * x + y * y + z * z)
        inverse = F(1) / max(length, F(1e-12))
        x, y, z = x * inverse, y * inverse, z * inverse
        if (
            sh_quats.shape[0] > 0
        ):  # into the local frame: the inverse rotation of d is d + 2 (w t + t x q), t = d x q
            qw, qx, qy, qz = sh_quats[i, 0], sh_quats[i, 1], sh_quats[i, 2], sh_quats[i, 3]
            s = F(2) / (qw * qw + qx * qx + qy * qy + qz * qz)
            tx, ty, tz = y * qz - z * qy, z * qx - x * qz, x * qy - y * qx
            x, y, z = (
                x + s * (qw * tx + ty * qz - tz * qy),
                y + s * (qw * ty + tz * qx - tx * qz),
                z + s * (qw * tz + tx * qy - ty * qx),
            )
        for k in range(1, terms):
            if k == 1:
                v = F(-0.4886025119029199) * y
            elif k == 2:
                v = F(0.4886025119029199) * z
            elif k == 3:
                v = F(-0.4886025119029199) * x
            elif k == 4:
                v = F(1.0925484305920792) * x * y
            elif k == 5:
                v = F(-1.0925484305920792) * y * z
            elif k == 6:
                v = F(0.31539156525252005) * (F(2) * z * z - x * x - y * y)
            elif k == 7:
                v = F(-1.0925484305920792) * x * z
            elif k == 8:
                v = F(0.5462742152960396) * (x * x - y * y)
            elif k == 9:
                v = F(-0.5900435899266435) * y * (F(3) * x * x - y * y)
            elif k == 10:
                v = F(2.890611442640554) * x * y * z
            elif k == 11:
                v = F(-0.4570457994644658) * y * (F(4) * z * z - x * x - y * y)
            elif k == 12:
                v = F(0.3731763325901154) * z * (F(2) * z * z - F(3) * x * x - F(3) * y * y)
            elif k == 13:
                v = F(-0.4570457994644658) * x * (F(4) * z * z - x * x - y * y)
            elif k == 14:
                v = F(1.445305721320277) * z * (x * x - y * y)
            else:
                v = F(-0.5900435899266435) * x * (x * x - F(3) * y * y)
            out_r += v * sh[i, k, 0]
            out_g += v * sh[i, k, 1]
            out_b += v * sh[i, k, 2]
    return out_r, out_g, out_b


@njit(**OPTIONS)
def project_chunks(  # type: ignore[no-untyped-def]
    counter, means, quats, log_scales, logits, sh, sh_quats, camera, antialiased,
    planes, records, depth_bits, row_slots, row_starts,
):  # fmt: skip
    """Project chunks until `counter` runs out of them.

    Outputs, indexed by slot (a Gaussian's slot is in its own chunk, visible ones first): `records` [N, RECORD],
    `depth_bits` [N] int32, positive floats that order like integers. Per chunk: `row_slots` [N * tile rows] holds the
    chunk's slots listed by tile row; row r's are row_starts[chunk, r] .. row_starts[chunk, r + 1] of the chunk's part.
    """
    num = means.shape[0]
    tile_rows = row_starts.shape[1] - 1
    width, height = camera[16], camera[17]
    surfel = log_scales.shape[1] == 2
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
            if surfel:
                _project_surfel_block(
                    start, count, means, quats, log_scales, logits, camera, antialiased, planes
                )
            else:
                _project_block(start, count, means, quats, log_scales, logits, camera, antialiased, planes)
            for j in range(count):
                if not planes[12, j] > F(0):
                    continue
                mean_x, mean_y = planes[0, j] - F(0.5), planes[1, j] - F(0.5)
                # limits first, in float: the conversion of a huge float to an integer is undefined
                x0 = max(math.ceil(max(mean_x - planes[7, j], F(-1))), 0)
                x1 = math.floor(min(mean_x + planes[7, j], width - F(1)))
                y0 = max(math.ceil(max(mean_y - planes[8, j], F(-1))), 0)
                y1 = math.floor(min(mean_y + planes[8, j], height - F(1)))
                if x0 > x1 or y0 > y1:
                    continue
                red, green, blue = _colour(start + j, means, sh, sh_quats, camera)
                if not abs(red) + abs(green) + abs(blue) < _HUGE:
                    continue
                record = records[slot]
                record[MEAN_X] = mean_x
                record[MEAN_Y] = mean_y
                record[CONIC_A] = planes[2, j]
                record[CONIC_B] = planes[3, j]
                record[CONIC_C] = planes[4, j]
                record[LOG2_OPACITY] = planes[5, j]
                record[RED] = max(red, F(0))
                record[GREEN] = max(green, F(0))
                record[BLUE] = max(blue, F(0))
                record[TILT_X] = planes[9, j]
                record[TILT_Y] = planes[10, j]
                record[ROWS] = bits_float(np.int32((np.int32(y1) << 16) | np.int32(y0)))
                record[COLUMNS] = bits_float(np.int32((np.int32(x1) << 16) | np.int32(x0)))
                depth_bits[slot] = float_bits(planes[6, j])
                slot += 1
                for row in range(np.int64(y0) >> 4, (np.int64(y1) >> 4) + 1):
                    starts[row + 1] += 1
        base = first * tile_rows
        for row in range(tile_rows):
            starts[row + 1] += starts[row]
        for s in range(first, slot):
            rows = float_bits(records[s, ROWS])
            for row in range((rows & 0xFFFF) >> 4, (rows >> 20) + 1):
                row_slots[base + starts[row]] = s
                starts[row] += 1
        for row in range(tile_rows, 0, -1):
            starts[row] = starts[row - 1]
        starts[0] = 0
