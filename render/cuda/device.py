"""The graphics card as a frame sees it: memory, launches, recorded graphs, and whether there is one.

Graphs are recorded through the driver and not by `torch.cuda.graph`: a frame holds four kernels of ours and
nothing of torch, whose capture would wait for the device, collect garbage, empty its cache and set up a
memory pool each time. torch owns the memory and the streams; launches go to its current stream. The driver is
called through `cuda.bindings`, the part of cuda-python that CUDA builds of torch bring along.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from render.cuda.layout import THREADS, FrameStruct
from render.cuda.program import KERNELS, kernels_for

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_OLDEST_DRIVER = 12_080  # CUDA 12.8, that of the oldest compiler supported


class Recording(Protocol):
    """Launches that were recorded once and can be repeated."""

    def launch(self) -> None: ...

    def close(self) -> None: ...


class Marker(Protocol):
    """A place in the stream of work."""

    def wait(self) -> None: ...


class Device(Protocol):
    """What a frame needs of a device; tests have one that runs the kernels on the CPU."""

    device: torch.device

    def launch(self, kernel: str, blocks: int, batch: int, frame: FrameStruct) -> None:
        """Start `kernel` with `blocks` blocks for each picture of the batch; waits for nothing."""
        ...

    def record(self, work: Callable[[], None]) -> Recording:
        """Call `work`, keeping its launches instead of starting them."""
        ...

    def pinned(self, num_bytes: int) -> Tensor:
        """uint8 memory of the host that copies to and from the device need not wait for."""
        ...

    def mark(self) -> Marker:
        """The end of the work started so far."""
        ...


def available() -> str | None:
    """None when CUDA can draw here, else why not in one line: no package, no driver, an old one, no device.

    Looks at the driver and compiles nothing; a few milliseconds when there is a device.
    """
    try:
        from cuda.bindings import driver, nvrtc
    except ImportError:
        return "the package cuda-python is missing; pip install 'visavis[gpu]'"
    try:
        status = driver.cuInit(0)[0]
    except RuntimeError:  # it found no library to load
        return "no NVIDIA driver (libcuda.so.1) on this machine"
    if status != driver.CUresult.CUDA_SUCCESS:
        return f"the NVIDIA driver finds no usable device ({status.name})"
    version = driver.cuDriverGetVersion()[1]
    if version < _OLDEST_DRIVER:
        return (
            f"the NVIDIA driver knows CUDA {version // 1000}.{version % 1000 // 10}, this needs 12.8 or newer"
        )
    import torch

    if not torch.backends.cuda.is_built():
        return f"torch {torch.__version__} is built without CUDA; install a CUDA build of torch"
    if not torch.cuda.is_available():
        return "torch finds no usable CUDA device"
    try:
        nvrtc.nvrtcVersion()
    except RuntimeError:
        return "the CUDA compiler library is missing; pip install 'visavis[gpu]'"
    return None


@cache
def open_device(name: str = "cuda") -> Device:
    """The device torch calls `name`, with the kernels loaded; opened once a process.

    Raises RuntimeError with the line of `available()` when there is none that is usable.
    """
    reason = available()
    if reason is not None:
        raise RuntimeError(reason)
    return _CudaDevice(name)


class _CudaDevice:
    def __init__(self, name: str) -> None:
        import torch
        from cuda.bindings import driver

        self._torch, self._driver = torch, driver
        index = torch.device(name).index
        self.device = torch.device("cuda", torch.cuda.current_device() if index is None else index)
        torch.zeros(1, device=self.device)  # makes torch's context, in which all of this lives
        self._context = _checked(
            driver.cuDevicePrimaryCtxRetain(_checked(driver.cuDeviceGet(self.device.index)))
        )
        self._enter()
        major, minor = torch.cuda.get_device_capability(self.device)
        self._cubin = kernels_for(f"sm_{major}{minor}")
        # Loaded here, because loading in the middle of a recording is an error of the driver.
        module = _checked(driver.cuModuleLoadData(self._cubin))
        self._kernels = {
            name: _checked(driver.cuModuleGetFunction(module, name.encode())) for name in KERNELS
        }
        self._recording = threading.local()  # .stream: other threads' launches are none of this recording

    def launch(self, kernel: str, blocks: int, batch: int, frame: FrameStruct) -> None:
        self._enter()
        arguments = (ctypes.c_void_p * 1)(ctypes.addressof(frame))  # the driver copies what it points to
        recording = getattr(self._recording, "stream", None)
        stream = recording or self._torch.cuda.current_stream(self.device)
        _checked(
            self._driver.cuLaunchKernel(
                self._kernels[kernel], blocks, 1, batch, THREADS, 1, 1, 0, stream.cuda_stream,
                ctypes.addressof(arguments), 0,
            )
        )  # fmt: skip

    def record(self, work: Callable[[], None]) -> Recording:
        driver = self._driver
        self._enter()
        stream = self._torch.cuda.Stream(self.device)
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        _checked(driver.cuStreamBeginCapture(stream.cuda_stream, mode))
        self._recording.stream = stream
        try:
            work()
        finally:
            self._recording.stream = None
            graph = _checked(driver.cuStreamEndCapture(stream.cuda_stream))
        executable = _checked(driver.cuGraphInstantiate(graph, 0))
        _checked(driver.cuGraphDestroy(graph))
        return _Graph(self, executable)

    def pinned(self, num_bytes: int) -> Tensor:
        return self._torch.empty(num_bytes, dtype=self._torch.uint8, pin_memory=True)

    def mark(self) -> Marker:
        event = self._torch.cuda.Event()
        event.record(self._torch.cuda.current_stream(self.device))
        return _Event(event)

    def _enter(self) -> None:
        """Each thread has a context of its own choice; torch sets it only when it is called itself."""
        _checked(self._driver.cuCtxSetCurrent(self._context))


class _Graph:
    def __init__(self, device: _CudaDevice, executable: Any) -> None:
        self._device, self._executable = device, executable

    def launch(self) -> None:
        device = self._device
        device._enter()
        stream = device._torch.cuda.current_stream(device.device)
        _checked(device._driver.cuGraphLaunch(self._executable, stream.cuda_stream))

    def close(self) -> None:
        if self._executable is None:
            return
        self._device._enter()
        self._device._torch.cuda.synchronize(self._device.device)  # the graph may still run
        _checked(self._device._driver.cuGraphExecDestroy(self._executable))
        self._executable = None


class _Event:
    def __init__(self, event: torch.cuda.Event) -> None:
        self._event = event

    def wait(self) -> None:
        self._event.synchronize()


def _checked(answer: tuple[Any, ...]) -> Any:
    """The value behind a status of the driver."""
    status, *values = answer
    if int(status) != 0:
        raise RuntimeError(f"the CUDA driver answers {status.name}")
    return values[0] if values else None
