"""Splats over the blocks of a tile: the innermost steps of the CPU renderer, as LLVM vectors.

A tile takes its splats in batches, and a batch block by block: the block's colours and transmittance stay in
registers while all splats of the batch that touch it are blended. Writing them back after every splat costs
more than all the arithmetic.

For the columns of a tile the log2 of a 3D splat's alpha is a polynomial of the row y, c y^2 + B y + A, with
one c for all of them. B and A are worked out once a tile and splat; what is left for a pixel is two products.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils

from render.cpu.lanes import (
    BLOCK_FLOATS,
    EXP2_CUBIC,
    F32,
    FLOATS,
    I32,
    INTEGERS,
    LANES,
    SIDE,
    STRIP_BLOCKS,
    TILE,
    TILE_FLOATS,
    VECTOR,
    Ops,
    element_pointer,
    lane_operation,
)
from render.cpu.layout import (
    BEND,
    BLUE,
    CONIC_A,
    CONIC_B,
    CONIC_C,
    GREEN,
    LOG2_OPACITY,
    MEAN_X,
    MEAN_Y,
    REACH,
    RECORD,
    RED,
    SLOPE,
    TILT_X,
    TILT_Y,
    TOP,
)
from render.splatting import ALPHA_MAX, ALPHA_MIN, SURFEL_LOW_PASS_PX2

BATCH = 32  # splats: one bit each
CENTRE = TILE // 2  # rows and columns of a tile are counted from here: rounding errors grow with the distance

# What a batch keeps of a splat, three cache lines: a surfel's record, its mean counted from the tile's centre;
# of a 3D splat the columns' A [TILE] and B [TILE], then c, red, green and blue.
BATCH_ROW = 48
_COLUMN_A, _COLUMN_B, _ROW_C, _RGB = 0, TILE, 2 * TILE, 2 * TILE + 1

_INT64 = ir.IntType(64)
_STRIP_LANES = 2 * STRIP_BLOCKS  # the upper and the lower rim of a splat in every strip of blocks


def _at(builder: ir.IRBuilder, pointer: ir.Value, index: int) -> ir.Value:
    return builder.gep(pointer, [ir.Constant(I32, index)])


def _splat_power(ops: Ops, row: ir.Value, strip: ir.Value, y: ir.Value) -> ir.Value:
    """log2 of a 3D splat's alpha over a block, from its row of the batch."""
    b, quad = ops.builder, ir.VectorType(F32, SIDE)
    each = ir.Constant(ir.VectorType(I32, LANES), [i % SIDE for i in range(LANES)])

    def columns(start: int) -> ir.Value:
        pointer = b.gep(_at(b, row, start), [b.mul(strip, ir.Constant(I32, SIDE))])
        four = b.load(b.bitcast(pointer, quad.as_pointer()), align=4)
        return b.shuffle_vector(four, four, each)

    factor = ops.splat(b.load(_at(b, row, _ROW_C)))
    return ops.muladd(y, ops.muladd(factor, y, columns(_COLUMN_B)), columns(_COLUMN_A))


def _surfel_power(ops: Ops, row: ir.Value, x: ir.Value, y: ir.Value) -> ir.Value:
    """The same of a surfel: the quadratic over (1 + e dx + f dy)^2, or its low-pass disc where that is more."""
    b = ops.builder

    def column(index: int) -> ir.Value:
        return ops.splat(b.load(_at(b, row, index)))

    dx, dy = b.fsub(x, column(MEAN_X)), b.fsub(y, column(MEAN_Y))
    # a, b, c already times -0.5 / ln 2
    across = ops.muladd(column(CONIC_B), dy, b.fmul(column(CONIC_A), dx))
    quadratic = ops.muladd(across, dx, b.fmul(b.fmul(column(CONIC_C), dy), dy))
    perspective = ops.muladd(column(TILT_X), dx, ops.muladd(column(TILT_Y), dy, ops.const(1.0)))
    in_plane = b.fdiv(quadratic, b.fmul(perspective, perspective))
    square = ops.muladd(dx, dx, b.fmul(dy, dy))
    disc = b.fmul(square, ops.const(-0.5 / math.log(2.0) / SURFEL_LOW_PASS_PX2))
    return b.fadd(column(LOG2_OPACITY), ops.larger(in_plane, disc))


def _blend_block(surfel: bool) -> Callable[..., Any]:
    """Code generator of the loop over splats."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        tile, block, batch, splats = args
        ops = Ops(builder)
        start = builder.mul(block, ir.Constant(_INT64, BLOCK_FLOATS))
        pointer = element_pointer(context, builder, signature.args[0], tile, start)
        block = builder.trunc(block, I32)
        strip = builder.udiv(block, ir.Constant(I32, STRIP_BLOCKS))
        below = builder.urem(block, ir.Constant(I32, STRIP_BLOCKS))

        def pixels(index: ir.Value, lanes: list[int]) -> ir.Value:
            first = builder.uitofp(builder.mul(index, ir.Constant(I32, SIDE)), F32)
            return builder.fadd(ops.splat(first), ops.consts([lane - CENTRE for lane in lanes]))

        x = pixels(strip, [i % SIDE for i in range(LANES)])
        y = pixels(below, [i // SIDE for i in range(LANES)])
        planes = [ops.load(pointer, plane * LANES) for plane in range(4)]

        before = builder.block
        body, after = builder.append_basic_block("blend"), builder.append_basic_block("blended")
        builder.branch(body)

        builder.position_at_end(body)
        left = builder.phi(splats.type)
        left.add_incoming(splats, before)
        carried = [builder.phi(VECTOR) for _ in planes]
        for phi, value in zip(carried, planes, strict=True):
            phi.add_incoming(value, before)
        k = builder.zext(builder.cttz(left, ir.Constant(ir.IntType(1), 1)), _INT64)
        row = element_pointer(
            context, builder, signature.args[2], batch, builder.mul(k, ir.Constant(_INT64, BATCH_ROW))
        )
        power = _surfel_power(ops, row, x, y) if surfel else _splat_power(ops, row, strip, y)
        # The limit also holds for very long and thin splats, whose terms may cancel to a power above 0.
        alpha = ops.smaller(ops.exp2(power, EXP2_CUBIC), ops.const(ALPHA_MAX))
        drawn = builder.fcmp_ordered(">=", power, ops.const(math.log2(ALPHA_MIN)))
        weight = builder.select(drawn, builder.fmul(alpha, carried[3]), ops.const(0.0))
        colours = (RED, GREEN, BLUE) if surfel else (_RGB, _RGB + 1, _RGB + 2)
        blended = [
            ops.muladd(weight, ops.splat(builder.load(_at(builder, row, index))), value)
            for index, value in zip(colours, carried[:3], strict=True)
        ]
        blended.append(builder.fsub(carried[3], weight))
        for phi, value in zip(carried, blended, strict=True):
            phi.add_incoming(value, body)
        one = ir.Constant(left.type, 1)
        rest = builder.and_(left, builder.sub(left, one))  # without its lowest bit
        left.add_incoming(rest, body)
        builder.cbranch(builder.icmp_signed("!=", rest, ir.Constant(left.type, 0)), body, after)

        builder.position_at_end(after)
        for plane, value in enumerate(blended):
            ops.store(value, pointer, plane * LANES)
        return context.get_dummy_value()

    return generate


_BLEND = types.none(FLOATS, types.int64, FLOATS, types.int32)


@lane_operation
def blend_block(typingctx, tile, block, batch, splats):
    """Blend, in order, those 3D splats of a batch whose bits are set, at least one, over a block of the tile.

    `batch` is [BATCH * BATCH_ROW], `block` counts strip by strip.
    """
    return _BLEND, _blend_block(surfel=False)


@lane_operation
def blend_surfel_block(typingctx, tile, block, batch, splats):
    """The same for surfels."""
    return _BLEND, _blend_block(surfel=True)


@lane_operation
def splats_of_block(typingctx, blocks, block):
    """Bit k is set when bit `block` of blocks[k] is, for the BATCH splats of a batch."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        kind = ir.VectorType(I32, BATCH)
        zero = ir.Constant(_INT64, 0)
        pointer = element_pointer(context, builder, signature.args[0], args[0], zero)
        blocks = builder.load(builder.bitcast(pointer, kind.as_pointer()), align=4)
        bit = builder.shl(ir.Constant(I32, 1), args[1])
        one = builder.insert_element(ir.Constant(kind, ir.Undefined), bit, ir.Constant(I32, 0))
        bits = builder.shuffle_vector(one, one, ir.Constant(kind, [0] * BATCH))
        touched = builder.icmp_unsigned("!=", builder.and_(blocks, bits), ir.Constant(kind, [0] * BATCH))
        return builder.bitcast(touched, I32)

    return types.int32(INTEGERS, types.int32), generate


@lane_operation
def take_splat(typingctx, records, at, batch, place, x, y):
    """Put the 3D splat whose record starts at records[at] at batch[place], for a tile.

    (x, y): the tile's centre, the pixel at row and column CENTRE. Returns the blocks that the splat touches:
    bit i stands for block i of the tile.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        records, at, batch, place, x, y = args
        record = element_pointer(context, builder, signature.args[0], records, at)
        row = element_pointer(context, builder, signature.args[2], batch, place)

        def column(index: int) -> ir.Value:
            return builder.load(_at(builder, record, index))

        mean = builder.fsub(column(MEAN_X), x), builder.fsub(column(MEAN_Y), y)
        _store_polynomials(Ops(builder), row, column, *mean)
        for target, source in enumerate((CONIC_C, RED, GREEN, BLUE), _ROW_C):
            builder.store(column(source), _at(builder, row, target))
        return _touched_blocks(builder, column, *mean)

    return types.int32(FLOATS, types.int64, FLOATS, types.int64, types.float32, types.float32), generate


def _store_polynomials(
    ops: Ops, row: ir.Value, column: Callable[[int], ir.Value], mean_x: ir.Value, mean_y: ir.Value
) -> None:
    """log2 alpha = lo + a dx^2 + b dx (y - m) + c (y - m)^2, m the mean's row, sorted by powers of y."""
    b = ops.builder
    dx = b.fsub(ops.consts([i - CENTRE for i in range(TILE)]), ops.splat(mean_x))
    mixed = b.fmul(ops.splat(column(CONIC_B)), dx)
    lean = b.fmul(column(CONIC_C), mean_y)
    ops.store(b.fsub(mixed, ops.splat(b.fadd(lean, lean))), row, _COLUMN_B)
    across = ops.muladd(b.fmul(ops.splat(column(CONIC_A)), dx), dx, ops.splat(column(LOG2_OPACITY)))
    ops.store(ops.muladd(ops.splat(mean_y), b.fsub(ops.splat(lean), mixed), across), row, _COLUMN_A)


def _touched_blocks(
    builder: ir.IRBuilder, column: Callable[[int], ir.Value], mean_x: ir.Value, mean_y: ir.Value
) -> ir.Value:
    """Blocks of a tile that the ellipse of render/cpu/layout.py reaches.

    Between the first and the last column of a strip of blocks its upper rim is highest at the ellipse's top
    or, when that lies outside, at the nearer end; so is the lower one. 0.01 px more each way, so that
    rounding cuts nothing off.
    """
    kind, whole = ir.VectorType(F32, _STRIP_LANES), ir.VectorType(I32, _STRIP_LANES)
    strips = [i // 2 for i in range(_STRIP_LANES)]

    def const(values: list[float]) -> ir.Constant:
        return ir.Constant(kind, [float(np.float32(v)) for v in values])

    def rims(upper: float, lower: float) -> ir.Constant:
        return const([upper, lower] * STRIP_BLOCKS)

    def splat(scalar: ir.Value) -> ir.Value:
        one = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(I32, 0))
        return builder.shuffle_vector(one, one, ir.Constant(whole, [0] * _STRIP_LANES))

    def larger(x: ir.Value, y: ir.Value) -> ir.Value:
        return builder.select(builder.fcmp_ordered(">", x, y), x, y)

    def limited(x: ir.Value, low: ir.Value, high: ir.Value) -> ir.Value:
        x = larger(x, low)
        return builder.select(builder.fcmp_ordered("<", x, high), x, high)

    sign = rims(-1, 1)
    first = builder.fsub(const([SIDE * strip - CENTRE for strip in strips]), splat(mean_x))
    last = builder.fadd(first, const([SIDE - 1] * _STRIP_LANES))
    x = limited(builder.fmul(sign, splat(column(TOP))), first, last)
    square = builder.fsub(splat(column(REACH)), builder.fmul(splat(column(BEND)), builder.fmul(x, x)))
    kind_of_sqrt = ir.FunctionType(kind, [kind])
    sqrt = cgutils.get_or_insert_function(builder.module, kind_of_sqrt, f"llvm.sqrt.v{_STRIP_LANES}f32")
    root = builder.call(sqrt, [larger(square, rims(0, 0))])
    y = builder.fadd(splat(mean_y), builder.fmul(splat(column(SLOPE)), x))
    y = builder.fadd(y, builder.fmul(sign, root))
    # Rounded up, less 0.01, and the block of that row; rounded down, and the block after that row's.
    y = builder.fadd(y, rims(CENTRE + 0.99, CENTRE + 0.01 + SIDE))
    y = limited(y, rims(0, 0), rims(TILE, TILE + SIDE - 1))
    blocks = builder.ashr(builder.fptosi(y, whole), ir.Constant(whole, [SIDE.bit_length() - 1] * len(strips)))
    places = builder.add(blocks, ir.Constant(whole, [STRIP_BLOCKS * strip for strip in strips]))
    bits = builder.shl(ir.Constant(whole, [1] * _STRIP_LANES), places)
    reached = builder.fcmp_ordered(">=", square, builder.fmul(splat(column(REACH)), rims(-1e-3, -1e-3)))
    bits = builder.select(reached, bits, ir.Constant(whole, [0] * _STRIP_LANES))

    def every_other(start: int) -> ir.Value:
        mask = ir.Constant(ir.VectorType(I32, STRIP_BLOCKS), [*range(start, _STRIP_LANES, 2)])
        return builder.shuffle_vector(bits, bits, mask)

    runs = builder.sub(every_other(1), every_other(0))
    none = ir.Constant(runs.type, [0] * STRIP_BLOCKS)
    runs = builder.select(builder.icmp_signed(">", runs, none), runs, none)
    halves = [
        builder.shuffle_vector(runs, runs, ir.Constant(ir.VectorType(I32, 2), half)) for half in ([0, 1], [2, 3])
    ]
    pair = builder.or_(*halves)
    return builder.or_(*(builder.extract_element(pair, ir.Constant(I32, i)) for i in range(2)))


@lane_operation
def open_blocks(typingctx, tile, least):
    """Bit i is set when light still passes block i of a tile: a pixel's transmittance is at least `least`."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        ops = Ops(builder)
        zero = ir.Constant(ir.IntType(64), 0)
        pointer = element_pointer(context, builder, signature.args[0], args[0], zero)
        least = ops.splat(args[1])
        bits = ir.Constant(I32, 0)
        for i, block in enumerate(range(0, TILE_FLOATS, BLOCK_FLOATS)):
            passes = builder.fcmp_ordered(">=", ops.load(pointer, block + 3 * LANES), least)
            lanes = builder.bitcast(passes, ir.IntType(LANES))
            found = builder.zext(builder.icmp_unsigned("!=", lanes, ir.Constant(lanes.type, 0)), I32)
            bits = builder.or_(bits, builder.shl(found, ir.Constant(I32, i)))
        return bits

    return types.int32(FLOATS, types.float32), generate
