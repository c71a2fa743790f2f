"""Rotations without branches: nothing here waits for the device or reads a value on the host."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def skew(vector: Tensor) -> Tensor:
    """[..., 3] -> the cross-product matrix [..., 3, 3]: `skew(a) @ b == cross(a, b)`."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """Rotation vectors [..., 3] in radians -> matrices [..., 3, 3]; value and gradient are right at zero too.

    R = cos(t) I + sin(t)/t [w] + (1 - cos(t))/t^2 w w^T. Below t = 0.05 both quotients come from their Taylor
    series, whose first dropped term is smaller than float32 can hold; above it they are exact.
    Source: Rodrigues' formula.
    """
    square = (axis_angle * axis_angle).sum(-1)
    small = square < 0.0025
    safe = torch.where(small, 1.0, square)  # keeps the unused side of `where` finite, gradients included
    angle = safe.sqrt()
    half = (0.5 * angle).sin()
    a = torch.where(small, 1 - square / 6 * (1 - square / 20), angle.sin() / angle)
    b = torch.where(small, 0.5 - square / 24 * (1 - square / 30), 2 * half * half / safe)
    outer = axis_angle[..., :, None] * (b[..., None] * axis_angle)[..., None, :]
    matrix = outer + skew(a[..., None] * axis_angle)
    return matrix + torch.diag_embed((1 - b * square)[..., None].expand(axis_angle.shape))


def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] -> unit quaternions wxyz [..., 4] with w >= 0.

    The matrix gives the symmetric product 4 q q^T, each of whose columns is a multiple of q. Every matrix
    takes a column whose diagonal is at least 1, by multiplying with a one-hot column choice: no branch, no
    host read, finite gradients. A zero matrix gives (0.5, 0, 0, 0).
    Source: M. Day, "Converting a rotation matrix to a quaternion", 2015.
    """
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrix.flatten(-2).unbind(-1)
    low, x_over_y, z_over_w = m22 < 0, m00 > m11, m00 < -m11
    choices = [~(low | z_over_w), low & x_over_y, low & ~x_over_y, ~low & z_over_w]
    w, x, y, z = (choice.to(matrix.dtype) for choice in choices)
    wx, wy, wz = m21 - m12, m02 - m20, m10 - m01
    xy, xz, yz = m01 + m10, m02 + m20, m12 + m21
    sign_x, sign_y = w + x - y - z, w + y - x - z
    diagonal = 1 + sign_x * m00 + sign_y * m11 + sign_x * sign_y * m22
    column_w = w * diagonal + x * wx + y * wy + z * wz
    column_x = w * wx + x * diagonal + y * xy + z * xz
    column_y = w * wy + x * xy + y * diagonal + z * yz
    column_z = w * wz + x * xz + y * yz + z * diagonal
    factor = torch.copysign(0.5 * diagonal.rsqrt(), column_w)
    return torch.stack([factor * column_w, factor * column_x, factor * column_y, factor * column_z], -1)


def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """Quaternions wxyz [..., 4] of any length but zero -> rotation matrices [..., 3, 3]."""
    w, x, y, z = functional.normalize(quaternion, dim=-1).unbind(-1)
    return torch.stack(
        [
            1 - 2 * (y * y + z * z),
            2 * (x * y - w * z),
            2 * (x * z + w * y),
            2 * (x * y + w * z),
            1 - 2 * (x * x + z * z),
            2 * (y * z - w * x),
            2 * (x * z - w * y),
            2 * (y * z + w * x),
            1 - 2 * (x * x + y * y),
        ],
        -1,
    ).unflatten(-1, (3, 3))


def quaternion_multiply(left: Tensor, right: Tensor) -> Tensor:
    """Hamilton product of wxyz quaternions [..., 4]: the rotation `right` first, then `left`."""
    aw, ax, ay, az = left.unbind(-1)
    bw, bx, by, bz = right.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        -1,
    )


def quaternion_to_axis_angle(quaternion: Tensor) -> Tensor:
    """Quaternions wxyz [..., 4] -> rotation vectors [..., 3], at most pi long."""
    quaternion = functional.normalize(quaternion, dim=-1)
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    w, vector = quaternion[..., 0], quaternion[..., 1:]
    square = (vector * vector).sum(-1)
    small = square < 1e-8
    sine = torch.where(small, 1.0, square).sqrt()
    # angle / sin(angle / 2), whose limit at zero is 2 (1 + sin^2 / 6)
    factor = torch.where(small, 2 + square / 3, 2 * torch.atan2(sine, w) / sine)
    return factor[..., None] * vector


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] -> rotation vectors [..., 3] in radians, at most pi long."""
    return quaternion_to_axis_angle(matrix_to_quaternion(matrix))
