"""The choice of `--backend`: the processor, or the graphics card in one captured CUDA graph.

Every job asks `open_backend` for the back end, poses with it, and draws with a drawer of its own. Which of
the two it got, a job need not know.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING

from engine.compiling import compile_ahead
from engine.errors import UsageError

if TYPE_CHECKING:
    from render.drawing import Backend

BACKENDS = ("auto", "cpu", "cuda")  # what --backend takes


@cache
def open_backend(name: str) -> Backend:
    """The back end for `--backend name`, chosen once a process; `auto` says on stderr what it took, and why.

    Raises UsageError when a back end that was named cannot run.
    """
    from render.cpu.backend import CpuBackend

    if name == "cpu":
        return CpuBackend(compile_ahead)
    reason = cuda_refusal()
    if reason is None:
        from render.cuda.backend import CudaBackend

        if name == "auto":
            print("visavis: drawing on the graphics card (CUDA)", file=sys.stderr, flush=True)
        return CudaBackend()
    if name == "cuda":
        raise UsageError(f"--backend cuda: {reason}; use --backend cpu, docs/gpu.md says what CUDA needs")
    print(f"visavis: drawing on the processor, not with CUDA: {reason}", file=sys.stderr, flush=True)
    return CpuBackend(compile_ahead)


@cache
def cuda_refusal() -> str | None:
    """Why nothing can be drawn with CUDA here, in one line; None when a first small picture was drawn."""
    from render.cuda.device import available

    reason = available()
    if reason is not None:
        return reason
    from render.cuda.backend import first_picture_fails

    return first_picture_fails()
