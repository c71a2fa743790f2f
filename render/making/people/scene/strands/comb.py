"""Hair that hangs or is combed: strands that march over the head, heading by heading."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from render.making.people.fields import fbm, smoothstep, unit, value_noise
from render.making.people.person import Hair
from render.making.people.scene.strands.roots import Roots
from render.making.people.scene.strands.scalp import HeadSurface
from render.making.people.scene.strands.strand import arc, cut, gathered, locks, smooth, waved

Array = NDArray[np.float64]

CROWN = np.array([8.0, 104.0, -112.0])  # where hair turns, millimetres from the eyes' midpoint
_DOWN = np.array([0.0, -1.0, 0.0])
_UNDER_SKIN_MM = 1.0
_SHOULDER_RIDGE_MM = -95.0  # behind the eyes' midpoint


def along_skin(directions: Array, normal: Array, lift: Array | float) -> Array:
    """Directions [N, 3] laid on the skin and lifted from it by `lift` [N]."""
    flat = unit(directions - (directions * normal).sum(1, keepdims=True) * normal)
    return unit(flat + np.broadcast_to(lift, len(normal))[:, None] * normal)


def march(
    roots: Roots,
    heading: Array,
    step_mm: Array | float,
    steps: int,
    turn: Callable[[Array, Array, Array], Array],
    rest: Callable[[Array, Array], Array],
) -> Array:
    """Nodes [N, steps + 2, 3] of strands that go by `step_mm` [N] a step.

    `turn(points, headings, grown)` are the next headings, `rest(points, grown)` where points come to rest;
    `grown` [N] is the length so far in millimetres.
    """
    step = np.broadcast_to(step_mm, len(roots)).astype(float)
    points = roots.position
    nodes = [points - _UNDER_SKIN_MM * roots.normal, points]
    for k in range(steps):
        heading = unit(turn(points, heading, k * step))
        moved = rest(points + step[:, None] * heading, (k + 1) * step)
        heading, points = unit(moved - points), moved
        nodes.append(points)
    return np.stack(nodes, 1)


def loose(roots: Roots, surface: HeadSurface, hair: Hair, rng: np.random.Generator) -> tuple[Array, Array]:
    """Hair that falls from a parting: nodes [N, S, 3], and each strand's length [N]."""
    root, normal, count = roots.position, roots.normal, len(roots)
    parting = hair.parting_mm + 2.5 * value_noise(root, 0.05, 150) + 2.8 * rng.normal(size=count)
    side = np.where(root[:, 0] > parting, 1.0, -1.0)
    top = smoothstep(40, 82, root[:, 1])
    back = smoothstep(-95, -128, root[:, 2])
    front = smoothstep(-60, -10, root[:, 2])
    layer = np.clip(0.7 * smoothstep(-70, 95, root[:, 1]) + 0.3 * rng.random(count), 0, 1)
    sideways = np.c_[side * (0.35 + 0.75 * top), -0.9 * (1 - top), -0.45 * front - 0.1 * (1 - top)]
    radial = unit(root - CROWN) * [1, 0.7, 1] + 0.6 * (1 - top)[:, None] * _DOWN
    combed = (1 - back)[:, None] * sideways + back[:, None] * radial
    combed += 0.05 * rng.normal(size=(count, 3))
    heading = along_skin(combed, normal, 0.16 + 0.04 * top)
    volume = 3.0 + 13.0 * layer
    aside = 4.0 * value_noise(root, 0.06, 151)
    step = 10.0
    tuck = 0.30 if hair.style == "bob" else 0.04

    def turn(x: Array, h: Array, grown: Array) -> Array:
        weight = 0.10 + 0.30 * smoothstep(5, 90, grown)
        # Over the forehead hair is swept back until it has passed the temple.
        brow = smoothstep(-55, -15, x[:, 2]) * smoothstep(5, 40, x[:, 1])
        swept = brow[:, None] * np.c_[0.25 * side, np.zeros(count), np.full(count, -0.40)]
        inwards = unit([0.0, 0.0, -80.0] - x * [1, 0, 1]) * (tuck * smoothstep(-45, -105, x[:, 1]))[:, None]
        # On the shoulders it slides to the chest or the back, not over the arms.
        ahead = np.where(x[:, 2] > _SHOULDER_RIDGE_MM, 1.0, -1.0)
        inward = -0.25 * np.sign(x[:, 0]) * smoothstep(72, 88, np.abs(x[:, 0]))
        sliding = np.c_[inward, np.zeros(count), 0.6 * ahead]
        over = smoothstep(-60, -115, x[:, 1]) * smoothstep(42, 65, np.abs(x[:, 0]))
        sliding *= (over * smoothstep(70, 25, np.abs(x[:, 2] - _SHOULDER_RIDGE_MM)))[:, None]
        return np.asarray(
            (1 - weight)[:, None] * h + weight[:, None] * _DOWN + 0.35 * swept + inwards + sliding
        )

    def rest(x: Array, grown: Array) -> Array:
        flat = 0.32 + 0.68 * smoothstep(85, 10, x[:, 1])
        over = 0.8 + volume * flat * smoothstep(0, 90, grown)
        # Long hair falls before or behind the shoulders, never on them like a shawl.
        behind = smoothstep(_SHOULDER_RIDGE_MM, _SHOULDER_RIDGE_MM - 20, x[:, 2])
        reach = np.interp(x[:, 1], (-135, -85), (80, 150)) + 6 * layer - 12 * behind
        x[:, 0] = np.clip(x[:, 0], -reach, reach)
        x = surface.outside(x, np.where(x[:, 1] < -150, np.minimum(over, 4 + 8 * layer), over))
        # Hair frames the face and does not hang over it.
        limit = np.interp(x[:, 1], (-150, -75, -15, 30, 62), (52, 54, 61, 58, 0)) + 6 * layer + aside
        facing = (x[:, 2] > -48) & (x[:, 1] > -150) & (np.abs(x[:, 0]) < limit)
        x[facing, 0] = (side * limit)[facing]
        return x

    longest = hair.length_mm * rng.uniform(0.9, 1.0, count)
    nodes = march(roots, heading, step, int(np.ceil(hair.length_mm / step)), turn, rest)
    nodes = smooth(nodes, 2)
    lock = locks(np.c_[root, 60 * side], 70, rng)
    tuft = locks(np.c_[root, 60 * side], 9, rng)
    grown = arc(nodes)
    near = smoothstep(10, 110, grown)
    nodes = gathered(nodes, tuft, 0.55 * near)
    nodes = gathered(nodes, lock, 0.50 * near)
    nodes = waved(nodes, lock, hair.wave_mm * near, 90.0)
    nodes = waved(nodes, tuft, 0.45 * hair.wave_mm * near, 55.0)
    nodes += (0.5 + 0.9 * near[:, :, None]) * rng.normal(size=(count, 1, 3))
    return nodes, longest


def trimmed(nodes: Array, length: Array, height: Array) -> Array:
    """Lengths [N] of strands cut where they first come below `height` [N]; at most `length` [N]."""
    below = nodes[:, 1:, 1] < height[:, None]
    first = np.where(below.any(1), below.argmax(1) + 1, nodes.shape[1] - 1)
    row, total = np.arange(len(nodes)), arc(nodes)
    high, low = nodes[row, first - 1, 1], nodes[row, first, 1]
    share = np.where(below.any(1), np.clip((high - height) / np.maximum(high - low, 1e-6), 0, 1), 1.0)
    reached = total[row, first - 1] + share * (total[row, first] - total[row, first - 1])
    return np.asarray(np.minimum(length, reached))


def short(roots: Roots, surface: HeadSurface, hair: Hair, rng: np.random.Generator) -> tuple[Array, Array]:
    """A cut: close at sides and nape, longer on top and brushed to a side; nodes and lengths."""
    root, normal, count = roots.position, roots.normal, len(roots)
    top = smoothstep(45, 80, root[:, 1])
    front = smoothstep(-75, -5, root[:, 2])
    length = (9 + 7 * smoothstep(-40, 40, root[:, 1])) * (1 - top) + top * hair.length_mm * (
        0.75 + 0.3 * front
    )
    length *= rng.uniform(0.72, 1.08, count)
    side = np.tanh((root[:, 0] - hair.parting_mm + 4 * value_noise(root, 0.05, 211)) / 14)
    back = smoothstep(-85, -125, root[:, 2])
    brushed = np.c_[0.55 * side - 0.3, np.zeros(count), np.full(count, 0.45)]
    lying = np.c_[0.1 * np.sign(root[:, 0]), np.full(count, -0.9), np.full(count, -0.45)]
    whorl = unit(root - CROWN)
    whorl = whorl + 0.6 * np.cross([0.0, 1.0, 0.0], whorl)
    over = (1 - back)[:, None] * brushed + back[:, None] * whorl
    combed = top[:, None] * over + (1 - top)[:, None] * lying
    swirl = np.stack([fbm(root, 0.03, 220 + k) for k in range(3)], 1)
    tuft = locks(root, 14, rng)
    lean = rng.normal(size=(count, 3))
    combed = unit(combed) + 0.28 * swirl + 0.12 * lean + 0.12 * lean[tuft]
    lift = 0.35 + 0.55 * top * (0.6 + 0.6 * front) + 0.12 * rng.normal(size=count)
    heading = along_skin(combed, normal, lift)
    flat = along_skin(combed, normal, 0.0)
    steps = 8

    def turn(_x: Array, h: Array, grown: Array) -> Array:
        return np.asarray(h + 0.16 * flat + 0.05 * _DOWN + 0.05 * rng.normal(size=h.shape))

    def rest(x: Array, grown: Array) -> Array:
        return surface.outside(x, np.minimum(0.25 * grown, 0.8 + 5 * top), over_ears=False)

    nodes = smooth(march(roots, heading, length / steps, steps, turn, rest), 1)
    nodes = gathered(nodes, tuft, (0.10 + 0.45 * top)[:, None] * np.linspace(0, 1, nodes.shape[1]) ** 1.5, 14)
    return nodes, length


def swept(
    roots: Roots, surface: HeadSurface, towards: Array, parting_mm: float, rng: np.random.Generator
) -> Array:
    """Hair drawn from a parting over the temples to a knot at `towards` [3]: nodes [N, S, 3]."""
    root, count = roots.position, len(roots)
    lump = 1.5 * value_noise(root, 0.06, 161)
    layer = rng.random(count)
    parting = parting_mm + 2.0 * value_noise(root, 0.05, 150) + 2.0 * rng.normal(size=count)
    side = np.where(root[:, 0] > parting, 1.0, -1.0)
    top = smoothstep(40, 82, root[:, 1]) * smoothstep(-120, -70, root[:, 2])
    aside = np.c_[side * (0.4 + 0.6 * top), -0.5 * (1 - top), np.full(count, -0.5)]
    heading = along_skin(
        top[:, None] * aside + (1 - top)[:, None] * unit(towards - root) + 0.05 * rng.normal(size=(count, 3)),
        roots.normal,
        0.35,
    )
    steps = 24
    far = np.linalg.norm(towards - root, axis=1)

    def turn(x: Array, h: Array, grown: Array) -> Array:
        weight = (0.4 - 0.3 * top * smoothstep(90, 20, grown))[:, None]
        # Off the top it lies on the temples instead of standing out.
        falling = 0.45 * smoothstep(95, 70, x[:, 1]) * smoothstep(35, 60, x[:, 1])
        return np.asarray((1 - weight) * h + weight * unit(towards - x) + falling[:, None] * _DOWN)

    def rest(x: Array, grown: Array) -> Array:
        near = smoothstep(60, 10, np.linalg.norm(towards - x, axis=1))
        over = 0.5 + (2.5 + 3.0 * layer + 0.7 * lump) * smoothstep(0, 40, grown)
        return surface.outside(x, np.maximum(over, 0.3) * (1 + 0.8 * near))

    nodes = march(roots, heading, (1.12 + 0.2 * top) * far / steps, steps, turn, rest)
    # All end in the knot, however they came.
    along = np.linspace(0, 1, nodes.shape[1])
    end = towards + 7 * rng.normal(size=(count, 3)) * (1, 1, 0.6)
    nodes += smoothstep(0.75, 1.0, along)[None, :, None] * (end - nodes[:, -1])[:, None]
    for k in np.flatnonzero(along > 0.7):
        nodes[:, k] = surface.outside(nodes[:, k], 1.0)
    tuft, lock = locks(np.c_[root, 60 * side], 9, rng), locks(np.c_[root, 60 * side], 60, rng)
    gather = np.sin(np.pi * np.clip(1.15 * along, 0, 1)) * 0.5
    nodes = gathered(smooth(nodes, 2), tuft, gather)
    nodes = gathered(nodes, lock, 0.6 * gather)
    return np.asarray(nodes + 0.5 * rng.normal(size=(count, 1, 3)))


def to_length(nodes: Array, length: Array, count: int) -> Array:
    """Strands of `count` nodes and the given lengths [N]; those of no length at all stay a stub."""
    return cut(nodes, np.maximum(length, 2.0), count)
