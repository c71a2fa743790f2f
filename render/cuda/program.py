"""The kernels as machine code: compiled by NVRTC, which needs no device, and kept on disk."""

from __future__ import annotations

import hashlib
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from render.avatars.bindings import SMALLEST_SCALE_M
from render.deformations.coefficients import MAX_HIDDEN, MAX_LAYERS
from render.splatting import (
    ALPHA_MAX,
    ALPHA_MIN,
    EXIT_TRANSMITTANCE,
    LOW_PASS_PX2,
    NEAR_M,
    SURFEL_LOW_PASS_PX2,
)
from render.whole_file import whole_file

KERNELS = (
    "pose_rig",
    "place_gaussians",
    "place_surfels",
    "list_gaussians",
    "list_surfels",
    "draw_gaussians",
    "draw_surfels",
)
FOLDER = Path(__file__).parent / "kernels"
_UNITS = ("place.cu", "raster.cu", "rig.cu")


@dataclass(frozen=True)
class Resources:
    """What one kernel takes, as the assembler reports it."""

    registers: int  # of a thread
    shared_bytes: int  # of a block
    spill_bytes: int  # of a thread, stores and loads


def definitions() -> dict[str, str]:
    """The numbers of render/splatting.py and of others under the names that the kernels use."""
    values = {
        "ALPHA_MAX": ALPHA_MAX,
        "ALPHA_MIN": ALPHA_MIN,
        "EXIT_TRANSMITTANCE": EXIT_TRANSMITTANCE,
        "LOW_PASS_PX2": LOW_PASS_PX2,
        "SURFEL_LOW_PASS_PX2": SURFEL_LOW_PASS_PX2,
        "NEAR_M": NEAR_M,
        "SMALLEST_SCALE_M": SMALLEST_SCALE_M,
        "HUGE_NUMBER": 1e30,  # counts as infinite: its square would overflow
        "LOG2_E": 1 / math.log(2),
        "TWO_LN2": 2 * math.log(2),
        "LOG2_ALPHA_MIN": math.log2(ALPHA_MIN),
    }
    counts = {"MAX_LAYERS": MAX_LAYERS, "MAX_HIDDEN": MAX_HIDDEN}
    return {name: f"{value:.9e}f" for name, value in values.items()} | {k: str(v) for k, v in counts.items()}


def compile_kernels(arch: str) -> tuple[bytes, dict[str, Resources]]:
    """Machine code (a cubin) for `arch`, such as "sm_90", and what each kernel takes; seconds.

    Raises RuntimeError with the compiler's words when the architecture or the code is refused.
    """
    from cuda.bindings import nvrtc

    headers = {path.name: path.read_text() for path in sorted(FOLDER.glob("*.cu*"))}
    source = "".join(f'#include "{name}"\n' for name in _UNITS)
    texts = [text.encode() for text in headers.values()]
    program = _checked(
        nvrtc.nvrtcCreateProgram(
            source.encode(), b"visavis.cu", len(headers), texts, [name.encode() for name in headers]
        )
    )
    options = _options(arch)
    (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    log = bytearray(_checked(nvrtc.nvrtcGetProgramLogSize(program)))
    _checked(nvrtc.nvrtcGetProgramLog(program, log))
    words = log.decode(errors="replace").rstrip("\0")
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        nvrtc.nvrtcDestroyProgram(program)
        raise RuntimeError(f"the CUDA kernels do not compile for {arch}: {words.strip() or status}")
    cubin = bytearray(_checked(nvrtc.nvrtcGetCUBINSize(program)))
    _checked(nvrtc.nvrtcGetCUBIN(program, cubin))
    nvrtc.nvrtcDestroyProgram(program)
    return bytes(cubin), _resources(words)


def supported_architectures() -> tuple[str, ...]:
    """What the installed compiler can make code for, such as "sm_90"."""
    from cuda.bindings import nvrtc

    return tuple(f"sm_{number}" for number in _checked(nvrtc.nvrtcGetSupportedArchs()))


def kernels_for(arch: str, cache: Path | None = None) -> bytes:
    """The cubin for `arch`, from `cache` (the user's cache folder) when the same code was compiled before."""
    folder = cache or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "visavis" / "cuda"
    path = folder / f"{_fingerprint(arch)}.cubin"
    try:
        return path.read_bytes()
    except OSError:
        pass
    cubin, _ = compile_kernels(arch)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            temporary.write_bytes(cubin)
    except OSError:
        pass  # a home that cannot be written to costs the compilation again, nothing else
    return cubin


def _options(arch: str) -> list[bytes]:
    options = [f"--gpu-architecture={arch}", "--std=c++17", "--ptxas-options=-v"]
    options += [f"--define-macro={name}={value}" for name, value in definitions().items()]
    return [option.encode() for option in options]


def _fingerprint(arch: str) -> str:
    from cuda.bindings import nvrtc

    digest = hashlib.sha256(repr((nvrtc.nvrtcVersion(), _UNITS, _options(arch))).encode())
    for path in sorted(FOLDER.glob("*.cu*")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def _resources(log: str) -> dict[str, Resources]:
    """From the assembler's report, a few lines for each kernel."""
    found = {}
    for part in log.split("Compiling entry function '")[1:]:
        registers = re.search(r"Used (\d+) registers", part)
        shared = re.search(r"(\d+) bytes smem", part)
        spills = re.findall(r"(\d+) bytes spill", part)
        found[part[: part.index("'")]] = Resources(
            registers=int(registers[1]) if registers else 0,
            shared_bytes=int(shared[1]) if shared else 0,
            spill_bytes=sum(map(int, spills)),
        )
    return found


def _checked(answer: tuple[Any, ...]) -> Any:
    """The values behind a status of the compiler."""
    status, *values = answer
    if int(status) != 0:
        raise RuntimeError(f"NVRTC answers {status!s}")
    return values[0] if len(values) == 1 else tuple(values)
