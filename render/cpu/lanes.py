"""Sixteen float32 lanes as LLVM vectors, and how numba compiles the kernels of the CPU renderer.

Where numba's own vectoriser fails, the step is spelled out as vector instructions. LLVM maps sixteen lanes to
whatever the machine has: one AVX-512 register, two of AVX, four of SSE or NEON.

The lanes are a block of 4x4 pixels: small splats and thin ones waste fewest of them there. A tile of 16x32
pixels is a flat float32 array [4 columns of blocks, 8 rows of blocks, 4 planes, 4 rows, 4 columns]; the
planes are red, green, blue, transmittance. It is tall because a splat's work in a tile goes by its columns,
and because it fits as it is: 8 KB, and a bit of an int32 for every block.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from render import splatting
from render.errors import RendererError
from render.machine_code import kept_njit
from render.versions import check_version

# The lanes are made with numba.core's code generator and arrays' inner layout.
KNOWN_NUMBA = ("0.61", "0.69")
check_version("numba", KNOWN_NUMBA, RendererError)

# No "nnan" and "ninf": NaN and infinity are inputs that must be seen and dropped.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "boundscheck": False,
    "error_model": "numpy",
    "fastmath": {"contract", "arcp", "nsz", "afn", "reassoc"},
}
_SOURCES = [*sorted(Path(__file__).parent.glob("*.py")), Path(splatting.__file__)]
_VERSION = hashlib.sha256(b"".join(path.read_bytes() for path in _SOURCES)).hexdigest()[:12]


# numba's decorators are typed for functions that keep their Python signature; inside kernels nothing is.
def kernel(function: Any, version: str = "") -> Any:
    """Compile on the first call, without the GIL, and keep the machine code on disk.

    It is made anew when a file of this folder or the function's own changes, or `version`, that of whatever
    else it calls.
    """
    return kept_njit(_VERSION + version, **_OPTIONS)(function)


def inlined(function: Any) -> Any:
    """The same as a part of the calling loop, which LLVM can then vectorise; never called from Python."""
    options = {**_OPTIONS, "forceinline": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return njit(**options)(function)


@inlined
def at(index):
    """An index that is not negative: without it, numba asks at every access whether to count from the end."""
    return np.uint64(index)


lane_operation: Any = intrinsic

LANES = 16
SIDE = 4  # pixels of a block
TILE_WIDTH, TILE_HEIGHT = 16, 32  # pixels
BLOCK_FLOATS = 4 * LANES
STRIPS = TILE_WIDTH // SIDE  # columns of blocks
STRIP_BLOCKS = TILE_HEIGHT // SIDE
TILE_BLOCKS = STRIPS * STRIP_BLOCKS
TILE_FLOATS = TILE_BLOCKS * BLOCK_FLOATS

F32, I32, I8 = ir.FloatType(), ir.IntType(32), ir.IntType(8)
VECTOR, INTS = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)

# 2^f for f in [-0.5, 0.5]: relative error 7e-5, a fiftieth of an 8-bit step at most, and 3e-6 (minimax).
EXP2_CUBIC = (0.99992807, 0.69326099, 0.24261112, 0.05517167)
EXP2_QUARTIC = (0.99999926, 0.69312181, 0.24024745, 0.05591786, 0.00957010)
# 2^(m - 1) for m in [1, 2): relative error 7.5e-5 (minimax).
EXP2_MANTISSA = (0.45213407, 0.47777333, -0.00800678, 0.07802461)
POWER_SCALE = 2.0**23  # an exponent's step in units of a float32's last place


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

    def splat_int(self, scalar: ir.Value) -> ir.Value:
        one = self.builder.insert_element(ir.Constant(INTS, ir.Undefined), scalar, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(one, one, ir.Constant(INTS, [0] * LANES))

    def muladd(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        return self.builder.call(self._muladd, [a, b, c])

    def smaller(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.select(self.builder.fcmp_ordered("<", a, b), a, b)

    def larger(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def exp2(self, x: ir.Value, coefficients: tuple[float, ...]) -> ir.Value:
        """2^x without branches; meaningless, but harmless, below -126."""
        b = self.builder
        whole = b.call(self._rint, [x])
        f = b.fsub(x, whole)
        value = self.const(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            value = self.muladd(value, f, self.const(coefficient))
        exponent = b.shl(b.fptosi(whole, INTS), ir.Constant(INTS, [23] * LANES))
        return b.bitcast(b.add(b.bitcast(value, INTS), exponent), VECTOR)

    def exp2_scaled(self, x: ir.Value) -> ir.Value:
        """2^(x / POWER_SCALE), x rounded has the bits of the exponent above those of the mantissa.

        Fewer instructions than `exp2`, and the scale costs nothing where x is a product anyway. Meaningless,
        but harmless, below -126 and above 126.
        """
        b = self.builder
        bits = b.fptosi(x, INTS)

        def ints(value: int) -> ir.Constant:
            return ir.Constant(INTS, [value] * LANES)

        mantissa = b.bitcast(b.or_(b.and_(bits, ints(0x7FFFFF)), ints(0x3F800000)), VECTOR)
        value = self.const(EXP2_MANTISSA[-1])
        for coefficient in reversed(EXP2_MANTISSA[:-1]):
            value = self.muladd(value, mantissa, self.const(coefficient))
        exponent = b.and_(bits, ints(-0x800000))
        return b.bitcast(b.add(b.bitcast(value, INTS), exponent), VECTOR)

    def load(self, pointer: ir.Value, offset: int) -> ir.Value:
        """The vector that starts `offset` floats behind `pointer`."""
        return self.builder.load(self._at(pointer, offset), align=4)

    def store(self, value: ir.Value, pointer: ir.Value, offset: int) -> None:
        self.builder.store(value, self._at(pointer, offset), align=4)

    def _at(self, pointer: ir.Value, offset: int) -> ir.Value:
        moved = self.builder.gep(pointer, [ir.Constant(I32, offset)])
        return self.builder.bitcast(moved, VECTOR.as_pointer())


def transposed(builder: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """The columns of a square of vectors; with wider ones, of every square of their elements side by side."""
    size, width = len(rows), rows[0].type.count
    starts = range(0, width, size)

    def mask(first: int) -> ir.Constant:
        half = [[start + first + i, width + start + first + i] for start in starts for i in range(size // 2)]
        return ir.Constant(ir.VectorType(I32, width), [i for pair in half for i in pair])

    for _ in range(size.bit_length() - 1):  # each step interleaves the upper with the lower half
        pairs = [(rows[i], rows[i + size // 2]) for i in range(size // 2)]
        rows = [builder.shuffle_vector(*pair, mask(first)) for pair in pairs for first in (0, size // 2)]
    return rows


def element_pointer(context: Any, builder: ir.IRBuilder, kind: Any, array: ir.Value, index: ir.Value) -> Any:
    data = context.make_array(kind)(context, builder, value=array).data
    return builder.gep(data, [index])


FLOATS = types.Array(types.float32, 1, "C")
BYTES = types.Array(types.uint8, 1, "C")
INTEGERS = types.Array(types.int32, 1, "C")


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


def prefetch_line(builder: ir.IRBuilder, pointer: ir.Value) -> None:
    """Ask for the cache line of a float, which may lie anywhere."""
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, I32, I32, I32])
    name = "llvm.prefetch.p0" if getattr(pointer.type, "is_opaque", False) else "llvm.prefetch.p0f32"
    read, keep, data = (ir.Constant(I32, value) for value in (0, 3, 1))
    builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [pointer, read, keep, data])


@lane_operation
def store_records(typingctx, planes, stride, records, slot):
    """Write sixteen lanes of the first sixteen planes, `stride` apart, as records of sixteen floats.

    They go to records[slot], records[slot + 1], ..; one whose last float is 0 is overwritten by the next.
    Returns the slot after the last one kept.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        planes, stride, records, slot = args
        ops = Ops(builder)
        rows = []
        for plane in range(LANES):
            at = builder.mul(stride, ir.Constant(stride.type, plane))
            rows.append(ops.load(element_pointer(context, builder, signature.args[0], planes, at), 0))
        for i, record in enumerate(transposed(builder, rows)):
            at = builder.mul(slot, ir.Constant(slot.type, LANES))
            ops.store(record, element_pointer(context, builder, signature.args[2], records, at), 0)
            last = builder.extract_element(rows[-1], ir.Constant(I32, i))
            kept = builder.fcmp_ordered("!=", last, ir.Constant(F32, 0.0))
            slot = builder.add(slot, builder.zext(kept, slot.type))
        return slot

    return types.int64(FLOATS, types.int64, FLOATS, types.int64), generate
