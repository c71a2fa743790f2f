"""Splats over a block of pixels, forward and backward: the innermost loops, as LLVM vectors.

Forward keeps a block's sums in registers while all splats of a batch that touch it are blended. Backward
walks the same splats from the last to the first. With T the transmittance behind a splat, v the gradient of
its weight w (the sum over maps of the map's gradient times the splat's value) and S the sum of w v over the
splats behind it,

    T_before = T / (1 - a),   w = a T_before,   dL/da = T_before v - S / (1 - a),   S += w v,

so one number for each pixel stands for all maps. What a splat receives from the sixteen pixels is added up by
a tree of shuffles to one vector, its gradient record.
Source: Kerbl et al., "3D Gaussian Splatting", 2023, section 6; Ye et al., gsplat, 2024.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types

from render.cpu.gradients.layout import (
    BLOCK_WIDTH,
    BLUE,
    CONIC_A,
    CONIC_B,
    CONIC_C,
    DEPTH,
    GREEN,
    LOG2_OPACITY,
    MEAN_X,
    MEAN_Y,
    NORMAL_X,
    NORMAL_Y,
    NORMAL_Z,
    RECORD,
    RED,
    SUM_DEPTH,
    SUM_DEPTH2,
    TILT_X,
    TILT_Y,
    U_X,
    U_Y,
    V_X,
    V_Y,
)
from render.cpu.lanes import (
    EXP2_QUARTIC,
    FLOATS,
    I32,
    INTS,
    LANES,
    VECTOR,
    Ops,
    element_pointer,
    lane_operation,
)
from render.splatting import ALPHA_MAX, ALPHA_MIN, SURFEL_LOW_PASS_PX2

_INT64 = ir.IntType(64)
_COLOURS, _NORMALS = (RED, GREEN, BLUE), (NORMAL_X, NORMAL_Y, NORMAL_Z)
_DISC = -0.5 / math.log(2.0) / SURFEL_LOW_PASS_PX2
Values = list[ir.Value]


@dataclass
class _Coverage:
    """A splat over a block: what its alpha is made of."""

    alpha: ir.Value  # 0 where not drawn
    depth: ir.Value | None  # less the origin
    dx: ir.Value
    dy: ir.Value
    in_plane: ir.Value | None  # surfels: drawn, and the plane is nearer than the disc
    closeness: ir.Value | None  # surfels: depth / mean depth there, 1 elsewhere
    u: ir.Value | None  # surfels: the point of the plane, times sqrt(0.5 / ln 2); any value elsewhere
    v: ir.Value | None


class _Block:
    """Code of one splat over one block."""

    def __init__(self, context: Any, builder: ir.IRBuilder, surfel: bool, geometry: bool) -> None:
        self.context, self.builder, self.ops = context, builder, Ops(builder)
        self.surfel, self.geometry = surfel, geometry

    def pixels(self, x: ir.Value, y: ir.Value) -> tuple[ir.Value, ir.Value]:
        b, ops = self.builder, self.ops
        across = ops.consts([i % BLOCK_WIDTH for i in range(LANES)])
        down = ops.consts([i // BLOCK_WIDTH for i in range(LANES)])
        return b.fadd(ops.splat(x), across), b.fadd(ops.splat(y), down)

    def take(self, record: ir.Value) -> None:
        self._record = record

    def column(self, index: int) -> ir.Value:
        b = self.builder
        return self.ops.splat(b.load(b.gep(self._record, [ir.Constant(I32, index)])))

    def cover(self, pixels: tuple[ir.Value, ir.Value], origin: ir.Value) -> _Coverage:
        b, ops = self.builder, self.ops
        dx, dy = b.fsub(pixels[0], self.column(MEAN_X)), b.fsub(pixels[1], self.column(MEAN_Y))
        least = ops.const(math.log2(ALPHA_MIN))
        in_plane = closeness = depth = u = v = None
        if self.surfel:
            u = ops.muladd(self.column(U_X), dx, b.fmul(self.column(U_Y), dy))
            v = ops.muladd(self.column(V_X), dx, b.fmul(self.column(V_Y), dy))
            tilt = ops.muladd(self.column(TILT_X), dx, ops.muladd(self.column(TILT_Y), dy, ops.const(1.0)))
            closeness = b.fdiv(ops.const(1.0), tilt)
            u, v = b.fmul(u, closeness), b.fmul(v, closeness)
            plane = b.fsub(ops.const(0.0), ops.muladd(u, u, b.fmul(v, v)))
            disc = b.fmul(ops.muladd(dx, dx, b.fmul(dy, dy)), ops.const(_DISC))
            nearer = b.fcmp_ordered(">=", plane, disc)
            power = b.fadd(self.column(LOG2_OPACITY), b.select(nearer, plane, disc))
            drawn = b.fcmp_ordered(">=", power, least)
            in_plane = b.and_(drawn, nearer)
            closeness = b.select(in_plane, closeness, ops.const(1.0))
        else:
            across = ops.muladd(self.column(CONIC_B), dy, b.fmul(self.column(CONIC_A), dx))
            down = b.fmul(self.column(CONIC_C), dy)
            power = ops.muladd(across, dx, ops.muladd(down, dy, self.column(LOG2_OPACITY)))
            drawn = b.fcmp_ordered(">=", power, least)
        if self.geometry:
            depth = self.column(DEPTH) if closeness is None else b.fmul(self.column(DEPTH), closeness)
            depth = b.fsub(depth, origin)
        alpha = ops.smaller(ops.exp2(power, EXP2_QUARTIC), ops.const(ALPHA_MAX))
        alpha = b.select(drawn, alpha, ops.const(0.0))
        return _Coverage(alpha, depth, dx, dy, in_plane, closeness, u, v)

    def value_gradient(self, cover: _Coverage, gradients: Values) -> ir.Value:
        """v of the module's text. `gradients`: alpha, red, green, blue, then depth, depth^2, x, y, z."""
        ops = self.ops
        v = gradients[0]
        for gradient, index in zip(gradients[1:4], _COLOURS, strict=True):
            v = ops.muladd(gradient, self.column(index), v)
        if self.geometry:
            depth, square = gradients[4:6]
            v = ops.muladd(ops.muladd(square, cover.depth, depth), cover.depth, v)
            for gradient, index in zip(gradients[6:], _NORMALS, strict=True):
                v = ops.muladd(gradient, self.column(index), v)
        return v

    def record_gradient(
        self, cover: _Coverage, weight: ir.Value, d_alpha: ir.Value, gradients: Values
    ) -> list[ir.Value | None]:
        """What each pixel adds to the sixteen columns of the splat's gradient."""
        b, ops = self.builder, self.ops
        zero = ops.const(0.0)
        columns: list[ir.Value | None] = [None] * RECORD
        for gradient, index in zip(gradients[1:4], _COLOURS, strict=True):
            columns[index] = b.fmul(weight, gradient)
        d_depth = None
        if self.geometry:
            depth, square = gradients[4:6]
            twice = b.fadd(cover.depth, cover.depth)
            d_depth = b.fmul(weight, ops.muladd(square, twice, depth))
            columns[DEPTH] = d_depth if cover.closeness is None else b.fmul(d_depth, cover.closeness)
            for gradient, index in zip(gradients[6:], _NORMALS, strict=True):
                columns[index] = b.fmul(weight, gradient)
        # the limit to ALPHA_MAX has no gradient; alpha is 0 where nothing is drawn
        free = b.fcmp_ordered("<", cover.alpha, ops.const(ALPHA_MAX))
        slope = b.fmul(cover.alpha, ops.const(math.log(2.0)))
        d_power = b.select(free, b.fmul(d_alpha, slope), zero)
        columns[LOG2_OPACITY] = d_power
        if self.surfel:
            d_x, d_y = self._surfel_gradient(cover, d_power, d_depth, columns)
        else:
            with_dx, with_dy = b.fmul(d_power, cover.dx), b.fmul(d_power, cover.dy)
            columns[CONIC_A] = b.fmul(with_dx, cover.dx)
            columns[CONIC_B] = b.fmul(with_dx, cover.dy)
            columns[CONIC_C] = b.fmul(with_dy, cover.dy)
            a, c = self.column(CONIC_A), self.column(CONIC_C)
            d_x = ops.muladd(b.fadd(a, a), with_dx, b.fmul(self.column(CONIC_B), with_dy))
            d_y = ops.muladd(b.fadd(c, c), with_dy, b.fmul(self.column(CONIC_B), with_dx))
        columns[MEAN_X], columns[MEAN_Y] = b.fsub(zero, d_x), b.fsub(zero, d_y)
        return columns

    def _surfel_gradient(
        self, cover: _Coverage, d_power: ir.Value, d_depth: ir.Value | None, columns: list[ir.Value | None]
    ) -> tuple[ir.Value, ir.Value]:
        """Fill the columns of the forms and of the tilt; returns the gradient of (dx, dy)."""
        b, ops = self.builder, self.ops
        zero = ops.const(0.0)

        def in_plane(value: ir.Value) -> ir.Value:
            return b.select(cover.in_plane, value, zero)

        # power = log2(opacity) - u^2 - v^2 in the plane, of the distance on the screen elsewhere
        factor = b.fmul(b.fmul(d_power, ops.const(-2.0)), cover.closeness)
        d_u, d_v = in_plane(b.fmul(factor, cover.u)), in_plane(b.fmul(factor, cover.v))
        d_disc = b.select(cover.in_plane, zero, b.fmul(d_power, ops.const(2 * _DISC)))
        # u, v and depth all go with the closeness, the inverse of 1 + tilt . (dx, dy)
        d_tilt = ops.muladd(d_u, cover.u, b.fmul(d_v, cover.v))
        if d_depth is not None:
            d_tilt = ops.muladd(
                d_depth, b.fmul(b.fmul(self.column(DEPTH), cover.closeness), cover.closeness), d_tilt
            )
        d_tilt = b.fsub(zero, in_plane(d_tilt))
        columns[U_X], columns[U_Y] = b.fmul(d_u, cover.dx), b.fmul(d_u, cover.dy)
        columns[V_X], columns[V_Y] = b.fmul(d_v, cover.dx), b.fmul(d_v, cover.dy)
        columns[TILT_X], columns[TILT_Y] = b.fmul(d_tilt, cover.dx), b.fmul(d_tilt, cover.dy)
        gradient = []
        for offset, names in ((cover.dx, (U_X, V_X, TILT_X)), (cover.dy, (U_Y, V_Y, TILT_Y))):
            total = b.fmul(d_disc, offset)
            for d, name in zip((d_u, d_v, d_tilt), names, strict=True):
                total = ops.muladd(d, self.column(name), total)
            gradient.append(total)
        return gradient[0], gradient[1]

    def sums_over_lanes(self, columns: list[ir.Value | None]) -> ir.Value:
        """Lane i of the result is the sum of columns[i]."""
        step = LANES // 2
        while step:
            columns = [
                self._halves(first, second, step)
                for first, second in zip(columns[:step], columns[step:], strict=True)
            ]
            step //= 2
        (result,) = columns
        return result

    def _halves(self, first: ir.Value | None, second: ir.Value | None, step: int) -> ir.Value | None:
        """Sums of lanes `step` apart: of `second` in the lanes with that bit, of `first` elsewhere."""
        if first is None and second is None:
            return None
        b, zero = self.builder, self.ops.const(0.0)
        first, second = (zero if v is None else v for v in (first, second))
        here = [i + LANES if i & step else i for i in range(LANES)]
        there = [j ^ step for j in here]
        near = b.shuffle_vector(first, second, ir.Constant(INTS, here))
        return b.fadd(near, b.shuffle_vector(first, second, ir.Constant(INTS, there)))


def _loop(builder: ir.IRBuilder, splats: ir.Value, carried: Values, backward: bool, step: Any) -> Values:
    """Run step(k, values) -> values for the set bits of `splats`, of which there is at least one."""
    before = builder.block
    body, after = builder.append_basic_block("splat"), builder.append_basic_block("splats_done")
    builder.branch(body)
    builder.position_at_end(body)
    left = builder.phi(I32)
    left.add_incoming(splats, before)
    phis = [builder.phi(VECTOR) for _ in carried]
    for phi, value in zip(phis, carried, strict=True):
        phi.add_incoming(value, before)
    flag = ir.Constant(ir.IntType(1), 1)
    if backward:
        bit = builder.sub(ir.Constant(I32, 31), builder.ctlz(left, flag))
        rest = builder.xor(left, builder.shl(ir.Constant(I32, 1), bit))
    else:
        bit = builder.cttz(left, flag)
        rest = builder.and_(left, builder.sub(left, ir.Constant(I32, 1)))  # without its lowest bit
    results = step(builder.zext(bit, _INT64), phis)
    for phi, value in zip(phis, results, strict=True):
        phi.add_incoming(value, body)
    left.add_incoming(rest, body)
    builder.cbranch(builder.icmp_signed("!=", rest, ir.Constant(I32, 0)), body, after)
    builder.position_at_end(after)
    return results


def _blend(surfel: bool, geometry: bool) -> Callable[..., Any]:
    planes = 9 if geometry else 4

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        sums, at, records, splats, x, y, origin = args
        block = _Block(context, builder, surfel, geometry)
        ops = block.ops
        pointer = element_pointer(context, builder, signature.args[0], sums, at)
        pixels, origin = block.pixels(x, y), ops.splat(origin)

        def step(k: ir.Value, values: Values) -> Values:
            offset = builder.mul(k, ir.Constant(_INT64, RECORD))
            block.take(element_pointer(context, builder, signature.args[2], records, offset))
            cover = block.cover(pixels, origin)
            weight = builder.fmul(cover.alpha, values[0])
            results = [builder.fmul(values[0], builder.fsub(ops.const(1.0), cover.alpha))]
            for index, value in zip(_COLOURS, values[1:4], strict=True):
                results.append(ops.muladd(weight, block.column(index), value))
            if geometry:
                moment = builder.fmul(weight, cover.depth)
                results.append(builder.fadd(values[SUM_DEPTH], moment))
                results.append(ops.muladd(moment, cover.depth, values[SUM_DEPTH2]))
                for index, value in zip(_NORMALS, values[6:], strict=True):
                    results.append(ops.muladd(weight, block.column(index), value))
            return results

        values = [ops.load(pointer, plane * LANES) for plane in range(planes)]
        for plane, value in enumerate(_loop(builder, splats, values, False, step)):
            ops.store(value, pointer, plane * LANES)
        return context.get_dummy_value()

    return generate


def _blend_backward(surfel: bool, geometry: bool) -> Callable[..., Any]:
    planes = 9 if geometry else 4

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        states, map_gradients, at, at_gradients, records, d_records, splats, x, y, origin = args
        block = _Block(context, builder, surfel, geometry)
        ops = block.ops
        state = element_pointer(context, builder, signature.args[0], states, at)
        pointer = element_pointer(context, builder, signature.args[1], map_gradients, at_gradients)
        gradients = [ops.load(pointer, plane * LANES) for plane in range(planes)]
        pixels, origin = block.pixels(x, y), ops.splat(origin)

        def step(k: ir.Value, values: Values) -> Values:
            through, behind = values
            offset = builder.mul(k, ir.Constant(_INT64, RECORD))
            block.take(element_pointer(context, builder, signature.args[4], records, offset))
            cover = block.cover(pixels, origin)
            inverse = builder.fdiv(ops.const(1.0), builder.fsub(ops.const(1.0), cover.alpha))
            through = builder.fmul(through, inverse)
            weight = builder.fmul(cover.alpha, through)
            v = block.value_gradient(cover, gradients)
            d_alpha = builder.fsub(builder.fmul(through, v), builder.fmul(behind, inverse))
            total = block.sums_over_lanes(block.record_gradient(cover, weight, d_alpha, gradients))
            target = element_pointer(context, builder, signature.args[5], d_records, offset)
            ops.store(builder.fadd(ops.load(target, 0), total), target, 0)
            return [through, ops.muladd(weight, v, behind)]

        values = [ops.load(state, 0), ops.load(state, LANES)]
        for plane, value in enumerate(_loop(builder, splats, values, True, step)):
            ops.store(value, state, plane * LANES)
        return context.get_dummy_value()

    return generate


_POSITION = (types.int32, types.float32, types.float32, types.float32)
_FORWARD = types.none(FLOATS, types.int64, FLOATS, *_POSITION)
_BACKWARD = types.none(FLOATS, FLOATS, types.int64, types.int64, FLOATS, FLOATS, *_POSITION)


@lane_operation
def blend_colours(typingctx, sums, at, records, splats, x, y, origin):
    """Blend 3D splats whose bits are set, at least one, front to back into a block's colour planes.

    `at` is the block's float offset in `sums`, `records` [BATCH * RECORD] a batch, (x, y) the block's first
    pixel in the coordinates of the records, `origin` the depth that depths are counted from.
    """
    return _FORWARD, _blend(surfel=False, geometry=False)


@lane_operation
def blend_maps(typingctx, sums, at, records, splats, x, y, origin):
    """The same into all planes."""
    return _FORWARD, _blend(surfel=False, geometry=True)


@lane_operation
def blend_surfel_colours(typingctx, sums, at, records, splats, x, y, origin):
    """`blend_colours` of surfels."""
    return _FORWARD, _blend(surfel=True, geometry=False)


@lane_operation
def blend_surfel_maps(typingctx, sums, at, records, splats, x, y, origin):
    """`blend_maps` of surfels."""
    return _FORWARD, _blend(surfel=True, geometry=True)


@lane_operation
def colours_backward(
    typingctx, states, gradients, at, at_gradients, records, d_records, splats, x, y, origin
):  # fmt: skip
    """Walk the splats of `blend_colours` back to front, adding to `d_records` [BATCH * RECORD].

    `states` at `at`: transmittance behind the splats and S, updated to before them. `gradients` at
    `at_gradients`: planes of d loss / d alpha and colour, in the order of the sums.
    """
    return _BACKWARD, _blend_backward(surfel=False, geometry=False)


@lane_operation
def maps_backward(
    typingctx, states, gradients, at, at_gradients, records, d_records, splats, x, y, origin
):  # fmt: skip
    """`colours_backward` of `blend_maps`; the planes of depth, its square and the normal follow."""
    return _BACKWARD, _blend_backward(surfel=False, geometry=True)


@lane_operation
def surfel_colours_backward(
    typingctx, states, gradients, at, at_gradients, records, d_records, splats, x, y, origin
):  # fmt: skip
    """`colours_backward` of surfels."""
    return _BACKWARD, _blend_backward(surfel=True, geometry=False)


@lane_operation
def surfel_maps_backward(
    typingctx, states, gradients, at, at_gradients, records, d_records, splats, x, y, origin
):  # fmt: skip
    """`maps_backward` of surfels."""
    return _BACKWARD, _blend_backward(surfel=True, geometry=True)
