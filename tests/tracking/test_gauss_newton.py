import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from tracking.gauss_newton import bounded_step, huber_weights, inner


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 12))
def test_steps_reach_the_bounded_optimum_of_a_linear_problem(seed, size):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(3 * size, size))
    target = 2 * rng.normal(size=3 * size)
    lower, upper = np.zeros(size), np.ones(size)
    value = rng.uniform(0, 1, size)
    for _ in range(30):
        value = bounded_step(matrix.T @ matrix, matrix.T @ (target - matrix @ value), value, lower, upper)
        assert (value >= lower).all()
        assert (value <= upper).all()
    best = lsq_linear(matrix, target, (lower, upper), tol=1e-12)
    cost = 0.5 * np.sum((matrix @ value - target) ** 2)
    # Held variables are chosen anew each step, which can cycle near a tie; 1 % of the best cost covers that.
    assert cost <= best.cost * 1.01 + 1e-9


def test_without_bounds_one_step_is_the_exact_solution():
    rng = np.random.default_rng(1)
    matrix, target = rng.normal(size=(20, 5)), rng.normal(size=20)
    free = np.full(5, np.inf)
    value = bounded_step(matrix.T @ matrix, matrix.T @ target, np.zeros(5), -free, free)
    np.testing.assert_allclose(value, np.linalg.lstsq(matrix, target, rcond=None)[0], atol=1e-12)


@settings(deadline=None, max_examples=30)
@given(rows=st.integers(1, 300), left=st.integers(1, 9), right=st.integers(1, 9))
def test_products_in_blocks_are_the_plain_product(rows, left, right):
    rng = np.random.default_rng(rows)
    a, b = rng.normal(size=(rows, left)), rng.normal(size=(rows, right))
    np.testing.assert_allclose(inner(a, b), a.T @ b, atol=1e-11)


def test_huber_weights_leave_small_residuals_alone_and_make_large_ones_linear():
    distance = np.array([0.0, 1.0, 2.0, 8.0])
    weights = huber_weights(distance, 2.0)
    np.testing.assert_allclose(weights, [1, 1, 1, 0.25])
    assert (weights * distance**2)[3] == 2.0 * 8.0
