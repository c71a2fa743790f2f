"""gsplat's own CUDA kernels, which compile for minutes when they are first used: built once, with a message.

Only comparisons and training use them; drawing an avatar live never does.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import re
import shutil
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import torch

NAME = "gsplat_cuda"  # of the extension that gsplat 1.5 builds


class GsplatError(RuntimeError):
    """gsplat cannot draw here; one line says why."""


def gsplat_refusal() -> str | None:
    """Why gsplat's kernels cannot be used here, in one line; None when they are built or can be.

    Starts no build: only `gsplat.cuda._backend` does, when it is imported.
    """
    if importlib.util.find_spec("gsplat") is None:
        return "the package gsplat is missing: pip install 'gsplat>=1.5.3'"
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    try:
        if not _are_built() and not _has_nvcc():
            return "gsplat's kernels are not built, and nvcc is missing: install the CUDA toolkit"
    except ImportError as error:
        return f"gsplat cannot be imported: {error}"
    return None


def _are_built() -> bool:
    return importlib.util.find_spec("gsplat.csrc") is not None or built_kernels().exists()


def built_kernels() -> Path:
    """Where torch keeps the compiled kernels, whether or not they are there."""
    from torch.utils.cpp_extension import _get_build_directory

    return Path(_get_build_directory(NAME, False)) / f"{NAME}.so"


@cache
def load_gsplat() -> Any:
    """The package gsplat with its kernels, compiled first if need be: minutes, said on stderr.

    Raises GsplatError when they cannot be built.
    """
    reason = gsplat_refusal()
    if reason is not None:
        raise GsplatError(reason)
    building = not _are_built()
    if building:
        print("visavis: compiling gsplat's kernels, once; minutes", file=sys.stderr, flush=True)
    start = time.perf_counter()
    said = io.StringIO()  # gsplat prints to stdout, which is for results
    try:
        with contextlib.redirect_stdout(said):
            backend = importlib.import_module("gsplat.cuda._backend")
    except (RuntimeError, OSError, ImportError) as error:
        raise GsplatError(f"gsplat's kernels did not compile: {first_error(str(error))}") from error
    if backend._C is None:
        raise GsplatError(f"gsplat's kernels are not there: {first_error(said.getvalue())}")
    if building:
        seconds = time.perf_counter() - start
        print(f"visavis: compiled gsplat's kernels in {seconds:.0f} s", file=sys.stderr, flush=True)
    return importlib.import_module("gsplat")


def first_error(log: str) -> str:
    """The line of a compiler's output that tells most: the first with an error, else the first of all."""
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", log).splitlines() if line.strip()]
    told = [line for line in lines if re.search(r"\b(fatal )?error\b\s*[:#]", line)]
    return (told or lines or ["no message"])[0][:300]


def _has_nvcc() -> bool:
    from torch.utils.cpp_extension import CUDA_HOME

    return shutil.which("nvcc") is not None or (
        CUDA_HOME is not None and (Path(CUDA_HOME) / "bin" / "nvcc").exists()
    )
