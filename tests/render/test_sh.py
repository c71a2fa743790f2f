import math

import pytest
import torch

from render.rotations import quaternion_to_matrix
from render.sh import evaluate_sh, rotate_sh, sh_basis


def random_directions(num: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(num, 3, generator=random, dtype=torch.float64), dim=1)


def test_basis_is_orthonormal_on_the_sphere() -> None:
    """Integrated with Gauss-Legendre points in z and even angles: exact for the degrees up to 6 that
    occur."""
    nodes, weights = (torch.tensor(a) for a in __import__("numpy").polynomial.legendre.leggauss(8))
    angle = torch.arange(16, dtype=torch.float64) * (2 * math.pi / 16)
    radius = (1 - nodes**2).sqrt()
    x, y = radius[:, None] * angle.cos(), radius[:, None] * angle.sin()
    directions = torch.stack([x, y, nodes[:, None].expand(8, 16)], -1).reshape(-1, 3)
    area = (weights[:, None] * (2 * math.pi / 16)).expand(8, 16).reshape(-1)
    basis = sh_basis(directions, 3)
    gram = basis.T @ (area[:, None] * basis)
    assert torch.allclose(gram, torch.eye(16, dtype=torch.float64), atol=1e-9)


def test_first_band_is_minus_y_z_minus_x() -> None:
    """The order and the signs of 3DGS files."""
    c = math.sqrt(3 / (4 * math.pi))
    basis = sh_basis(torch.eye(3, dtype=torch.float64), 1)[:, 1:]
    expected = torch.tensor([[0, 0, -c], [-c, 0, 0], [0, c, 0]], dtype=torch.float64)
    assert torch.allclose(basis, expected)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_rotated_coefficients_are_the_rotated_function(degree: int) -> None:
    random = torch.Generator().manual_seed(degree)
    sh = torch.randn(5, (degree + 1) ** 2, 3, generator=random, dtype=torch.float64)
    quats = torch.randn(5, 4, generator=random, dtype=torch.float64)
    directions = random_directions(5)
    turned = (quaternion_to_matrix(quats) @ directions[..., None])[..., 0]
    assert torch.allclose(evaluate_sh(rotate_sh(sh, quats), turned), evaluate_sh(sh, directions), atol=1e-12)


def test_rotation_is_exact_enough_in_float32() -> None:
    random = torch.Generator().manual_seed(1)
    sh, quats = torch.randn(200, 16, 3, generator=random), torch.randn(200, 4, generator=random)
    exact = rotate_sh(sh.double(), quats.double())
    # float32 rounding times the condition number of the probe directions (below 10)
    assert (rotate_sh(sh, quats) - exact).abs().max() < 2e-5


def test_other_degrees_are_refused() -> None:
    with pytest.raises(ValueError, match="got 4"):
        sh_basis(torch.eye(3), 4)
