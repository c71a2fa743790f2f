"""Pictures' bytes as linear light, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_srgb8(linear: NDArray[Any]) -> NDArray[np.uint8]:
    """Linear 0..1 to sRGB bytes."""
    power = 1.055 * np.maximum(linear, 1e-6) ** (1 / 2.4) - 0.055
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, power)
    return np.asarray(np.clip(255 * encoded + 0.5, 0, 255), np.uint8)


def from_srgb8(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """SRGB bytes to linear 0..1."""
    value = np.arange(256) / 255
    table = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return table.astype(np.float32)[picture]
