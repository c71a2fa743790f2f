"""Hair that stands in coils, and hair wound into a knot."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.making.people.fields import fbm, smoothstep, unit
from render.making.people.scene.strands.roots import Roots
from render.making.people.scene.strands.strand import locks

Array = NDArray[np.float64]

_MIDDLE = np.array([0.0, 22.0, -80.0])  # that curls stand away from, millimetres from the eyes' midpoint


def coils(roots: Roots, within_mm: Array, length_mm: float, nodes: int, rng: np.random.Generator) -> Array:
    """Coils [N, nodes, 3] that reach about `length_mm` from the scalp; strands of a lock coil together."""
    root, count = roots.position, len(roots)
    lock = locks(root, 7, rng)
    reach = length_mm * (0.55 + 0.45 * smoothstep(-20, 90, root[:, 1])) * smoothstep(-6, 20, within_mm + 3)
    reach *= 1 + 0.10 * fbm(root, 0.03, 230)
    own = rng.uniform(0.55, 1.0, count)[lock] * rng.uniform(0.88, 1.06, count)
    lean = rng.normal(size=(count, 3))
    out = unit(0.55 * roots.normal + 0.45 * unit(root - _MIDDLE) + 0.22 * lean[lock] + 0.05 * lean)
    out = unit(out - (0.12 * own)[:, None] * [0, 1, 0])
    across = unit(np.cross(out, lean[lock]))
    other = np.cross(out, across)
    along = np.linspace(0, 1, nodes)
    width = rng.uniform(1.7, 3.0, count)[lock] * rng.uniform(0.85, 1.15, count)
    pitch = rng.uniform(4.5, 7.5, count)[lock]
    phase = 2 * np.pi * rng.random(count)[lock] + 0.35 * rng.normal(size=count)
    height = (reach * own)[:, None] * along
    turn = 2 * np.pi * height / pitch[:, None] + phase[:, None]
    size = (width[:, None] * smoothstep(0.0, 6.0, height))[:, :, None]
    bend = (0.10 * height**2 / np.maximum(reach, 4)[:, None])[:, :, None] * lean[lock][:, None]
    middle = root + 1.4 * (rng.normal(size=(count, 3)) * [1, 1, 1])
    middle = middle + 0.6 * (root[lock] - root)
    stem = root[:, None] + (middle - root)[:, None] * smoothstep(0, 0.3, along)[None, :, None]
    return np.asarray(
        stem
        + (0.85 * size - 0.8 * (1 - along[None, :, None])) * roots.normal[:, None]
        + height[:, :, None] * out[:, None]
        + size * (np.cos(turn)[:, :, None] * across[:, None] + np.sin(turn)[:, :, None] * other[:, None])
        + bend
    )


def knot(centre: Array, count: int, nodes: int, rng: np.random.Generator) -> Array:
    """A bun: strands [count, nodes, 3] wound about its axis, which points out of the back of the head."""
    axis = unit(np.array([0.0, 0.35, -1.0]))
    right = unit(np.cross([0.0, 1.0, 0.0], axis))
    up = np.cross(axis, right)
    lock = rng.integers(0, 26, count)
    start, tilt = rng.uniform(0, 2 * np.pi, 26)[lock], rng.normal(size=26)[lock]
    across = rng.uniform(0, 2 * np.pi, 26)[lock] + 0.35 * rng.normal(size=count)
    turns = rng.uniform(0.7, 1.1, count)
    thick = 13.0 + 1.6 * np.clip(rng.normal(size=count), -3, 1.5)
    angle = start[:, None] + 2 * np.pi * turns[:, None] * np.linspace(0, 1, nodes)
    around = across[:, None] + (0.9 + 0.25 * tilt)[:, None] * (angle - start[:, None])
    radius = 15.0 + thick[:, None] * np.cos(around) + 1.2 * np.sin(3 * angle + tilt[:, None])
    out = 9.0 + 0.85 * thick[:, None] * np.sin(around)
    return np.asarray(
        centre
        + radius[:, :, None] * (np.cos(angle)[:, :, None] * right + np.sin(angle)[:, :, None] * up)
        + out[:, :, None] * axis
    )
