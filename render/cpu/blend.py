"""Splats over the blocks of a tile: the innermost steps of the CPU renderer, as LLVM vectors.

A tile takes its splats in batches, and a batch block by block: the block's colours and transmittance stay in
registers while all splats of the batch that touch it are blended. Writing them back after every splat costs
more than all the arithmetic.
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
    BLOCK_HEIGHT,
    BLOCK_WIDTH,
    F32,
    FLOATS,
    I32,
    INTEGERS,
    LANES,
    TILE,
    TILE_FLOATS,
    VECTOR,
    Ops,
    element_pointer,
    lane_operation,
)
from render.cpu.layout import (
    BLUE,
    CONIC_A,
    CONIC_B,
    CONIC_C,
    GREEN,
    LOG2_OPACITY,
    MEAN_X,
    MEAN_Y,
    RECORD,
    RED,
    TILT_X,
    TILT_Y,
)
from render.splatting import ALPHA_MAX, ALPHA_MIN, SURFEL_LOW_PASS_PX2

BATCH = 32  # splats: one bit each
_INT64 = ir.IntType(64)


def _blend_block(surfel: bool) -> Callable[..., Any]:
    """Code generator of the loop over splats; a surfel adds perspective and its low-pass disc."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        tile, block, records, splats, x, y = args
        ops = Ops(builder)
        pointer = element_pointer(context, builder, signature.args[0], tile, block)
        pixels_x = builder.fadd(ops.splat(x), ops.consts([i % BLOCK_WIDTH for i in range(LANES)]))
        pixels_y = builder.fadd(ops.splat(y), ops.consts([i // BLOCK_WIDTH for i in range(LANES)]))
        planes = [ops.load(pointer, plane * LANES) for plane in range(4)]

        before = builder.block
        body, after = builder.append_basic_block("blend"), builder.append_basic_block("blended")
        builder.branch(body)

        builder.position_at_end(body)
        left = builder.phi(I32)
        left.add_incoming(splats, before)
        carried = [builder.phi(VECTOR) for _ in planes]
        for phi, value in zip(carried, planes, strict=True):
            phi.add_incoming(value, before)
        k = builder.zext(builder.cttz(left, ir.Constant(ir.IntType(1), 1)), _INT64)
        record = element_pointer(
            context, builder, signature.args[2], records, builder.mul(k, ir.Constant(_INT64, RECORD))
        )

        def column(index: int) -> ir.Value:
            return ops.splat(builder.load(builder.gep(record, [ir.Constant(I32, index)])))

        dx, dy = builder.fsub(pixels_x, column(MEAN_X)), builder.fsub(pixels_y, column(MEAN_Y))
        # log2 of alpha: lo + (a dx^2 + b dx dy + c dy^2), a, b, c already times -0.5 / ln 2
        across = ops.muladd(column(CONIC_B), dy, builder.fmul(column(CONIC_A), dx))
        down = builder.fmul(column(CONIC_C), dy)
        if surfel:
            perspective = ops.muladd(column(TILT_X), dx, ops.muladd(column(TILT_Y), dy, ops.const(1.0)))
            quadratic = ops.muladd(across, dx, builder.fmul(down, dy))
            in_plane = builder.fdiv(quadratic, builder.fmul(perspective, perspective))
            square = ops.muladd(dx, dx, builder.fmul(dy, dy))
            disc = builder.fmul(square, ops.const(-0.5 / math.log(2.0) / SURFEL_LOW_PASS_PX2))
            power = builder.fadd(column(LOG2_OPACITY), ops.larger(in_plane, disc))
        else:
            power = ops.muladd(across, dx, ops.muladd(down, dy, column(LOG2_OPACITY)))
        # The limit also holds for very long and thin splats, whose terms may cancel to a power above 0.
        alpha = ops.smaller(ops.exp2(power), ops.const(ALPHA_MAX))
        drawn = builder.fcmp_ordered(">=", power, ops.const(math.log2(ALPHA_MIN)))
        weight = builder.select(drawn, builder.fmul(alpha, carried[3]), ops.const(0.0))
        blended = [
            ops.muladd(weight, column(index), value)
            for index, value in zip((RED, GREEN, BLUE), carried[:3], strict=True)
        ]
        blended.append(builder.fsub(carried[3], weight))
        for phi, value in zip(carried, blended, strict=True):
            phi.add_incoming(value, body)
        rest = builder.and_(left, builder.sub(left, ir.Constant(I32, 1)))  # without its lowest bit
        left.add_incoming(rest, body)
        builder.cbranch(builder.icmp_signed("!=", rest, ir.Constant(I32, 0)), body, after)

        builder.position_at_end(after)
        for plane, value in enumerate(blended):
            ops.store(value, pointer, plane * LANES)
        return context.get_dummy_value()

    return generate


_BLEND = types.none(FLOATS, types.int64, FLOATS, types.int32, types.float32, types.float32)


@lane_operation
def blend_block(typingctx, tile, block, records, splats, x, y):
    """Blend, in order, those 3D splats of a batch whose bits are set, at least one, over a block.

    `block` is its float offset, `records` [BATCH * RECORD] the batch, (x, y) the block's first pixel in the
    coordinates of the records.
    """
    return _BLEND, _blend_block(surfel=False)


@lane_operation
def blend_surfel_block(typingctx, tile, block, records, splats, x, y):
    """The same for surfels; their in-plane distance is the quadratic over (1 + e dx + f dy)^2."""
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
def find_rows(typingctx, rows, at, dx, middle, slope, top, reach, bend):
    """First and last row of blocks that a splat's ellipse reaches in each of a tile's two strips.

    Writes four int32 from rows[at]: first, last of the left strip, first, last of the right; an empty range
    is reversed. `dx`: from the splat's mean to the tile's first pixel, `middle`: from there to the mean,
    downwards. The ellipse is that of render/cpu/layout.py; between a strip's first and last pixel it is
    highest at its top or, when that lies outside, at the nearer end. 0.01 px more each way, so that rounding
    cuts nothing off.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        rows, at, *scalars = args
        quad = ir.VectorType(F32, 4)

        def const(*values: float) -> ir.Constant:
            return ir.Constant(quad, [float(np.float32(v)) for v in values])

        def splat(scalar: ir.Value) -> ir.Value:
            one = builder.insert_element(ir.Constant(quad, ir.Undefined), scalar, ir.Constant(I32, 0))
            return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(I32, 4), [0] * 4))

        def limited(x: ir.Value, low: ir.Value, high: ir.Value) -> ir.Value:
            x = builder.select(builder.fcmp_ordered(">", x, low), x, low)
            return builder.select(builder.fcmp_ordered("<", x, high), x, high)

        dx, middle, slope, top, reach, bend = map(splat, scalars)
        sign = const(-1, 1, -1, 1)
        left = builder.fadd(dx, const(0, 0, BLOCK_WIDTH, BLOCK_WIDTH))
        right = builder.fadd(left, const(*[BLOCK_WIDTH - 1] * 4))
        x = limited(builder.fmul(sign, top), left, right)
        square = builder.fsub(reach, builder.fmul(bend, builder.fmul(x, x)))
        square = limited(square, const(0, 0, 0, 0), const(*[1e30] * 4))
        kind = ir.FunctionType(quad, [quad])
        root = builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.sqrt.v4f32"), [square])
        y = builder.fadd(builder.fadd(middle, builder.fmul(slope, x)), builder.fmul(sign, root))
        y = builder.fadd(y, const(0.99, 0.01, 0.99, 0.01))  # 0.99: rounded up, less 0.01
        y = limited(y, const(0, -BLOCK_HEIGHT, 0, -BLOCK_HEIGHT), const(TILE, TILE - 1, TILE, TILE - 1))
        whole = builder.fptosi(y, ir.VectorType(I32, 4))
        blocks = builder.ashr(whole, ir.Constant(whole.type, [BLOCK_HEIGHT.bit_length() - 1] * 4))
        pointer = element_pointer(context, builder, signature.args[0], rows, at)
        builder.store(blocks, builder.bitcast(pointer, blocks.type.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.none(INTEGERS, types.int64, *[types.float32] * 6), generate


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
