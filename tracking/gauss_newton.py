"""One damped Gauss-Newton step inside box bounds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_BLOCK = 64  # rows: 64 x 60 x 60 products stay below OpenBLAS's threshold of 262,144 for threads


def bounded_step(hessian: Array, descent: Array, value: Array, lower: Array, upper: Array) -> Array:
    """The new value [N] after one step of `hessian @ step = descent` that keeps lower <= value <= upper.

    `hessian` [N, N] is J^T J plus damping and priors, `descent` [N] is minus the gradient. Variables that lie
    on a bound and are pushed outwards are held; the others take the joint step. A variable that would cross
    its bound stops there, and the rest is solved once more around it, since its share is now missing.
    Source: D. Bertsekas, "Projected Newton methods for optimization problems with simple constraints", 1982.
    """
    free = ~(((value <= lower) & (descent < 0)) | ((value >= upper) & (descent > 0)))
    step = np.zeros_like(value)
    for _ in range(2):
        rows = np.flatnonzero(free)
        held = np.flatnonzero(~free)
        wanted = descent[rows] - hessian[np.ix_(rows, held)] @ step[held]
        step[rows] = np.linalg.solve(hessian[np.ix_(rows, rows)], wanted)
        target = value + step
        crossed = free & ((target < lower) | (target > upper))
        if not crossed.any():
            break
        step[crossed] = np.clip(target, lower, upper)[crossed] - value[crossed]
        free &= ~crossed
    return np.clip(value + step, lower, upper)


def huber_weights(distance: Array, threshold: float) -> Array:
    """Weights of squared residuals that make their cost grow linearly beyond `threshold`."""
    return np.minimum(1.0, threshold / np.maximum(distance, 1e-12))


def inner(left: Array, right: Array) -> Array:
    """left^T @ right of [M, A] and [M, B], summed over short blocks.

    Linear algebra libraries start threads for a product of this size, and handing it out costs more than
    computing it: a hundred times more on a busy machine.
    """
    count = len(left)
    blocks = -(-count // _BLOCK)
    parts = []
    for matrix in (left, right):
        padded = np.zeros((blocks * _BLOCK, matrix.shape[1]))
        padded[:count] = matrix
        parts.append(padded.reshape(blocks, _BLOCK, -1))
    return (parts[0].swapaxes(1, 2) @ parts[1]).sum(0)
