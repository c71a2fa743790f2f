"""How close a picture is to the truth: PSNR, SSIM and LPIPS, over all of it and over the person."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.errors import TrainingError
from engine.train.losses.lpips import Lpips

_IDENTICAL_DB = 100.0  # PSNR of equal pictures, which would be infinite


@dataclass(frozen=True)
class Quality:
    """Of one picture. `masked_*` weigh every pixel by how much of it is the person."""

    psnr: float  # dB
    masked_psnr: float
    ssim: float
    masked_ssim: float
    sharpness: float  # gradient energy of the person's pixels over the truth's
    lpips: float | None = None  # None: no weights were given


@torch.no_grad()
def measure(
    rgb: Tensor, truth: Tensor, mask: Tensor, lpips: Lpips | None = None, *, known: Tensor | None = None
) -> Quality:
    """Compare [H, W, 3] pictures in 0..1; `mask` [H, W] in 0..1. Pixels that are not `known` [H, W] do not
    count, but that they are equal to LPIPS."""
    rgb, truth = rgb.clamp(0, 1).float(), truth.float()
    if known is not None:
        rgb = torch.where(known[..., None], rgb, truth)
    squared = (rgb - truth).square().mean(-1)
    similar = _ssim_map(rgb, truth)
    everywhere = torch.ones_like(mask, dtype=torch.float32) if known is None else known.float()
    weight = mask.float() * everywhere
    return Quality(
        psnr=_psnr(_weighted(squared, everywhere)),
        masked_psnr=_psnr(_weighted(squared, weight)),
        ssim=_weighted(similar, everywhere),
        masked_ssim=_weighted(similar, weight),
        sharpness=_gradient_energy(rgb, weight) / max(_gradient_energy(truth, weight), 1e-12),
        lpips=None if lpips is None else float(lpips(rgb, truth)),
    )


def check_installed() -> None:
    """Raise TrainingError when torchmetrics is not there, before hours of work."""
    try:
        import torchmetrics  # noqa: F401
    except ImportError as error:
        raise TrainingError(
            "training measures itself with torchmetrics; install it: pip install 'visavis[train]'"
        ) from error


def psnr(rgb: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio of pictures in 0..1, dB."""
    return _psnr(float((rgb - truth).square().mean()))


def _psnr(squared_error: float) -> float:
    return min(_IDENTICAL_DB, -10 * math.log10(max(squared_error, 1e-12)))


def _weighted(values: Tensor, weight: Tensor) -> float:
    return float((values * weight).sum() / weight.sum().clamp_min(1e-9))


def _gradient_energy(picture: Tensor, mask: Tensor) -> float:
    """Mean squared difference of neighbours that both are the person."""
    across = (picture[:, 1:] - picture[:, :-1]).square().sum(-1) * mask[:, 1:] * mask[:, :-1]
    down = (picture[1:] - picture[:-1]).square().sum(-1) * mask[1:] * mask[:-1]
    return float((across.sum() + down.sum()) / mask.sum().clamp_min(1e-9))


def _ssim_map(rgb: Tensor, truth: Tensor) -> Tensor:
    """[H, W] structural similarity, 11x11 Gaussian window of sigma 1.5, mean of the colours."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    _, similar = structural_similarity_index_measure(
        rgb.permute(2, 0, 1)[None], truth.permute(2, 0, 1)[None], data_range=1.0, return_full_image=True
    )
    return similar[0].mean(0)
