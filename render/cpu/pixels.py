"""Finished blocks of a tile -> bytes, as LLVM vectors (see render/cpu/lanes.py)."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types

from render.cpu.lanes import (
    BYTES,
    FLOATS,
    I8,
    I32,
    LANES,
    SIDE,
    VECTOR,
    Ops,
    element_pointer,
    lane_operation,
)

_CHANNELS = 3 * SIDE  # bytes of a block's row


def _lanes(indices: list[int]) -> ir.Constant:
    return ir.Constant(ir.VectorType(I32, len(indices)), indices)


def _to_bytes(builder: ir.IRBuilder, values: ir.Value) -> ir.Value:
    """Floats in 0..255, rounded to the nearest, as unsigned bytes."""
    size = values.type.count
    half = ir.Constant(values.type, [0.5] * size)
    return builder.fptoui(builder.fadd(values, half), ir.VectorType(I8, size))


def _joined(builder: ir.IRBuilder, first: ir.Value, second: ir.Value) -> ir.Value:
    return builder.shuffle_vector(first, second, _lanes(list(range(2 * first.type.count))))


def _store(builder: ir.IRBuilder, values: ir.Value, pointer: ir.Value) -> None:
    builder.store(values, builder.bitcast(pointer, values.type.as_pointer()), align=1)


@lane_operation
def add_colour(typingctx, tile, block, red, green, blue):
    """Put a block over a background colour, both in 0..1; the block is in 0..255 afterwards."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        tile, block, *colour = args
        ops = Ops(builder)
        pointer = element_pointer(context, builder, signature.args[0], tile, block)
        through = ops.load(pointer, 3 * LANES)
        for plane, back in enumerate(colour):
            value = ops.muladd(through, ops.splat(back), ops.load(pointer, plane * LANES))
            value = builder.fmul(value, ops.const(255.0))
            ops.store(ops.smaller(value, ops.const(255.0)), pointer, plane * LANES)
        return context.get_dummy_value()

    return types.none(FLOATS, types.int64, types.float32, types.float32, types.float32), generate


@lane_operation
def add_picture(typingctx, tile, block, picture, at, stride):
    """Add the background picture, RGB bytes from `at` with rows `stride` apart, behind a block in 0..255."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        tile, block, picture, at, stride = args
        ops = Ops(builder)
        pointer = element_pointer(context, builder, signature.args[0], tile, block)
        kind = ir.VectorType(I8, _CHANNELS)
        rows = []
        for _ in range(SIDE):
            source = element_pointer(context, builder, signature.args[2], picture, at)
            rows.append(builder.load(builder.bitcast(source, kind.as_pointer()), align=1))
            at = builder.add(at, stride)
        halves = _joined(builder, rows[0], rows[1]), _joined(builder, rows[2], rows[3])
        through = ops.load(pointer, 3 * LANES)
        for plane in range(3):
            mask = _lanes([3 * i + plane for i in range(LANES)])
            back = builder.uitofp(builder.shuffle_vector(*halves, mask), VECTOR)
            value = ops.muladd(through, back, ops.load(pointer, plane * LANES))
            ops.store(ops.smaller(value, ops.const(255.0)), pointer, plane * LANES)
        return context.get_dummy_value()

    return types.none(FLOATS, types.int64, BYTES, types.int64, types.int64), generate


@lane_operation
def store_rgb(typingctx, tile, block, out, at, stride):
    """Write a block in 0..255 as RGB bytes from `at`, rows `stride` apart."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        tile, block, out, at, stride = args
        ops = Ops(builder)
        pointer = element_pointer(context, builder, signature.args[0], tile, block)
        red, green, blue = (_to_bytes(builder, ops.load(pointer, plane * LANES)) for plane in range(3))
        first, second = _joined(builder, red, green), _joined(builder, blue, blue)
        for row in range(SIDE):
            mask = [plane * LANES + row * SIDE + x for x in range(SIDE) for plane in range(3)]
            pixels = builder.shuffle_vector(first, second, _lanes(mask))
            _store(builder, pixels, element_pointer(context, builder, signature.args[2], out, at))
            at = builder.add(at, stride)
        return context.get_dummy_value()

    return types.none(FLOATS, types.int64, BYTES, types.int64, types.int64), generate


@lane_operation
def store_yuv(typingctx, tile, block, matrix, out, luma, stride, chroma_u, chroma_v):
    """Write a block in 0..255 as Y from `luma`, rows `stride` apart, and four U and V from their offsets."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        tile, block, matrix, out, luma, stride, chroma_u, chroma_v = args
        ops = Ops(builder)
        pointer = element_pointer(context, builder, signature.args[0], tile, block)
        rgb = [ops.load(pointer, plane * LANES) for plane in range(3)]
        # 2x2 means: even and odd columns of even and odd rows
        corners = [y * SIDE + x for y in range(0, SIDE, 2) for x in range(0, SIDE, 2)]
        quads = [[start + corner for corner in corners] for start in (0, 1, SIDE, SIDE + 1)]
        means = []
        for plane in rgb:
            parts = [builder.shuffle_vector(plane, plane, _lanes(quad)) for quad in quads]
            total = builder.fadd(builder.fadd(parts[0], parts[1]), builder.fadd(parts[2], parts[3]))
            means.append(builder.fmul(total, ir.Constant(total.type, [0.25] * 4)))

        def mixed(planes: list[ir.Value], row: int) -> ir.Value:
            size = planes[0].type.count
            zeros = _lanes([0] * size)
            terms = []
            for i in range(4):
                index = ir.Constant(ir.IntType(64), 4 * row + i)
                scalar = builder.load(element_pointer(context, builder, signature.args[2], matrix, index))
                one = builder.insert_element(ir.Constant(planes[0].type, ir.Undefined), scalar, _ZERO)
                terms.append(builder.shuffle_vector(one, one, zeros))
            value = terms[3]
            for plane, factor in zip(planes, terms, strict=False):
                value = builder.fadd(value, builder.fmul(plane, factor))
            return _to_bytes(builder, value)

        y = mixed(rgb, 0)

        def store_rows(values: ir.Value, width: int, at: ir.Value, stride: ir.Value) -> None:
            for first in range(0, values.type.count, width):
                row = builder.shuffle_vector(values, values, _lanes(list(range(first, first + width))))
                _store(builder, row, element_pointer(context, builder, signature.args[3], out, at))
                at = builder.add(at, stride)

        store_rows(y, SIDE, luma, stride)
        half_stride = builder.lshr(stride, ir.Constant(stride.type, 1))
        store_rows(mixed(means, 1), SIDE // 2, chroma_u, half_stride)
        store_rows(mixed(means, 2), SIDE // 2, chroma_v, half_stride)
        return context.get_dummy_value()

    offsets = [types.int64] * 4
    return types.none(FLOATS, types.int64, FLOATS, BYTES, *offsets), generate


_ZERO = ir.Constant(I32, 0)
