"""Splats over the blocks of a tile: the innermost steps of the CPU renderer, as LLVM vectors.

A tile takes its splats in batches, and a batch block by block: the block's colours and transmittance stay in
registers while all splats of the batch that touch it are blended. Writing them back after every splat costs
more than all the arithmetic.

For the columns of a tile the log2 of a 3D splat's alpha, in units of 1 / POWER_SCALE, is a polynomial of the
row y, c y^2 + B y + A, with one c for all of them. B and A are worked out once a tile and splat; what is left
for a pixel is two products.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

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
    INTS,
    LANES,
    POWER_SCALE,
    SIDE,
    STRIP_BLOCKS,
    STRIPS,
    TILE_HEIGHT,
    TILE_WIDTH,
    VECTOR,
    Ops,
    element_pointer,
    lane_operation,
    prefetch_line,
    transposed,
)
from render.cpu.layout import (
    BEND,
    BLUE,
    CONIC_A,
    CONIC_B,
    CONIC_C,
    DIMMING,
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

BATCH = 64  # splats: one bit each
# A tile's columns and rows count from here: rounding errors grow with the distance.
CENTRE_X, CENTRE_Y = TILE_WIDTH // 2, TILE_HEIGHT // 2

# What a batch keeps of a splat, three cache lines: a surfel's record, its mean counted from the tile's
# centre; of a 3D splat the columns' A [TILE_WIDTH] and B [TILE_WIDTH], then c, red, green and blue.
BATCH_ROW = 48
_COLUMN_A, _COLUMN_B, _ROW_C, _RGB = 0, TILE_WIDTH, 2 * TILE_WIDTH, 2 * TILE_WIDTH + 1

_INT64 = ir.IntType(64)


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
    """The same of a surfel: the quadratic over (1 + e dx + f dy)^2, or its low-pass disc if that is more."""
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
            return builder.fadd(ops.splat(first), ops.consts(lanes))

        x = pixels(strip, [i % SIDE - CENTRE_X for i in range(LANES)])
        y = pixels(below, [i // SIDE - CENTRE_Y for i in range(LANES)])
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
        alpha = ops.exp2(power, EXP2_CUBIC) if surfel else ops.exp2_scaled(power)
        alpha = ops.smaller(alpha, ops.const(ALPHA_MAX))
        least = math.log2(ALPHA_MIN) * (1.0 if surfel else POWER_SCALE)
        drawn = builder.fcmp_ordered(">=", power, ops.const(least))
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


_BLEND = types.none(FLOATS, types.int64, FLOATS, types.int64)


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
        return builder.bitcast(touched, _INT64)

    return types.int64(INTEGERS, types.int32), generate


@lane_operation
def store_polynomials(typingctx, records, at, batch, row, x, y):
    """Put the 3D splat whose record starts at records[at] into the row of a batch that starts at batch[row].

    (x, y): the tile's centre, the pixel at column CENTRE_X and row CENTRE_Y.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        records, at, batch, row, x, y = args
        ops = Ops(builder)
        record = element_pointer(context, builder, signature.args[0], records, at)
        row = element_pointer(context, builder, signature.args[2], batch, row)

        def column(index: int) -> ir.Value:
            return builder.load(_at(builder, record, index))

        # log2 alpha = lo + a dx^2 + b dx (y - m) + c (y - m)^2, m the mean's row, sorted by powers of y
        mean_x, mean_y = builder.fsub(column(MEAN_X), x), builder.fsub(column(MEAN_Y), y)
        dx = builder.fsub(ops.consts([i - CENTRE_X for i in range(TILE_WIDTH)]), ops.splat(mean_x))
        mixed = builder.fmul(ops.splat(column(CONIC_B)), dx)
        lean = builder.fmul(column(CONIC_C), mean_y)
        ops.store(builder.fsub(mixed, ops.splat(builder.fadd(lean, lean))), row, _COLUMN_B)
        across = builder.fmul(ops.splat(column(CONIC_A)), dx)
        value = ops.muladd(across, dx, ops.splat(column(LOG2_OPACITY)))
        down = builder.fsub(ops.splat(lean), mixed)
        ops.store(ops.muladd(ops.splat(mean_y), down, value), row, _COLUMN_A)
        four = ir.VectorType(F32, 4).as_pointer()  # c, red, green, blue
        colour = builder.load(builder.bitcast(_at(builder, record, CONIC_C), four), align=4)
        builder.store(colour, builder.bitcast(_at(builder, row, _ROW_C), four), align=4)
        return context.get_dummy_value()

    arguments = FLOATS, types.int64, FLOATS, types.int64, types.float32, types.float32
    return types.none(*arguments), generate


@lane_operation
def take_touched(typingctx, records, places, first, count, x, y, dimmed, open_bits, taken, blocks, k):
    """Take those of the next 3D splats of a tile whose ellipses reach an open block of it.

    Looks at places[first] and up to fifteen more, `count` in all, but reads thirty-two: all must be slots.
    Writes the slot of each splat that is taken to taken[k], taken[k + 1], .. and the blocks it reaches to
    `blocks`: bit i stands for block i. Returns the k after the last one; (x, y) is the tile's centre, and of
    `dimmed` see `_touched_blocks`.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        records, places, first, count, x, y, dimmed, open_bits, taken, blocks, k = args

        def pointer(which: int, array: ir.Value, index: ir.Value) -> ir.Value:
            return element_pointer(context, builder, signature.args[which], array, index)

        zero, eight = ir.Constant(_INT64, 0), ir.VectorType(F32, 8)
        start = pointer(1, places, first)
        slots, halves = [builder.load(_at(builder, start, lane)) for lane in range(LANES)], []
        for lane in range(2 * LANES):
            slot = slots[lane] if lane < LANES else builder.load(_at(builder, start, lane))
            at = builder.mul(builder.sext(slot, _INT64), ir.Constant(_INT64, RECORD))
            record = pointer(0, records, at)
            if lane < LANES:
                halves.append(builder.load(builder.bitcast(record, eight.as_pointer()), align=4))
            else:
                prefetch_line(builder, record)
        joined = ir.Constant(ir.VectorType(I32, LANES), list(range(LANES)))
        rows = [builder.shuffle_vector(halves[i], halves[i + 8], joined) for i in range(8)]
        start = pointer(6, dimmed, zero)
        strips = [builder.load(_at(builder, start, strip)) for strip in range(STRIPS)]
        ops = Ops(builder)
        bits = _touched_blocks(ops, transposed(builder, rows), x, y, strips)
        lanes = ir.Constant(INTS, list(range(LANES)))
        listed = builder.icmp_signed("<", lanes, ops.splat_int(builder.trunc(count, I32)))
        bits = builder.and_(bits, ops.splat_int(open_bits))
        bits = builder.select(listed, bits, ir.Constant(INTS, [0] * LANES))
        for lane, slot in enumerate(slots):
            reached = builder.extract_element(bits, ir.Constant(I32, lane))
            builder.store(slot, pointer(8, taken, k))
            builder.store(reached, pointer(9, blocks, k))
            some = builder.icmp_unsigned("!=", reached, ir.Constant(I32, 0))
            k = builder.add(k, builder.zext(some, k.type))
        return k

    indices = types.int64, types.int64
    tile = types.float32, types.float32, FLOATS, types.int32
    return types.int64(FLOATS, INTEGERS, *indices, *tile, INTEGERS, INTEGERS, types.int64), generate


def _touched_blocks(
    ops: Ops, columns: list[ir.Value], tile_x: ir.Value, tile_y: ir.Value, dimmed: list[ir.Value]
) -> ir.Value:
    """Bits [LANES] from the first eight columns of sixteen records.

    Between the first and the last column of a strip of blocks an ellipse's upper rim is highest at its top
    or, when that lies outside, at the nearer end; the lower one likewise. 0.01 px more each way, so that
    rounding cuts nothing off. `dimmed` shrinks the ellipses of a strip: by so much the square of the radius
    at which a splat still counts falls, because what lies before it hides it. Where a shrunken one's top lies
    is a guess at the square root, 0.06 off at most: a rim is flat at its top.
    """
    b = ops.builder
    sqrt = cgutils.get_or_insert_function(b.module, ir.FunctionType(VECTOR, [VECTOR]), "llvm.sqrt.v16f32")
    one, none = ir.Constant(INTS, [1] * LANES), ir.Constant(INTS, [0] * LANES)
    left = b.fsub(ops.splat(tile_x), columns[MEAN_X])  # of the tile's centre, counted from the mean
    down = b.fsub(columns[MEAN_Y], ops.splat(tile_y))
    bits = none
    for strip in range(STRIPS):
        part = b.fsub(ops.const(1.0), b.fmul(columns[DIMMING], ops.splat(dimmed[strip])))
        seen = b.fcmp_ordered(">", part, ops.const(0.0))
        part = ops.larger(part, ops.const(0.0))
        root = ops.muladd(part, ops.muladd(part, ops.const(-0.6), ops.const(1.4)), ops.const(0.2))
        top = b.fmul(columns[TOP], root)
        tops = b.fsub(ops.const(0.0), top), top
        reach = b.fmul(columns[REACH], part)
        least = b.fmul(reach, ops.const(-1e-3))
        first = b.fadd(left, ops.const(SIDE * strip - CENTRE_X))
        last = b.fadd(left, ops.const(SIDE * strip - CENTRE_X + SIDE - 1))
        ends = []
        for lower, top in enumerate(tops):
            x = ops.smaller(ops.larger(top, first), last)
            square = b.fsub(reach, b.fmul(columns[BEND], b.fmul(x, x)))
            root = b.call(sqrt, [ops.larger(square, ops.const(0.0))])
            y = ops.muladd(columns[SLOPE], x, down)
            y = b.fadd(y, root) if lower else b.fsub(y, root)
            # Rounded up, less 0.01, and the block of that row; rounded down, and the block after that row's.
            y = b.fadd(y, ops.const(CENTRE_Y + (0.01 + SIDE if lower else 0.99)))
            y = ops.larger(y, ops.const(0.0))
            y = ops.smaller(y, ops.const(TILE_HEIGHT + (SIDE - 1 if lower else 0)))
            block = b.ashr(b.fptosi(y, INTS), ir.Constant(INTS, [SIDE.bit_length() - 1] * LANES))
            ends.append(b.shl(one, block))
        run = b.sub(ends[1], ends[0])
        reached = b.and_(b.icmp_signed(">", run, none), b.fcmp_ordered(">=", square, least))
        reached = b.and_(reached, seen)
        run = b.shl(run, ir.Constant(INTS, [STRIP_BLOCKS * strip] * LANES))
        bits = b.or_(bits, b.select(reached, run, none))
    return bits


@lane_operation
def open_blocks(typingctx, tile, least, brightest):
    """Bit i is set when light still passes block i of a tile: a pixel's transmittance is at least `least`.

    `brightest` [STRIPS] gets the greatest transmittance of each column of blocks.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        ops = Ops(builder)
        zero = ir.Constant(ir.IntType(64), 0)
        pointer = element_pointer(context, builder, signature.args[0], args[0], zero)
        least = ops.splat(args[1])
        strips = element_pointer(context, builder, signature.args[2], args[2], zero)
        bits = ir.Constant(I32, 0)
        kind = ir.FunctionType(I32, [INTS])
        greatest = cgutils.get_or_insert_function(builder.module, kind, "llvm.vector.reduce.smax.v16i32")
        for strip in range(STRIPS):
            most = ops.const(0.0)
            for i in range(strip * STRIP_BLOCKS, (strip + 1) * STRIP_BLOCKS):
                through = ops.load(pointer, i * BLOCK_FLOATS + 3 * LANES)
                most = ops.larger(through, most)
                passes = builder.fcmp_ordered(">=", through, least)
                lanes = builder.bitcast(passes, ir.IntType(LANES))
                found = builder.zext(builder.icmp_unsigned("!=", lanes, ir.Constant(lanes.type, 0)), I32)
                bits = builder.or_(bits, builder.shl(found, ir.Constant(I32, i)))
            strip_most = builder.call(greatest, [builder.bitcast(most, INTS)])  # they order like floats
            builder.store(builder.bitcast(strip_most, F32), _at(builder, strips, strip))
        return bits

    return types.int32(FLOATS, types.float32, FLOATS), generate
