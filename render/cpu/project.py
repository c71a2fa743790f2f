"""Gaussians -> splat records of a picture, on the CPU: the first of the two kernels of a frame.

The rules are those of render/splatting.py; render/reference/projection.py says the same in torch. A chunk of
Gaussians is projected in blocks: a straight-line loop over structure-of-arrays scratch, which LLVM turns into
vector code, then a step that packs the visible ones into records of one cache line and lists them by tile
row. Every chunk writes only to its own part of the outputs, so threads need no lock and the result does not
depend on how many there are.
"""

from __future__ import annotations

import math

import numpy as np

from render.cpu.colour import colour_block
from render.cpu.functions import LOG2_E, exp_lane, log2_lane
from render.cpu.lanes import (
    LANES,
    POWER_SCALE,
    TILE_HEIGHT,
    TILE_WIDTH,
    at,
    bits_float,
    float_bits,
    inlined,
    kernel,
    sqrt_lane,
    store_records,
    take_ticket,
)
from render.cpu.layout import (
    BEND,
    BLOCK,
    BOX_COLUMNS,
    BOX_ROWS,
    CHUNK,
    COLUMNS,
    CONIC_A,
    CONIC_B,
    CONIC_C,
    DEPTH,
    DIMMING,
    HUGE,
    LOG2_OPACITY,
    MEAN_X,
    MEAN_Y,
    REACH,
    ROWS,
    SIDE_BY_SIDE,
    SLOPE,
    TILT_X,
    TILT_Y,
    TOP,
)
from render.splatting import ALPHA_MIN, LOW_PASS_PX2, NEAR_M, SURFEL_LOW_PASS_PX2

F = np.float32
_LOG2_E = F(LOG2_E)
_TWO_LN2 = F(2.0 * math.log(2.0))
_LOG2_ALPHA_MIN = F(math.log2(ALPHA_MIN))
_LOW_PASS, _SURFEL_LOW_PASS, _NEAR = F(LOW_PASS_PX2), F(SURFEL_LOW_PASS_PX2), F(NEAR_M)
_HUGE = F(HUGE)
_ROW_BITS, _COLUMN_BITS = TILE_HEIGHT.bit_length() - 1, TILE_WIDTH.bit_length() - 1
# Pixels of both halves, shifted: their tiles.
_TILE_ROWS, _TILES = (0xFFFF >> bits | 0xFFFF >> bits << 16 for bits in (_ROW_BITS, _COLUMN_BITS))


def row_slots_per_chunk(tile_rows: int) -> int:
    """Places of a chunk in `row_slots` (see `project_chunks`)."""
    return (CHUNK + 1) * tile_rows + SIDE_BY_SIDE


_places_per_chunk = inlined(row_slots_per_chunk)


@inlined
def _span(mean, extent, size):
    """First and last pixel whose centre lies in mean +- extent, in 16 bits each, or -1 when there is none.

    Limited before the conversion, because that of a huge float is undefined, and up to 0.01 px too wide, so
    that rounding never cuts a pixel off: the kernel that draws tests every pixel anyway.
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
        scale = F(-0.5 * POWER_SCALE) * _LOG2_E / after
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
        planes[LOG2_OPACITY * BLOCK + j] = F(POWER_SCALE) * log2_opacity
        rows, columns = _span(mean_y, sqrt_lane(rim * c), height), _span(mean_x, sqrt_lane(rim * a), width)
        planes[SLOPE * BLOCK + j] = xy / a
        planes[TOP * BLOCK + j] = xy * sqrt_lane(rim / c)
        planes[REACH * BLOCK + j] = rim * after / a
        planes[BEND * BLOCK + j] = after / (a * a)
        planes[DIMMING * BLOCK + j] = F(1) / max(radius2, F(1e-6))
        planes[ROWS * BLOCK + j] = bits_float(rows)
        planes[COLUMNS * BLOCK + j] = bits_float(columns)
        visible = finite & (radius2 > F(0)) & (rows >= 0) & (columns >= 0)
        planes[DEPTH * BLOCK + j] = z if visible else F(0)


@kernel
def _project_surfel_block(means, quats, log_scales, logits, camera, antialiased, planes):
    """Surfels (at most BLOCK) -> flat planes [PLANES * BLOCK].

    With pixels counted from the projected mean, the homography's rows are (p0, p1, 0), (q0, q1, 0), (w0, w1,
    w2), and the in-plane distance of 2DGS becomes a conic over a squared perspective term: rho = w2^2 ((q1 dx
    - p1 dy)^2 + (p0 dy - q0 dx)^2) / (d + e dx + f dy)^2, d = p0 q1 - p1 q0.
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
        planes[ROWS * BLOCK + j] = planes[BOX_ROWS * BLOCK + j] = bits_float(rows)
        planes[COLUMNS * BLOCK + j] = planes[BOX_COLUMNS * BLOCK + j] = bits_float(columns)
        visible = finite & (radius2 > F(0)) & (rows >= 0) & (columns >= 0)
        planes[DEPTH * BLOCK + j] = z if visible else F(0)


@kernel
def _pack_block(planes, count, slot, records, depths, spans, row_spans, ends):
    """Write the visible ones of `count` projected Gaussians from records[slot] on; the slot after the last.

    Adds to `ends` where splats begin (+1) and end (-1) to reach tile rows.
    """
    planes[DEPTH * BLOCK + count : (DEPTH + 1) * BLOCK] = F(0)
    end = slot
    for j in range(0, count, LANES):
        end = store_records(planes[j:], BLOCK, records, end)
    for j in range(count):
        depth = planes[at(DEPTH * BLOCK + j)]
        visible = np.int32(depth != F(0))
        rows, columns = float_bits(planes[at(ROWS * BLOCK + j)]), float_bits(planes[at(COLUMNS * BLOCK + j)])
        row_span = ((rows >> _ROW_BITS) & _TILE_ROWS) * visible
        depths[at(slot)], spans[at(slot)] = float_bits(depth), (columns >> _COLUMN_BITS) & _TILES
        row_spans[at(slot % CHUNK)] = row_span
        ends[at(row_span & 0xFFFF)] += visible
        ends[at((row_span >> 16) + 1)] -= visible
        slot += visible
    return end


@kernel
def _list_by_row(first, stop, place, row_spans, row_slots, starts, ends):
    """List the slots from `first` on by tile row, each list with one place to spare (see SIDE_BY_SIDE)."""
    tile_rows = starts.shape[0] - SIDE_BY_SIDE
    reaching = 0
    for row in range(tile_rows):
        reaching += ends[row]
        starts[row] = ends[row] = place
        place += reaching + 1
    ends[tile_rows:] = place
    for slot in range(first, stop):
        span = row_spans[at(slot - first)]
        top, bottom = span & 0xFFFF, span >> 16
        for row in range(top, top + SIDE_BY_SIDE):
            end = ends[at(row)]
            row_slots[at(end)] = slot
            ends[at(row)] = end + (row <= bottom)
        for row in range(top + SIDE_BY_SIDE, bottom + 1):
            row_slots[at(ends[at(row)])] = slot
            ends[at(row)] += 1


@kernel
def project_chunks(
    counter, surfel, means, quats, log_scales, logits, sh, sh_quats, camera, antialiased,
    planes, row_spans, records, depths, spans, row_slots, row_starts, row_ends,
):  # fmt: skip
    """Project chunks until `counter` runs out of them.

    A Gaussian's slot in `records` [N * RECORD], `depths` [N] (the float's bits) and `spans` [N] (last and
    first tile of its rows, 16 bits each) is in its own chunk, visible ones first. `row_slots` holds each
    chunk's slots listed by tile row: row r's are row_starts[chunk, r] .. row_ends[chunk, r].
    """
    num = logits.shape[0]
    places = _places_per_chunk(row_starts.shape[1] - SIDE_BY_SIDE)
    axes = 2 if surfel else 3
    sh_size = sh.shape[0] // num if num > 0 else 3
    while True:
        chunk = take_ticket(counter)
        first = chunk * CHUNK
        if first >= num:
            return
        last = min(first + CHUNK, num)
        slot = first
        starts, ends = row_starts[chunk], row_ends[chunk]
        ends[:] = 0
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
            colour_block(
                means[3 * start : 3 * stop], sh[sh_size * start : sh_size * stop],
                sh_quats[4 * start : 4 * stop], camera, planes,
            )  # fmt: skip
            slot = _pack_block(planes, count, slot, records, depths, spans, row_spans, ends)
        _list_by_row(first, slot, chunk * places, row_spans, row_slots, starts, ends)
