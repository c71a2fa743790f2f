"""A picture of how training goes, rewritten while it runs: the truth of a held-out view beside the render."""

from __future__ import annotations

from pathlib import Path

import torch

from engine.contact_sheet import png_bytes
from engine.train.data.views import View
from engine.train.loop.phase import Method
from engine.train.results.evaluate import WHITE
from engine.train.results.metrics import psnr
from render.avatars.file import write_atomically


class Preview:
    """Truth and render of one view, side by side in `path`."""

    def __init__(self, method: Method, view: View, path: Path) -> None:
        self.method = method
        self.view = view
        self.path = path
        self._background = torch.tensor(WHITE)
        self._truth = view.read().over(self._background)

    @torch.no_grad()
    def update(self) -> float:
        """Draw and write the picture; returns its PSNR in dB. Raises AvatarError when the disk refuses."""
        rgb = self.method.render(self.view, self._background).rgb.cpu().clamp(0, 1)
        pair = torch.cat([self._truth, rgb.float()], 1)
        data = png_bytes((pair * 255).round().to(torch.uint8).numpy())
        write_atomically(self.path, lambda temporary: Path(temporary).write_bytes(data))
        return psnr(rgb, self._truth)
