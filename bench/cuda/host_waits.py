"""Read off a profile of frames: how often the host waits for the card within one, and its kernels' times."""

from __future__ import annotations

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

FRAME = "visavis frame"  # the profile's name for one call

# Calls that make the host wait, or that may: memory that is given out or taken back often waits for all work.
WAITING = ("Synchronize", "Memcpy", "Memset", "Malloc", "Free", "HostAlloc")


def profiled(frame: Callable[[int], object], frames: int) -> list[dict[str, Any]]:
    """The events of `frames` calls as torch's profiler exports them, waits by the driver's interface too."""
    import torch
    from torch.profiler import ProfilerActivity, profile, record_function

    options = torch._C._profiler._ExperimentalConfig(enable_cuda_sync_events=True)
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    torch.cuda.synchronize()
    with profile(activities=activities, experimental_config=options) as profiler:
        for i in range(frames):
            with record_function(FRAME):
                frame(i)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events: list[dict[str, Any]] = json.loads(path.read_text())["traceEvents"]
    return events


def host_waits(events: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """`{"frames", "waits_per_frame", "kernels_per_frame", "kernel_us": {name: median}, ..}`.

    "waits" are the profile's own synchronisation events within frames, "calls" the calls within frames that
    wait or may wait; "waits_per_frame" is the larger of the two. It is None when the profile shows neither:
    a frame that gives its picture to the host waits at least once, so such a profile saw nothing.
    """
    listed = list(events)
    spans = sorted(
        (event["ts"], event["ts"] + event["dur"])
        for event in listed
        if event.get("name") == FRAME and event.get("cat") == "user_annotation"
    )
    waits: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    on_device: Counter[str] = Counter()
    kernel_us: dict[str, list[float]] = defaultdict(list)
    for event in listed:
        category, name = str(event.get("cat", "")), str(event.get("name", ""))
        on_device[category] += 1
        if category == "kernel":
            kernel_us[name].append(float(event["dur"]))
        if "ts" not in event or not any(begin <= event["ts"] <= end for begin, end in spans):
            continue
        if category == "cuda_sync":
            waits[name] += 1
        elif category in ("cuda_runtime", "cuda_driver") and _may_wait(name):
            calls[name] += 1
    frames = max(1, len(spans))
    most = max(sum(waits.values()), sum(calls.values()))
    return {
        "frames": len(spans),
        "waits_per_frame": round(most / frames, 3) if most else None,
        "kernels_per_frame": round(on_device["kernel"] / frames, 3),
        "copies_per_frame": round((on_device["gpu_memcpy"] + on_device["gpu_memset"]) / frames, 3),
        "kernel_us": {name: round(median(times), 2) for name, times in sorted(kernel_us.items())},
        "waits": dict(waits),
        "calls": dict(calls),
    }


def _may_wait(call: str) -> bool:
    return "Async" not in call and any(word in call for word in WAITING)
