"""Single rotations as axis-angle vectors in NumPy: a few microseconds each, where torch takes a hundred."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]  # [3]
Matrix = NDArray[np.float64]  # [3, 3]

_SMALL = 1e-7  # below this angle in radians the series is exact to a double's rounding


def to_matrix(rotation: Vector) -> Matrix:
    """The rotation matrix of an axis-angle vector (radians). Source: Rodrigues' formula."""
    angle = math.sqrt(rotation @ rotation)
    cross = _cross_matrix(rotation)
    if angle < _SMALL:
        return np.eye(3) + cross + 0.5 * cross @ cross
    return np.eye(3) + math.sin(angle) / angle * cross + (1 - math.cos(angle)) / angle**2 * cross @ cross


def from_matrix(matrix: Matrix) -> Vector:
    """The axis-angle vector of a rotation matrix; its angle is at most pi."""
    sine_axis = 0.5 * np.array(
        [matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]]
    )
    sine = math.sqrt(sine_axis @ sine_axis)
    cosine = 0.5 * (matrix[0, 0] + matrix[1, 1] + matrix[2, 2] - 1)
    angle = math.atan2(sine, cosine)
    if angle < _SMALL:
        return sine_axis
    if sine > 1e-6:
        return angle / sine * sine_axis
    # Near half a turn the antisymmetric part vanishes; the symmetric one still holds the axis.
    squares = 0.5 * (matrix + np.eye(3))
    axis = squares[:, int(np.argmax(np.diag(squares)))]
    return angle * axis / math.sqrt(axis @ axis)


def compose(first: Vector, then: Vector) -> Vector:
    """The rotation `first` followed by `then`."""
    return from_matrix(to_matrix(then) @ to_matrix(first))


def difference(start: Vector, end: Vector) -> Vector:
    """The rotation in fixed axes that leads from `start` to `end`."""
    return from_matrix(to_matrix(end) @ to_matrix(start).T)


def interpolate(start: Vector, end: Vector, share: float) -> Vector:
    """The rotation a share of the shortest way from `start` to `end`."""
    return compose(start, share * difference(start, end))


def _cross_matrix(vector: Vector) -> Matrix:
    x, y, z = vector
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
