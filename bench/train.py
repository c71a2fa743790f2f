"""How long the CPU's differentiable renderer takes: a picture with all its maps, and the gradients back.

    python -m bench.train [--steps 40] [--cores 2] [--save]

Synthetic heads. A step draws and differentiates one picture; "all maps" weights colour, alpha, depth, normal
and distortion, "colour" draws and weights colour only. `cpu_ms` is the processor time of all cores together:
other work on the machine shows in the percentiles first. One JSON line last.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.machine import on_this_machine
from bench.publish import add_save_option, publish
from bench.scenes import ellipsoid_head, head_camera
from render.cpu.gradients.renderer import CpuTrainingRenderer
from render.cpu.renderer import usable_cores
from render.gaussians import Gaussians
from render.renderer import RenderOutput

WARM_UP = 5  # steps before the clock counts
TARGET_MS = 60.0  # 10,000 surfels at 256x256 with all maps on two cores
# surfels or not, their number, pixels a side
SCENES = [(True, 10_000, 256), (True, 20_000, 512), (False, 20_000, 512), (False, 60_000, 512)]
_LEAVES = ("means", "quats", "log_scales", "logit_opacities", "sh")


@on_this_machine
def measure(
    steps: int = 40, cores: int | None = None, scenes: Sequence[tuple[bool, int, int]] = SCENES
) -> dict[str, Any]:
    """`{"scenes": {name: {"all maps": figures, "colour": figures}}, "target_ms", "cores", "machine", ..}`.

    Figures are `{"forward_ms", "backward_ms", "p50_ms", "p95_ms", "cpu_ms"}`, medians but for the 95th
    percentile; "first_call_ms" is the process's first step: compiling the kernels, or loading them.
    """
    cores = cores or usable_cores()
    torch.set_num_threads(cores)
    start = time.perf_counter()
    for surfel in (True, False):
        _steps(ellipsoid_head(10, surfel=surfel), 16, 1, cores, True)
    first_call_ms = (time.perf_counter() - start) * 1e3
    measured: dict[str, Any] = {}
    for surfel, num, size in scenes:
        scene = ellipsoid_head(num, surfel=surfel)
        name = f"{num:,} {'surfels' if surfel else '3D Gaussians'} at {size}x{size}"
        measured[name] = {
            maps: _summary(_steps(scene, size, steps, cores, maps == "all maps"))
            for maps in ("all maps", "colour")
        }
    return {
        "bench": "train",
        "scenes": measured,
        "steps": steps,
        "cores": cores,
        "target_ms": TARGET_MS,
        "first_call_ms": round(first_call_ms),
    }


def _steps(scene: Gaussians, size: int, steps: int, cores: int, geometry: bool) -> np.ndarray:
    """Seconds [steps, 3]: forward, backward, and the processor's."""
    renderer = CpuTrainingRenderer(size, size, cores, geometry=geometry)
    camera = head_camera(size, size, yaw_deg=20)
    leaves = {name: getattr(scene, name).clone().requires_grad_() for name in _LEAVES}
    random = torch.Generator().manual_seed(0)
    picture, plane = (size, size, 3), (size, size)
    weights = [torch.randn(shape, generator=random) for shape in (picture, plane, plane, picture, plane)]
    times = []
    for _ in range(WARM_UP + steps):
        for leaf in leaves.values():
            leaf.grad = None
        processor, start = time.process_time(), time.perf_counter()
        maps = _maps(renderer.render(replace(scene, **leaves), camera))
        drawn = time.perf_counter()
        torch.autograd.backward(maps, weights[: len(maps)])
        end = time.perf_counter()
        times.append((drawn - start, end - drawn, time.process_time() - processor))
    renderer.close()
    return np.array(times[WARM_UP:])


def _maps(out: RenderOutput) -> list[Tensor]:
    if out.depth is None or out.normal is None or out.distortion is None:
        return [out.rgb]
    return [out.rgb, out.alpha, out.depth, out.normal, out.distortion]


def _summary(seconds: np.ndarray) -> dict[str, float]:
    forward, backward, processor = seconds.T * 1e3
    figures = {
        "forward_ms": np.median(forward),
        "backward_ms": np.median(backward),
        "p50_ms": np.median(forward + backward),
        "p95_ms": np.percentile(forward + backward, 95),
        "cpu_ms": np.median(processor),
    }
    return {name: round(float(value), 2) for name, value in figures.items()}


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    rows = [
        f"{'on ' + str(result['cores']) + ' cores':40}{'forward':>10}{'backward':>10}{'both':>10}"
        f"{'p95':>10}{'cpu':>10}",
    ]
    for name, scene in result["scenes"].items():
        for maps, figures in scene.items():
            rows.append(f"{name + ', ' + maps:40}" + "".join(f"{value:10.1f}" for value in figures.values()))
    rows.append(
        f"milliseconds a step; aim: {result['target_ms']:.0f} for the first on two cores; "
        f"first call {result['first_call_ms']} ms"
    )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--cores", type=int, default=None, help="threads; all cores by default")
    add_save_option(parser)
    args = parser.parse_args()
    result = measure(args.steps, args.cores)
    publish(result, table(result), save=args.save)


if __name__ == "__main__":
    main()
