import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from render.rotations import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_quaternion,
    quaternion_multiply,
    quaternion_to_axis_angle,
    quaternion_to_matrix,
)

vectors = hnp.arrays(np.float64, (5, 3), elements=st.floats(-6, 6, allow_subnormal=False))


@settings(deadline=None)
@given(vectors)
def test_matrices_agree_with_scipy(vector):
    expected = Rotation.from_rotvec(vector).as_matrix()
    # The series below 0.05 rad drops a term of 0.05^6 / 5040, 3e-12.
    np.testing.assert_allclose(axis_angle_to_matrix(torch.from_numpy(vector)), expected, atol=1e-11)


@settings(deadline=None)
@given(vectors)
def test_quaternions_are_unit_have_w_positive_and_give_the_matrix_back(vector):
    matrix = torch.from_numpy(Rotation.from_rotvec(vector).as_matrix())
    quaternion = matrix_to_quaternion(matrix)
    assert bool((quaternion[:, 0] >= 0).all())
    torch.testing.assert_close(
        quaternion.norm(dim=-1), torch.ones(5, dtype=torch.float64), atol=1e-12, rtol=0
    )
    torch.testing.assert_close(quaternion_to_matrix(quaternion), matrix, atol=1e-12, rtol=0)
    torch.testing.assert_close(axis_angle_to_matrix(matrix_to_axis_angle(matrix)), matrix, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    "axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.6, 0, 0.8), (0, -0.6, 0.8), (0.48, 0.6, 0.64)]
)
@pytest.mark.parametrize("angle", [math.pi, math.pi - 1e-7, math.pi - 1e-3, 1e-7, 0.0])
def test_half_turns_and_tiny_turns_keep_float32_precision(axis, angle):
    expected = Rotation.from_rotvec(np.array(axis) * angle).as_matrix()
    matrix = torch.from_numpy(expected).float()
    # A float32 matrix is itself only known to 6e-8; a few operations of that size each.
    np.testing.assert_allclose(quaternion_to_matrix(matrix_to_quaternion(matrix)), expected, atol=1e-6)


def test_products_and_logarithm_agree_with_scipy():
    a, b = Rotation.random(50, rng=1), Rotation.random(50, rng=2)
    qa, qb = (torch.from_numpy(r.as_quat(scalar_first=True)) for r in (a, b))
    product = quaternion_multiply(qa, qb)
    np.testing.assert_allclose(quaternion_to_matrix(product), (a * b).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(quaternion_to_axis_angle(product), (a * b).as_rotvec(), atol=1e-9)


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e-4, 0.049, 0.051, 1.0, 3.1])
def test_gradients_are_right_at_zero_and_across_the_series(scale):
    vector = torch.tensor([0.3, -0.5, 0.8], dtype=torch.float64) * scale
    assert torch.autograd.gradcheck(axis_angle_to_matrix, vector.requires_grad_())


def test_a_zero_matrix_gives_a_finite_quaternion():
    assert matrix_to_quaternion(torch.zeros(2, 3, 3)).tolist() == [[0.5, 0, 0, 0]] * 2
