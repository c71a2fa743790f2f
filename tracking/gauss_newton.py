"""Damped Gauss-Newton steps inside box bounds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.cpu.lanes import kernel

Array = NDArray[np.float64]

_BLOCK = 64  # rows: 64 x 60 x 60 products stay below OpenBLAS's threshold of 262,144 for threads


def bounded_step(hessian: Array, descent: Array, value: Array, lower: Array, upper: Array) -> Array:
    """The new value [N] after one step of `hessian @ step = descent` that keeps lower <= value <= upper.

    `hessian` [N, N] is J^T J plus damping and priors, positive definite; `descent` [N] is minus the gradient.
    Variables that lie on a bound and are pushed outwards are held; the others take the joint step. A variable
    that would cross its bound stops there, and the rest is solved once more around it, since its share is now
    missing.
    Source: D. Bertsekas, "Projected Newton methods for optimization problems with simple constraints", 1982.
    """
    stepped: Array = _bounded_step(hessian, descent, value, lower, upper)
    return stepped


def bounded_minimum(
    hessian: Array,
    aim: Array,
    start: Array,
    lower: Array,
    upper: Array,
    *,
    most_steps: int,
    converged: float,
) -> Array:
    """The value [N] that minimises value^T hessian value / 2 - aim^T value inside its bounds, from `start`.

    Takes bounded steps until no variable moves by `converged`, at most `most_steps`.
    """
    value: Array = _bounded_minimum(hessian, aim, start, lower, upper, most_steps, converged)
    return value


# Compiled and without the interpreter's lock: live, a frame solves one such problem beside busy threads, and
# a chain of NumPy calls would hand the lock over at each of them.
@kernel
def _bounded_step(hessian, descent, value, lower, upper):
    num = value.shape[0]
    free = np.empty(num, np.bool_)
    for i in range(num):
        held_low = value[i] <= lower[i] and descent[i] < 0
        held_high = value[i] >= upper[i] and descent[i] > 0
        free[i] = not (held_low or held_high)
    step = np.zeros(num)
    rows = np.empty(num, np.int64)
    factor, wanted = np.empty((num, num)), np.empty(num)
    for _ in range(2):
        count = 0
        for i in range(num):
            if free[i]:
                rows[count] = i
                count += 1
        for r in range(count):
            i = rows[r]
            rest = descent[i]
            for j in range(num):
                if not free[j]:
                    rest -= hessian[i, j] * step[j]
            wanted[r] = rest
            for c in range(r + 1):
                factor[r, c] = hessian[i, rows[c]]
        _solve_positive(factor, wanted, count)
        for r in range(count):
            step[rows[r]] = wanted[r]
        crossed = False
        for r in range(count):
            i = rows[r]
            target = value[i] + step[i]
            if target < lower[i] or target > upper[i]:
                step[i] = min(max(target, lower[i]), upper[i]) - value[i]
                free[i] = False
                crossed = True
        if not crossed:
            break
    out = np.empty(num)
    for i in range(num):
        out[i] = min(max(value[i] + step[i], lower[i]), upper[i])
    return out


@kernel
def _solve_positive(factor, wanted, count):
    """Solve in place for `wanted`[:count] by Cholesky; the lower triangle of `factor` is overwritten."""
    for i in range(count):
        for j in range(i + 1):
            total = factor[i, j]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            factor[i, j] = np.sqrt(total) if i == j else total / factor[j, j]
        rest = wanted[i]
        for k in range(i):
            rest -= factor[i, k] * wanted[k]
        wanted[i] = rest / factor[i, i]
    for i in range(count - 1, -1, -1):
        wanted[i] /= factor[i, i]
        for k in range(i):
            wanted[k] -= factor[i, k] * wanted[i]


@kernel
def _bounded_minimum(hessian, aim, start, lower, upper, most_steps, converged):
    num = start.shape[0]
    value, descent = start, np.empty(num)
    for _ in range(most_steps):
        for i in range(num):
            rest = aim[i]
            for j in range(num):
                rest -= hessian[i, j] * value[j]
            descent[i] = rest
        before = value
        value = _bounded_step(hessian, descent, value, lower, upper)
        moved = 0.0
        for i in range(num):
            moved = max(moved, abs(value[i] - before[i]))
        if moved < converged:
            break
    return value


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
