"""Pictures kept in memory while they fit."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.train.data.devices import sent
from engine.train.data.views import Picture, View

_MOST_BYTES = 2 << 30


class PictureCache:
    """Reads a view's picture once and keeps it in 8 bits on `device`, until two gigabytes are full."""

    def __init__(self, device: torch.device | str = "cpu", most_bytes: int = _MOST_BYTES) -> None:
        self.device = torch.device(device)
        self._most = most_bytes
        self._bytes = 0
        self._kept: dict[str, Tensor] = {}

    def __call__(self, view: View) -> Picture:
        """The picture of `view` on the device, colour and mask in 0..1."""
        packed = self._kept.get(view.name)
        if packed is None:
            picture = view.read()
            packed = torch.cat([picture.rgb, picture.mask[..., None]], -1)
            packed = sent((packed.clamp(0, 1) * 255).round().to(torch.uint8), self.device)
            if self._bytes + packed.numel() <= self._most:
                self._kept[view.name] = packed
                self._bytes += packed.numel()
        values = packed.float() / 255
        return Picture(values[..., :3], values[..., 3])
