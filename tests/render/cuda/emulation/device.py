"""A device for render/cuda that runs its kernels on the CPU: the same sources, built by g++."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from render.cuda import layout, program

_HERE = Path(__file__).parent


@cache
def build(flags: tuple[str, ...] = (), source: str = "kernels.cpp", name: str = "kernels.so") -> Path:
    """A source of this folder as a library; a second or two."""
    folder = Path(tempfile.mkdtemp(prefix="cuda_emulation"))
    library = folder / name
    macros = [f"-D{name}={value}" for name, value in program.definitions().items()]
    command = ["g++", "-std=c++17", "-O2", "-shared", "-fPIC", "-ffp-contract=off", "-fno-strict-aliasing"]
    command += [*flags, f"-I{program.FOLDER}", *macros, str(_HERE / source), "-o", str(library)]
    subprocess.run(command, check=True)
    return library


class EmulatedDevice:
    """Launches at once, in the calling thread. `order`: of blocks and threads, see emulation.h."""

    device = torch.device("cpu")

    def __init__(self, order: int = 0, library: Path | None = None) -> None:
        self.order = order
        self.launches: list[str] = []  # and what was recorded or replayed
        self._library = ctypes.CDLL(str(library or build()))
        for name, struct in (
            ("frame", layout.FrameStruct),
            ("drawable", layout.DrawableStruct),
            ("run", layout.RunStruct),
        ):
            size_of = getattr(self._library, f"size_of_{name}")
            size_of.restype = ctypes.c_size_t
            assert size_of() == ctypes.sizeof(struct), f"{name}: the host's structure is not the kernels'"

    def launch(self, kernel: str, blocks: int, batch: int, frame: layout.FrameStruct) -> None:
        self.launches.append(kernel)
        unsigned = ctypes.c_uint
        getattr(self._library, f"emulate_{kernel}")(
            ctypes.byref(frame), unsigned(blocks), unsigned(1), unsigned(batch),
            unsigned(layout.THREADS), unsigned(self.order),
        )  # fmt: skip

    def record(self, work: Callable[[], None]) -> _Recording:
        return _Recording(self, work)

    def pinned(self, num_bytes: int) -> Tensor:
        return torch.empty(num_bytes, dtype=torch.uint8)

    def mark(self) -> _Marker:
        return _Marker()


class _Recording:
    """Replays launches with the arguments they had when they were recorded, as a graph does."""

    def __init__(self, device: EmulatedDevice, work: Callable[[], None]) -> None:
        self._device = device
        self._calls: list[tuple[str, int, int, layout.FrameStruct]] = []
        device.launch, launch = self._keep, device.launch  # type: ignore[method-assign]
        try:
            work()
        finally:
            device.launch = launch  # type: ignore[method-assign]

    def _keep(self, kernel: str, blocks: int, batch: int, frame: layout.FrameStruct) -> None:
        self._calls.append((kernel, blocks, batch, layout.FrameStruct.from_buffer_copy(frame)))

    def launch(self) -> None:
        assert self._calls, "a closed graph was launched"
        for call in self._calls:
            self._device.launch(*call)

    def close(self) -> None:
        self._calls.clear()


class _Marker:
    def wait(self) -> None:
        pass
