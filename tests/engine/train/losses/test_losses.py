"""Losses against closed forms and plain torch."""

from __future__ import annotations

import pytest
import torch

from engine.train.losses.photometric import photometric, ssim
from engine.train.losses.surfels import light_through


def test_light_counts_only_where_the_person_is_solid() -> None:
    alpha = torch.tensor([[1.0, 0.5], [0.0, 0.25]])
    solid = torch.tensor([[True, True], [False, False]])
    assert float(light_through(alpha, solid)) == pytest.approx(0.5 / 4)


def test_ssim_on_a_cpu_agrees_with_plain_torch() -> None:
    truth = torch.rand(40, 50, 3)
    results = []
    for dtype in (torch.float32, torch.float64):  # the second takes torch's own pooling
        picture = (0.6 * truth + 0.4 * torch.rand(40, 50, 3, generator=torch.Generator().manual_seed(1))).to(
            dtype
        )
        picture.requires_grad_()
        value = ssim(picture, truth.to(dtype))
        results.append((value, torch.autograd.grad(value, picture)[0]))
    (value, gradient), (exact, exact_gradient) = results
    # variances are differences of float32 sums
    assert float(value.detach()) == pytest.approx(float(exact.detach()), abs=1e-5)
    assert (gradient - exact_gradient).abs().max() < 1e-3 * exact_gradient.abs().max()
    assert float(ssim(truth, truth)) == pytest.approx(1.0, abs=1e-6)


def test_the_fused_photometric_loss_agrees_with_plain_torch() -> None:
    generator = torch.Generator().manual_seed(2)
    truth = torch.rand(37, 45, 3, generator=generator)
    truth[:20, :20] = 1.0  # a flat background, where windows have no variance
    picture = 0.7 * truth + 0.3 * torch.rand(37, 45, 3, generator=generator)
    picture[:18, :18] = 1.0
    results = []
    for dtype in (torch.float32, torch.float64):  # the second is plain torch
        leaf = picture.to(dtype).requires_grad_()
        loss = 3 * photometric(leaf, truth.to(dtype), 0.3)
        results.append((loss, torch.autograd.grad(loss, leaf)[0]))
    (value, gradient), (exact, exact_gradient) = results
    assert float(value.detach()) == pytest.approx(float(exact.detach()), abs=1e-5)
    # variances are differences of float32 sums
    assert (gradient - exact_gradient).abs().max() < 2e-3 * exact_gradient.abs().max()


def test_a_picture_smaller_than_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match="5x20"):
        photometric(torch.rand(20, 5, 3), torch.rand(20, 5, 3), 0.2)
