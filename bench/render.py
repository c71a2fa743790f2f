"""How long one picture takes: posing and splatting, on one core and on all, for real and synthetic heads.

    python -m bench.render [--avatar NAME_OR_PATH ...] [--frames 120] [--save]

Every avatar plays the built-in motion; the synthetic heads stand still. Splatting goes straight to YUV 4:2:0,
as `visavis record` uses it. With VISAVIS_TESTDATA set, the LAM head is measured too. Other work on the
machine shows in the percentiles first: `min_ms`, the processor time of one core and the load stand beside
them. One JSON line last.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.machine import on_this_machine
from bench.publish import add_save_option, publish
from bench.scenes import ellipsoid_head, head_camera
from engine.demo_motion import demo_motion
from render.avatars.avatar import Avatar
from render.avatars.library import DEFAULT_AVATAR, open_avatar
from render.camera import Camera
from render.cpu.renderer import CpuRenderer, usable_cores
from render.gaussians import Gaussians
from render.importers.lam import import_lam

SIZE = 512
BACKGROUND = (0.85, 0.86, 0.89)
WARM_UP = 5  # frames before the clock counts


@on_this_machine
def measure(avatars: Sequence[str] = (DEFAULT_AVATAR,), frames: int = 120) -> dict[str, Any]:
    """`{"scenes": {name: {"num_gaussians", "pose", "cores": {"1": {"splat", "total"}, ..}}}, "machine", ..}`.

    A stage is `{"min_ms", "p50_ms", "p95_ms", "p99_ms"}`; "total" is pose and splat one after the other, and
    "splat_cpu", on one core only, the processor time of splatting: waiting for a busy core does not count.
    "first_call_ms" is the process's first picture: compiling the kernels, or loading them from numba's cache.
    """
    torch.set_num_threads(1)  # as when playing: one pose is too small to share out
    start = time.perf_counter()
    _draw_once(ellipsoid_head(10), 1)
    first_call_ms = (time.perf_counter() - start) * 1e3
    scenes: dict[str, Any] = {}
    for name in avatars:
        scenes[Path(name).stem] = _measure_avatar(open_avatar(name), frames)
    if "VISAVIS_TESTDATA" in os.environ:
        folder = Path(os.environ["VISAVIS_TESTDATA"]) / "avatars" / "lam_p2-1"
        scenes["LAM head"] = _measure_avatar(import_lam(folder), frames)
    for num in (20_000, 60_000):
        head = ellipsoid_head(num)
        scenes[f"ellipsoid {num // 1000}k"] = _measure(
            [partial(_same, head)], head_camera(SIZE, SIZE), frames
        )
    return {
        "bench": "render",
        "size": [SIZE, SIZE],
        "frames": frames,
        "first_call_ms": round(first_call_ms, 1),
        "scenes": scenes,
    }


def _measure_avatar(avatar: Avatar, frames: int) -> dict[str, Any]:
    motion = [avatar.params(moment) for moment in demo_motion(4.0)]
    with torch.inference_mode():
        poses = [partial(avatar.pose, params) for params in motion]
        return _measure(poses, avatar.default_camera(SIZE, SIZE), frames)


def _measure(poses: Sequence[Callable[[], Gaussians]], camera: Camera, frames: int) -> dict[str, Any]:
    out = np.empty((SIZE * 3 // 2, SIZE), np.uint8)
    posing = len(poses) > 1
    result: dict[str, Any] = {"num_gaussians": poses[0]().num_gaussians, "cores": {}}
    for cores in sorted({1, usable_cores()}):
        renderer = CpuRenderer(SIZE, SIZE, num_threads=cores)
        times = []
        for i in range(WARM_UP + frames):
            start = time.perf_counter()
            gaussians = poses[i % len(poses)]()
            posed = time.perf_counter()
            busy = time.thread_time()
            renderer.render_yuv420(gaussians, camera, BACKGROUND, out)
            times.append((posed - start, time.perf_counter() - posed, time.thread_time() - busy))
        renderer.close()
        pose, splat, splat_cpu = np.array(times[WARM_UP:]).T * 1e3
        result["cores"][str(cores)] = {"splat": _summary(splat)}
        if cores == 1:
            result["cores"]["1"]["splat_cpu"] = _summary(splat_cpu)
        if posing:
            result["cores"][str(cores)]["total"] = _summary(pose + splat)
            result["pose"] = _summary(pose)
    return result


def _same(gaussians: Gaussians) -> Gaussians:
    return gaussians


def _draw_once(gaussians: Gaussians, cores: int) -> None:
    renderer = CpuRenderer(SIZE, SIZE, num_threads=cores)
    renderer.render_yuv420(gaussians, head_camera(SIZE, SIZE), BACKGROUND)
    renderer.close()


def _summary(ms: np.ndarray) -> dict[str, float]:
    summary = {"min_ms": round(float(ms.min()), 3)}
    return summary | {f"p{p}_ms": round(float(np.percentile(ms, p)), 3) for p in (50, 95, 99)}


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    rows = [f"{'':24}{'min':>8}{'p50':>8}{'p95':>8}{'p99':>8}"]
    for name, scene in result["scenes"].items():
        rows.append(f"{name}, {scene['num_gaussians']:,} Gaussians")
        if "pose" in scene:
            rows.append(_row("pose", scene["pose"]))
        for cores, stages in scene["cores"].items():
            plural = "core" if cores == "1" else "cores"
            rows.append(_row(f"splat, {cores} {plural}", stages["splat"]))
            if "splat_cpu" in stages:
                rows.append(_row("  processor time", stages["splat_cpu"]))
            if "total" in stages:
                rows.append(_row("  pose and splat", stages["total"]))
    rows.append(f"milliseconds at {SIZE}x{SIZE}; first call {result['first_call_ms']:.0f} ms")
    return "\n".join(rows)


def _row(name: str, stage: dict[str, float]) -> str:
    return f"  {name:22}" + "".join(f"{value:8.2f}" for value in stage.values())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--avatar", nargs="+", default=[DEFAULT_AVATAR], metavar="NAME_OR_PATH")
    parser.add_argument("--frames", type=int, default=120)
    add_save_option(parser)
    args = parser.parse_args()
    result = measure(args.avatar, args.frames)
    publish(result, table(result), save=args.save)


if __name__ == "__main__":
    main()
