"""Where the numba kernels of training run, and how they are compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from render.machine_code import kept_njit

if TYPE_CHECKING:
    from torch import Tensor

# No `nnan`: a NaN in a field must come out as one, so that divergence is seen.
_FASTMATH = {"contract", "reassoc", "nsz", "arcp"}


def parallel(function: Any) -> Any:
    """Compile with threads in its `prange` loops, kept on disk between runs."""
    return kept_njit(parallel=True, fastmath=_FASTMATH, error_model="numpy")(function)


def take(tensor: Tensor) -> bool:
    """Whether the kernels compute with `tensor`; on every device but the CPU the same is plain torch."""
    return tensor.device.type == "cpu"
