"""Times of work on the graphics card, by CUDA events; torch and a device are needed only when called."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

Frame = Callable[[int], object]  # the number of the frame; gives work to torch's current stream

WARM_UP = 20
QUEUED = 32  # frames given ahead to a device kept busy: fewer than a stream's queue holds
CYCLES_PER_S = 2.0e9  # of torch.cuda._sleep, about; a slower clock only sleeps longer
COPY_BYTES = 2**30


def copy_bandwidth(repeats: int = 20) -> float:
    """Bytes a second, read plus written, of the fastest of several copies of 1 GiB within device memory."""
    source = torch.empty(COPY_BYTES, dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)
    ms = period_ms(lambda frame: target.copy_(source), repeats, warm_up=3)
    return 2 * COPY_BYTES / (float(ms.min()) / 1e3)


def period_ms(frame: Frame, count: int, *, warm_up: int = WARM_UP) -> NDArray[np.float64]:
    """Time between the ends of consecutive frames given one after another: the host's part shows too."""
    for i in range(warm_up):
        frame(i)
    torch.cuda.synchronize()
    ends = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    ends[0].record()
    for i, end in enumerate(ends[1:]):
        frame(warm_up + i)
        end.record()
    torch.cuda.synchronize()
    return np.array([before.elapsed_time(after) for before, after in itertools.pairwise(ends)])


def device_ms(frame: Frame, count: int, *, warm_up: int = WARM_UP) -> NDArray[np.float64]:
    """Time the device needs for each frame: it sleeps until the host has given it all of a group.

    Frames that wait for the one before them cannot be given ahead; their times are `period_ms`'s.
    """
    for i in range(warm_up):
        frame(i)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for i in range(QUEUED):
        frame(warm_up + i)
    host_s = time.perf_counter() - start
    torch.cuda.synchronize()
    times: list[float] = []
    while len(times) < count:
        ends = [torch.cuda.Event(enable_timing=True) for _ in range(QUEUED + 1)]
        torch.cuda._sleep(int(1.5 * host_s * CYCLES_PER_S))
        ends[0].record()
        for i, end in enumerate(ends[1:]):
            frame(warm_up + len(times) + i)
            end.record()
        torch.cuda.synchronize()
        times += [before.elapsed_time(after) for before, after in itertools.pairwise(ends)]
    return np.array(times[:count])


def wall_ms(frame: Frame, count: int, *, warm_up: int = WARM_UP) -> NDArray[np.float64]:
    """Host time of each frame that gives its picture to the host and so ends with a wait."""
    for i in range(warm_up):
        frame(i)
    torch.cuda.synchronize()
    times = []
    for i in range(count):
        start = time.perf_counter()
        frame(warm_up + i)
        times.append((time.perf_counter() - start) * 1e3)
    return np.array(times)


def summary(ms: NDArray[np.float64]) -> dict[str, float]:
    """`{"min_ms", "p50_ms", "p99_ms"}`, to the microsecond and a tenth."""
    figures = {
        "min_ms": float(ms.min()),
        "p50_ms": float(np.median(ms)),
        "p99_ms": float(np.percentile(ms, 99)),
    }
    return {name: round(value, 4) for name, value in figures.items()}


def used_device_mb() -> float:
    """Device memory in use by everybody, whoever allocated it, MB."""
    free, total = torch.cuda.mem_get_info()
    return (total - free) / 1e6
