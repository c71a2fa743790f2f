"""How the numba kernels of training are compiled."""

from __future__ import annotations

from typing import Any

from numba import njit

# No `nnan`: a NaN in a field must come out as one, so that divergence is seen.
_FASTMATH = {"contract", "reassoc", "nsz", "arcp"}


def parallel(function: Any) -> Any:
    """Compile with threads in its `prange` loops, kept on disk between runs."""
    return njit(parallel=True, cache=True, fastmath=_FASTMATH, error_model="numpy")(function)
