"""Arrays on their way into a safetensors file, exact or compact."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.avatars.quantise import Encoding, Loss, decode, encode_box, encode_scaled, loss
from render.errors import AvatarError


class ArrayWriter:
    """Collects checked arrays by name; `compact` stores fewer bits and says how and at what loss."""

    def __init__(self, compact: bool) -> None:
        self.compact = compact
        self.arrays: dict[str, NDArray[Any]] = {}
        self.encodings: dict[str, Encoding] = {}
        self.losses: dict[str, Loss] = {}

    def exact(self, name: str, tensor: Tensor) -> None:
        array = tensor.detach().cpu().contiguous().numpy()
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise AvatarError(f"{name} holds a value that is not finite; such an avatar cannot be saved")
        self.arrays[name] = array

    def floats(
        self, name: str, tensor: Tensor | None, bits: int, how: str, blocks: list[int] | None = None
    ) -> None:
        """`how`: "box" or "scaled"; only compact files use it. None is left out."""
        if tensor is None:
            return
        self.exact(name, tensor.float())
        if self.compact:
            exact = self.arrays[name]
            stored, encoding = encode_box(exact, bits, blocks) if how == "box" else encode_scaled(exact, bits)
            self.losses[name] = loss(exact, decode(stored, encoding))
            self.arrays[name], self.encodings[name] = stored, encoding

    def indices(self, name: str, tensor: Tensor) -> None:
        array = tensor.detach().cpu().numpy()
        largest = int(array.max(initial=0))
        self.arrays[name] = array.astype(
            np.uint8 if largest < 1 << 8 else np.uint16 if largest < 1 << 16 else np.uint32
        )


def compact_lengths(quats: Tensor) -> Tensor:
    """What compact files divide quaternions [N, 4] by, [N, 1]: their lengths, so that 8 bits suffice.

    Nearly unit ones stay as they are, so that storing a compact avatar again changes nothing.
    """
    norms = quats.norm(dim=-1, keepdim=True)
    return torch.where((norms - 1).abs() < 0.02, 1, norms.clamp_min(1e-12))
