"""PSNR and SSIM against their definitions, LPIPS against torchmetrics' own with the same weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from engine.errors import UsageError
from engine.train.losses.lpips import Lpips, _alexnet, _vgg16
from engine.train.results.evaluate import spread_out
from engine.train.results.metrics import measure
from tests.engine.train.loop.bound_gaussians import pictures_of_vera


def noisy_pair(size: int = 72) -> tuple[Tensor, Tensor, Tensor]:
    view = pictures_of_vera(size, (0,)).views[0]
    picture = view.read()
    truth = picture.over(torch.ones(3))
    noise = 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    return (truth + noise).clamp(0, 1), truth, picture.mask


def ssim_by_definition(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Source: Wang et al., Image quality assessment, 2004, equation 13; window 11x11, sigma 1.5."""

    def blurred(x: NDArray[Any]) -> NDArray[Any]:
        return gaussian_filter(x, (1.5, 1.5, 0), truncate=5 / 1.5)

    mean_a, mean_b = blurred(a), blurred(b)
    var_a, var_b = blurred(a * a) - mean_a**2, blurred(b * b) - mean_b**2
    covariance = blurred(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    return (2 * mean_a * mean_b + c1) * (2 * covariance + c2) / (
        (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    )  # fmt: skip


def test_figures_follow_their_definitions_over_picture_and_person() -> None:
    rgb, truth, _ = noisy_pair()
    inside = torch.zeros(truth.shape[:2])
    inside[12:-12, 20:-12] = 1.0  # whose windows reach no edge, where conventions differ
    quality = measure(rgb, truth, inside)
    a, b = rgb.double().numpy(), truth.double().numpy()
    assert quality.psnr == pytest.approx(-10 * math.log10(((a - b) ** 2).mean()), abs=1e-4)
    cut = np.s_[12:-12, 20:-12]
    assert quality.masked_psnr == pytest.approx(-10 * math.log10(((a - b)[cut] ** 2).mean()), abs=1e-4)
    # float32 variances are differences of nearly equal numbers where the picture is flat.
    assert quality.masked_ssim == pytest.approx(ssim_by_definition(a, b)[cut].mean(), abs=2e-4)
    assert quality.lpips is None


def test_only_the_person_counts_for_masked_figures() -> None:
    _, truth, mask = noisy_pair()
    person = mask > 0.999
    wrong_background = torch.where(person[..., None], truth, 1 - truth)
    right_person = measure(wrong_background, truth, person.float())
    assert right_person.masked_psnr == 100.0
    assert right_person.psnr < 12
    assert right_person.masked_ssim > right_person.ssim
    same = measure(truth, truth, mask)
    assert same.psnr == 100.0
    assert same.ssim == pytest.approx(1.0, abs=1e-5)  # float32 in flat regions


def test_pixels_that_are_not_known_do_not_count() -> None:
    rgb, truth, mask = noisy_pair()
    known = torch.ones(truth.shape[:2], dtype=torch.bool)
    known[:, :30] = False
    right = measure(rgb[:, 30:], truth[:, 30:], mask[:, 30:])
    quality = measure(rgb, truth, mask, known=known)
    assert quality.psnr == pytest.approx(right.psnr, abs=1e-4)
    assert quality.masked_psnr == pytest.approx(right.masked_psnr, abs=1e-4)
    wrong = torch.where(known[..., None], rgb, 1 - truth)
    assert measure(wrong, truth, mask, known=known) == quality


def random_weights(layers: nn.Sequential) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        f"features.{name}": torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5
        if value.ndim > 1
        else torch.randn(value.shape, generator=generator) * 0.05
        for name, value in layers.state_dict().items()
    }


@pytest.mark.parametrize(("net", "backbone"), [("vgg", _vgg16), ("alex", _alexnet)])
def test_lpips_is_that_of_torchmetrics(
    net: str,
    backbone: Callable[[], tuple[nn.Sequential, set[int]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same backbone weights, random as no others may be had here, and the published linear ones."""
    from torchmetrics.functional.image import lpips as theirs

    layers, _ = backbone()
    weights = random_weights(layers)
    torch.save({**weights, "classifier.0.weight": torch.zeros(2)}, tmp_path / "net.pth")
    ours = Lpips(tmp_path / "net.pth")
    layers.load_state_dict({key.removeprefix("features."): value for key, value in weights.items()})
    monkeypatch.setattr(theirs, "_get_tv_model_features", lambda *_: layers)
    reference = theirs._LPIPS(pretrained=True, net=net, use_dropout=True)
    rgb, truth, _ = noisy_pair()
    expected = float(reference(rgb.permute(2, 0, 1)[None], truth.permute(2, 0, 1)[None], normalize=True))
    assert expected > 0.01
    assert float(ours(rgb, truth)) == pytest.approx(expected, rel=1e-4)
    assert float(ours(truth, truth)) == 0.0
    assert measure(rgb, truth, truth[..., 0], ours).lpips == pytest.approx(expected, rel=1e-4)


def test_lpips_is_a_loss(tmp_path: Path) -> None:
    """Its gradient is the slope between nearby pictures, and following it brings a picture nearer."""
    torch.save(random_weights(_alexnet()[0]), tmp_path / "net.pth")
    lpips = Lpips(tmp_path / "net.pth")
    rgb, truth, _ = noisy_pair()
    leaf = rgb.clone().requires_grad_()
    distance = lpips(leaf, truth)
    distance.backward()
    assert leaf.grad is not None
    step = 1e-3 * leaf.grad / leaf.grad.norm()
    with torch.no_grad():
        higher, lower = lpips(rgb + step, truth), lpips(rgb - step, truth)
        slope = float(higher - lower) / (2 * float(step.norm()))
        # ReLU and max-pooling have kinks, and float32 differences of 1e-3 steps few digits.
        assert slope == pytest.approx(float(leaf.grad.norm()), rel=0.1)
        nearer = rgb - 0.1 * float(distance.detach()) * leaf.grad / leaf.grad.square().sum()
        assert float(lpips(nearer, truth)) < float(distance)


def test_lpips_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.pth: there is no such file"):
        Lpips(tmp_path / "none.pth")
    (tmp_path / "junk.pth").write_bytes(b"junk")
    with pytest.raises(UsageError, match=r"junk\.pth: not a file of weights"):
        Lpips(tmp_path / "junk.pth")
    torch.save({"features.0.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(UsageError, match="no VGG-16 or AlexNet"):
        Lpips(tmp_path / "other.pth")
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "half.pth")
    with pytest.raises(UsageError, match="does not hold the vgg layers whole"):
        Lpips(tmp_path / "half.pth")


def test_any_beginning_of_the_measured_views_is_spread_out() -> None:
    views = list(range(1000))
    chosen = spread_out(views, 100)  # type: ignore[arg-type]
    assert len(set(chosen)) == 100
    for count in (4, 10, 33):
        # Perfectly even would be a largest gap of 1000 / count; halving intervals at most doubles it.
        places = [0, *sorted(chosen[:count]), 1000]  # type: ignore[type-var, list-item]
        assert max(b - a for a, b in pairwise(places)) <= 2.2 * 1000 / count
    assert sorted(spread_out(views[:7], 100)) == views[:7]  # type: ignore[arg-type, type-var]
