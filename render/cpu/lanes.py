"""Sixteen float32 lanes as LLVM vectors: the innermost step of the CPU renderer.

numba's own vectoriser needs about 2.4 times as long for this loop (it guards its arrays against overlapping
and works on half as many lanes), so the step is spelled out as vector instructions. LLVM maps sixteen lanes
to whatever the machine has: one AVX-512 register, two of AVX, four of SSE or NEON.

The lanes are a block of 8x2 pixels: small splats waste fewer of them than with a row of sixteen. A tile of
16x16 pixels is a flat float32 array [2 columns of blocks, 8 rows of blocks, 4 planes, 2 rows, 8 columns]; the
planes are red, green, blue, transmittance.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from render import splatting
from render.splatting import ALPHA_MAX, ALPHA_MIN

# No "nnan" and "ninf": NaN and infinity are inputs that must be seen and dropped.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "boundscheck": False,
    "error_model": "numpy",
    "fastmath": {"contract", "arcp", "nsz", "afn", "reassoc"},
}
_SOURCES = [*sorted(Path(__file__).parent.glob("*.py")), Path(splatting.__file__)]
_VERSION = hashlib.sha256(b"".join(path.read_bytes() for path in _SOURCES)).hexdigest()[:12]


# numba's decorators are typed for functions that keep their Python signature; inside kernels nothing is.
def kernel(function: Any) -> Any:
    """Compile on the first call, without the GIL, and keep the machine code on disk.

    numba's cache notices a change in the function's own file only, not in what the function calls or in the
    constants it uses: the version of all of them therefore becomes a part of its name.
    """
    function.__qualname__ += f"_{_VERSION}"
    return njit(**_OPTIONS)(function)


def inlined(function: Any) -> Any:
    """The same as a part of the calling loop, which LLVM can then vectorise."""
    return njit(**{**_OPTIONS, "cache": False, "forceinline": True})(function)


lane_operation: Any = intrinsic

LANES = 16
BLOCK_WIDTH, BLOCK_HEIGHT = 8, 2
TILE = 16  # pixels a side
BLOCK_FLOATS = 4 * LANES
STRIP_FLOATS = TILE // BLOCK_HEIGHT * BLOCK_FLOATS  # one column of blocks
TILE_FLOATS = TILE // BLOCK_WIDTH * STRIP_FLOATS

F32, I32, I8 = ir.FloatType(), ir.IntType(32), ir.IntType(8)
VECTOR, INTS = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)

# 2^f for f in [-0.5, 0.5], relative error 3e-6: hundreds of splats together stay far below an 8-bit step.
_EXP2 = (0.99999926, 0.69312181, 0.24024745, 0.05591786, 0.00957010)


class Ops:
    """The few vector operations used here, bound to one builder."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder
        kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
        self._muladd = cgutils.get_or_insert_function(builder.module, kind, "llvm.fmuladd.v16f32")
        kind = ir.FunctionType(VECTOR, [VECTOR])
        self._rint = cgutils.get_or_insert_function(builder.module, kind, "llvm.rint.v16f32")

    def const(self, value: float) -> ir.Constant:
        return ir.Constant(VECTOR, [float(np.float32(value))] * LANES)

    def consts(self, values: list[int]) -> ir.Constant:
        return ir.Constant(VECTOR, [float(v) for v in values])

    def splat(self, scalar: ir.Value) -> ir.Value:
        one = self.builder.insert_element(ir.Constant(VECTOR, ir.Undefined), scalar, ir.Constant(I32, 0))
        zeros = ir.Constant(INTS, [0] * LANES)
        return self.builder.shuffle_vector(one, ir.Constant(VECTOR, ir.Undefined), zeros)

    def muladd(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        return self.builder.call(self._muladd, [a, b, c])

    def smaller(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.select(self.builder.fcmp_ordered("<", a, b), a, b)

    def larger(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def exp2(self, x: ir.Value) -> ir.Value:
        """2^x without branches; meaningless, but harmless, below -126."""
        b = self.builder
        whole = b.call(self._rint, [x])
        f = b.fsub(x, whole)
        value = self.const(_EXP2[-1])
        for coefficient in reversed(_EXP2[:-1]):
            value = self.muladd(value, f, self.const(coefficient))
        exponent = b.shl(b.fptosi(whole, INTS), ir.Constant(INTS, [23] * LANES))
        return b.bitcast(b.add(b.bitcast(value, INTS), exponent), VECTOR)

    def load(self, pointer: ir.Value, offset: int) -> ir.Value:
        return self.builder.load(self._at(pointer, offset), align=4)

    def store(self, value: ir.Value, pointer: ir.Value, offset: int) -> None:
        self.builder.store(value, self._at(pointer, offset), align=4)

    def _at(self, pointer: ir.Value, offset: int) -> ir.Value:
        moved = self.builder.gep(pointer, [ir.Constant(I32, offset)])
        return self.builder.bitcast(moved, VECTOR.as_pointer())


def element_pointer(context: Any, builder: ir.IRBuilder, kind: Any, array: ir.Value, index: ir.Value) -> Any:
    data = context.make_array(kind)(context, builder, value=array).data
    return builder.gep(data, [index])


FLOATS = types.Array(types.float32, 1, "C")
BYTES = types.Array(types.uint8, 1, "C")


def _blend_block(surfel: bool) -> Callable[..., Any]:
    """Code generator of one block; a surfel adds perspective and its low-pass disc to the exponent."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        tile, block, dx, dy, a, b, c, lo, *rest = args
        (e, f), colour = (rest[:2] if surfel else (None, None)), rest[2:] if surfel else rest
        ops = Ops(builder)
        pointer = element_pointer(context, builder, signature.args[0], tile, block)
        dx = builder.fadd(ops.splat(dx), ops.consts([i % BLOCK_WIDTH for i in range(LANES)]))
        dy = builder.fadd(ops.splat(dy), ops.consts([i // BLOCK_WIDTH for i in range(LANES)]))
        # log2 of alpha: lo + (a dx^2 + b dx dy + c dy^2), a, b, c already times -0.5 / ln 2
        # (in this order: what depends on dx alone stays outside the caller's loop over dy)
        along = builder.fmul(builder.fmul(ops.splat(a), dx), dx)
        across = ops.muladd(ops.splat(c), dy, builder.fmul(ops.splat(b), dx))
        if surfel:
            perspective = ops.muladd(ops.splat(e), dx, ops.muladd(ops.splat(f), dy, ops.const(1.0)))
            quadratic = builder.fdiv(ops.muladd(across, dy, along), builder.fmul(perspective, perspective))
            disc = builder.fmul(
                ops.muladd(dx, dx, builder.fmul(dy, dy)), ops.const(-1.0 / math.log(2.0))
            )  # -0.5 / ln 2 / SURFEL_LOW_PASS_PX2
            power = builder.fadd(ops.splat(lo), ops.larger(quadratic, disc))
        else:
            power = ops.muladd(across, dy, builder.fadd(along, ops.splat(lo)))
        alpha = ops.smaller(ops.exp2(power), ops.const(ALPHA_MAX))
        drawn = builder.fcmp_ordered(">=", power, ops.const(math.log2(ALPHA_MIN)))
        through = ops.load(pointer, 3 * LANES)
        weight = builder.select(drawn, builder.fmul(alpha, through), ops.const(0.0))
        for plane, value in enumerate(colour):
            old = ops.load(pointer, plane * LANES)
            ops.store(ops.muladd(weight, ops.splat(value), old), pointer, plane * LANES)
        ops.store(builder.fsub(through, weight), pointer, 3 * LANES)
        return context.get_dummy_value()

    return generate


@lane_operation
def blend_block(typingctx, tile, block, dx, dy, a, b, c, lo, red, green, blue):
    """Blend a 3D splat over the block at float offset `block`; dx, dy: from its mean to the first pixel."""
    return types.none(FLOATS, types.int64, *[types.float32] * 9), _blend_block(surfel=False)


@lane_operation
def blend_surfel_block(typingctx, tile, block, dx, dy, a, b, c, lo, e, f, red, green, blue):
    """Blend a surfel over a block; its in-plane distance is the quadratic over (1 + e dx + f dy)^2."""
    return types.none(FLOATS, types.int64, *[types.float32] * 11), _blend_block(surfel=True)


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

    return types.none(types.Array(types.int32, 1, "C"), types.int64, *[types.float32] * 6), generate


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


@lane_operation
def float_bits(typingctx, value):
    """The int32 with the bits of a float32."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], I32)

    return types.int32(types.float32), generate


@lane_operation
def bits_float(typingctx, value):
    """The float32 with the bits of an int32."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], F32)

    return types.float32(types.int32), generate


@lane_operation
def sqrt_lane(typingctx, value):
    """Square root of a float32 that vectorises; math.sqrt may be a call."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(F32, [F32])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.sqrt.f32"), args)

    return types.float32(types.float32), generate


@lane_operation
def take_ticket(typingctx, counter):
    """Atomically read and increment counter[0] (int64): how threads share jobs without a lock."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        zero, one = (ir.Constant(ir.IntType(64), i) for i in (0, 1))
        pointer = element_pointer(context, builder, signature.args[0], args[0], zero)
        return builder.atomic_rmw("add", pointer, one, "monotonic")

    return types.int64(types.Array(types.int64, 1, "C")), generate
