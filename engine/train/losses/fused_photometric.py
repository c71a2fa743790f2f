"""The photometric loss with its gradient in two passes over the picture, on a CPU.

The same as `engine.train.losses.photometric` in plain torch, whose dozens of operations over whole pictures
take as long as drawing them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from engine.train.kernels import parallel

F = np.float32
inlined = njit(inline="always")
_CHUNK = 16  # rows of windows that one job works on


class FusedPhotometric(torch.autograd.Function):
    """(1 - w) L1 + w D-SSIM of `rgb` [H, W, 3] against `target` [H, W, 3]; float32, gradients to `rgb` only.

    Raises ValueError for a picture smaller than the window.
    """

    @staticmethod
    def forward(
        ctx: Any, rgb: Tensor, target: Tensor, ssim_weight: float, window: int, c1: float, c2: float
    ) -> Tensor:
        height, width, channels = rgb.shape
        if height < window or width < window:
            raise ValueError(f"a picture of {width}x{height} is smaller than the window of {window} pixels")
        a = rgb.detach().contiguous().numpy().reshape(height, width * channels)
        b = target.detach().contiguous().numpy().reshape(height, width * channels)
        rows, columns = height - window + 1, (width - window + 1) * channels
        # What the mean of SSIM is to a window's mean, mean square and mean product.
        slopes = np.empty((3, rows, columns), F)
        similar = np.empty(rows, np.float64)
        _windows(a, b, window, channels, F(c1), F(c2), slopes, similar)
        gradient = np.empty_like(a)
        absolute = np.empty(height, np.float64)
        # D-SSIM is (1 - SSIM) / 2: hence the half and the sign.
        each = -0.5 * ssim_weight / (rows * columns * window * window)
        one = (1 - ssim_weight) / a.size
        _gather(a, b, window, channels, slopes, F(each), F(one), gradient, absolute)
        ctx.save_for_backward(torch.from_numpy(gradient).view(rgb.shape))
        loss = one * absolute.sum() + 0.5 * ssim_weight * (1 - similar.sum() / (rows * columns))
        return rgb.new_tensor(loss)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        return ctx.saved_tensors[0] * gradients[0], None, None, None, None, None


@parallel
def _windows(a, b, window, channels, c1, c2, slopes, similar):
    """Means over windows of a, b, a^2 + b^2 and ab; from them SSIM and its slopes.

    Source: Z. Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004.
    """
    rows, columns = slopes.shape[1], slopes.shape[2]
    share, one, two = F(1 / (window * window)), F(1), F(2)
    for chunk in prange((rows + _CHUNK - 1) // _CHUNK):
        # All loops run along a row, so that they become vector code.
        sums, means = np.empty((4, a.shape[1]), F), np.empty((4, columns), F)
        for y in range(chunk * _CHUNK, min(rows, (chunk + 1) * _CHUNK)):
            # Summed anew for every row: a running sum would carry its rounding down the picture.
            sums[:] = F(0)
            for row in range(y, y + window):
                for x in range(a.shape[1]):
                    p, q = a[row, x], b[row, x]
                    sums[0, x] += p
                    sums[1, x] += q
                    sums[2, x] += p * p + q * q
                    sums[3, x] += p * q
            _along(sums, window, channels, means)
            total = F(0)
            for x in range(columns):
                ma, mb, squares, product = (
                    means[0, x] * share,
                    means[1, x] * share,
                    means[2, x] * share,
                    means[3, x] * share,
                )
                top1, top2 = two * ma * mb + c1, two * (product - ma * mb) + c2
                low1 = ma * ma + mb * mb + c1
                low2 = squares - ma * ma - mb * mb + c2
                inverse = one / (low1 * low2)
                value = top1 * top2 * inverse
                total += value
                by_means = mb * (top2 - top1) * inverse + ma * value * (low1 - low2) * inverse
                slopes[0, y, x] = two * by_means
                slopes[1, y, x] = -value * low1 * inverse
                slopes[2, y, x] = two * top1 * inverse
            similar[y] = total


@inlined
def _along(sums, window, channels, means):
    """Sums over `window` neighbours in each row."""
    for which in range(sums.shape[0]):
        for x in range(means.shape[1]):
            means[which, x] = sums[which, x]
        for k in range(1, window):
            for x in range(means.shape[1]):
                means[which, x] += sums[which, x + k * channels]


@parallel
def _gather(a, b, window, channels, slopes, each, one, gradient, absolute):
    """Every pixel's gradient, from all windows that it lies in, and L1's; `absolute` [H] sums |a - b|."""
    rows, columns = slopes.shape[1], slopes.shape[2]
    margin = (window - 1) * channels
    for chunk in prange((a.shape[0] + _CHUNK - 1) // _CHUNK):
        sums = np.zeros((3, columns + 2 * margin), F)  # the rims stay zero
        wide = np.empty((3, a.shape[1]), F)
        for y in range(chunk * _CHUNK, min(a.shape[0], (chunk + 1) * _CHUNK)):
            sums[:, margin : margin + columns] = F(0)
            for row in range(max(0, y - window + 1), min(rows, y + 1)):
                for which in range(3):
                    for x in range(columns):
                        sums[which, margin + x] += slopes[which, row, x]
            _along(sums, window, channels, wide)
            total = F(0)
            for x in range(a.shape[1]):
                p, q = a[y, x], b[y, x]
                total += abs(p - q)
                sign = F(p > q) - F(p < q)
                by_ssim = wide[0, x] + F(2) * p * wide[1, x] + q * wide[2, x]
                gradient[y, x] = each * by_ssim + one * sign
            absolute[y] = total
