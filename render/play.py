"""Whether the fast code of the CPU applies, which keeps nothing between its steps."""

from __future__ import annotations

import torch
from torch import Tensor


def is_play(*tensors: Tensor) -> bool:
    """Whether all tensors are float32 on the CPU, and nobody asks for gradients."""
    if not all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors):
        return False
    return not (torch.is_grad_enabled() and any(t.requires_grad for t in tensors))
