"""How long a picture takes on the graphics card: gsplat eager, gsplat in a graph, and ours in a graph.

    visavis bench render --backend cuda
    python -m bench.render_cuda [--gaussians 100000 ...] [--sizes 512x512 ...] [--batches 1 64 ...] [--save]

Every row has the same avatar, poses and camera for all three. "rig" rows hang on a rig of FLAME's size, the
others on one joint. Times are of RGB8 pictures left on the device, by CUDA events, medians and 99th
percentiles. "ours" is the graph alone; "period" has the host giving frame after frame, each with its upload,
as "eager" has; "draw" is the host's whole frame, the picture brought back. "floor" is the time that the bytes
counted by bench/cuda/roofline.py take at the measured copy bandwidth. gsplat in a graph ("captured") is its
projection, harmonics, offsets and rasteriser, with the list of pairs made by torch's sort in fixed arrays:
`isect_tiles` cannot be captured. One JSON line last.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from bench.machine import on_this_machine
from bench.publish import add_save_option, publish
from engine.backends import cuda_refusal
from engine.errors import UsageError
from engine.look import parse_size

if TYPE_CHECKING:
    from render.avatars.avatar import Avatar

GAUSSIANS = (20_000, 60_000, 100_000, 200_000)
SIZES = ("512x512", "1920x1080")
KINDS = ("3d", "surfels")
BATCHES = (1, 2, 4, 8, 16, 32, 64)
BATCHED = (60_000, "512x512")  # what the batches are drawn of
BACKGROUND = (0.85, 0.86, 0.89)
POSES = 16  # different ones in turn
FRAMES = 200
PROFILED = 100_000  # Gaussians of the frames that are profiled

# What issue 4 asks for on an H200: Gaussians, size, batch, most milliseconds a launch.
TARGETS = {(100_000, "512x512", 1): 0.10, (100_000, "1920x1080", 1): 0.20, (60_000, "512x512", 64): 3.2}
LEAST_SPEED_UP = 5.0  # over gsplat eager with the same rig


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    num_gaussians: int
    size: str  # "512x512"
    kind: str  # "3d" or "surfels"
    rig: bool
    batch: int = 1


def cases(gaussians: Sequence[int], sizes: Sequence[str], batches: Sequence[int]) -> list[Case]:
    """Every number of Gaussians, size and kind with and without the rig, alone; then the batches."""
    alone = [
        Case(num, size, kind, rig)
        for size, num, kind, rig in product(sizes, gaussians, KINDS, (True, False))
        if 1 in batches
    ]
    num, size = BATCHED
    return alone + [Case(num, size, kind, True, batch) for kind in KINDS for batch in batches if batch > 1]


@on_this_machine
def measure(
    gaussians: Sequence[int] = GAUSSIANS,
    sizes: Sequence[str] = SIZES,
    batches: Sequence[int] = BATCHES,
    frames: int = FRAMES,
    *,
    with_gsplat: bool = True,
) -> dict[str, Any]:
    """`{"bench": "render_cuda", "device", "copy_gb_per_s", "rows": [..], "agreement", "profiles", ..}`.

    Raises UsageError when this machine cannot draw with CUDA.
    """
    reason = cuda_refusal()
    if reason is not None:
        raise UsageError(f"nothing to measure with CUDA: {reason}; docs/gpu.md says what CUDA needs")
    import torch

    from bench.cuda.agreement import agreement
    from bench.cuda.timing import copy_bandwidth, used_device_mb

    before_mb = used_device_mb()
    bandwidth = copy_bandwidth()
    gsplat_reason = _gsplat_reason() if with_gsplat else "left out"
    rows = []
    for case in cases(gaussians, sizes, batches):
        print(f"  {_title(case)}", file=sys.stderr, flush=True)
        rows.append(measure_case(case, frames, bandwidth, gsplat_reason is None))
    likeness, profiles = agreement(), {size: _profile(size) for size in sizes}
    torch.cuda.empty_cache()
    return {
        "bench": "render_cuda",
        "device": describe_device(),
        "copy_gb_per_s": round(bandwidth / 1e9, 1),
        "frames": frames,
        "gsplat": gsplat_reason or "measured",
        "rows": rows,
        "agreement": likeness,
        "profiles": profiles,
        "device_mb": {"before": round(before_mb, 1), "after": round(used_device_mb(), 1)},
    }


def measure_case(case: Case, frames: int, bandwidth: float, with_gsplat: bool) -> dict[str, Any]:
    """One row: `{"num_gaussians", .., "pairs", "floor_ms", "ours", "ours_draw", "gsplat_eager", ..}`."""
    from bench.cuda import timing
    from bench.cuda.rigged_scenes import random_poses, rigged_head, still_head
    from bench.cuda.roofline import Workload, counted_bytes, floor_ms
    from render.cuda.avatar_renderer import AvatarRenderer

    width, height = parse_size(case.size)
    surfel = case.kind == "surfels"
    avatar = (rigged_head if case.rig else still_head)(case.num_gaussians, surfel=surfel)
    camera = avatar.default_camera(width, height)
    poses = random_poses(avatar.rig, POSES * case.batch)
    batches = [poses[i : i + case.batch] for i in range(0, len(poses), case.batch)]
    cameras = [camera] * case.batch
    row: dict[str, Any] = dict(vars(case))

    renderer = AvatarRenderer(avatar, width, height, batch=case.batch, layout="rgb8")
    try:
        for group in batches:  # room for the pose with most pairs, before the clock runs
            renderer.draw(group, cameras, BACKGROUND)
        row["pairs"] = renderer.statistics.pairs
        row["ours"] = timing.summary(timing.device_ms(lambda i: renderer.repeat(), frames))
        row["ours_period"] = timing.summary(
            timing.period_ms(lambda i: renderer.launch(batches[i % POSES], cameras, BACKGROUND), frames)
        )
        row["ours_draw"] = timing.summary(
            timing.wall_ms(lambda i: renderer.draw(batches[i % POSES], cameras, BACKGROUND), frames)
        )
        row["pictures_per_s"] = round(case.batch / row["ours"]["p50_ms"] * 1e3)
        row["overflows"] = renderer.statistics.overflows
    finally:
        renderer.close()
    work = Workload(
        case.num_gaussians, width, height, 3, row["pairs"], surfel, batch=case.batch, **_rig_size(avatar)
    )
    counted = counted_bytes(work)
    row["megabytes"] = {name: round(value / 1e6, 2) for name, value in counted.items()}
    row["floor_ms"] = round(floor_ms(counted["total"], bandwidth), 6)
    if with_gsplat:
        from bench.cuda.gsplat_methods import GsplatCaptured, GsplatEager

        with _failing_alone(row, "gsplat_eager"):
            eager = GsplatEager(avatar, camera, case.batch, BACKGROUND)
            row["gsplat_eager"] = timing.summary(
                timing.period_ms(lambda i: eager(batches[i % POSES]), max(20, frames // 4), warm_up=5)
            )
            row["speed_up"] = round(row["gsplat_eager"]["p50_ms"] / row["ours_period"]["p50_ms"], 2)
        if case.batch == 1:
            with _failing_alone(row, "gsplat_captured"):
                captured = GsplatCaptured(avatar, camera, poses[0], BACKGROUND)
                row["gsplat_captured"] = timing.summary(
                    timing.device_ms(lambda i: captured(batches[i % POSES]), frames)
                )
                if captured.over_capacity:
                    row["gsplat_captured"] = {"error": "more pairs than its graph has memory for"}
    return row


def _rig_size(avatar: Avatar) -> dict[str, int]:
    rig = avatar.rig
    if not len(rig.faces):
        return {}
    return {
        "num_vertices": rig.num_vertices,
        "num_faces": len(rig.faces),
        "num_joints": rig.num_joints,
        "num_bases": rig.num_expressions + (0 if rig.pose_basis is None else len(rig.pose_basis)),
    }


@contextmanager
def _failing_alone(row: dict[str, Any], method: str) -> Iterator[None]:
    """A comparison that cannot run is noted in its row, and costs the other figures nothing."""
    from render.gsplat.kernels import first_error

    try:
        yield
    except (RuntimeError, AssertionError, TypeError, ValueError, IndexError) as error:
        row[method] = {"error": first_error(str(error))}
        print(f"  {method}: {row[method]['error']}", file=sys.stderr, flush=True)


def _gsplat_reason() -> str | None:
    from render.gsplat.kernels import GsplatError, load_gsplat

    try:
        load_gsplat()
    except GsplatError as error:
        print(f"visavis: measured without gsplat: {error}", file=sys.stderr, flush=True)
        return str(error)
    return None


def _profile(size: str, frames: int = 50) -> dict[str, Any]:
    """Of `AvatarRenderer.draw`: one wait a frame, the last thing it does; and the times of its kernels."""
    from bench.cuda.host_waits import host_waits, profiled
    from bench.cuda.rigged_scenes import random_poses, rigged_head
    from render.cuda.avatar_renderer import AvatarRenderer

    avatar = rigged_head(PROFILED)
    width, height = parse_size(size)
    camera, poses = avatar.default_camera(width, height), random_poses(avatar.rig, POSES)
    renderer = AvatarRenderer(avatar, width, height)
    try:

        def frame(i: int) -> object:
            return renderer.draw([poses[i % POSES]], [camera], BACKGROUND)

        for i in range(POSES):
            frame(i)
        return host_waits(profiled(frame, frames))
    except RuntimeError as error:  # a machine that lets nobody profile
        return {"waits_per_frame": None, "kernel_us": {}, "error": str(error)}
    finally:
        renderer.close()


def describe_device() -> dict[str, Any]:
    """The card, its driver and the software that the figures are of."""
    import torch

    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "memory_gb": round(properties.total_memory / 1e9, 1),
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }


def verdicts(result: dict[str, Any]) -> list[str]:
    """What issue 4 asks for, line by line: asked, found, and whether that is enough."""
    lines = []
    for row in result["rows"]:
        if row["kind"] != "3d" or not row["rig"]:
            continue
        most = TARGETS.get((row["num_gaussians"], row["size"], row["batch"]))
        if most is not None:
            lines.append(
                _verdict(
                    _title(Case(*_key(row))), row["ours"]["p50_ms"], most, "ms", row["ours"]["p50_ms"] <= most
                )
            )
            if "speed_up" in row:
                enough = row["speed_up"] >= LEAST_SPEED_UP
                lines.append(_verdict("  times gsplat eager", row["speed_up"], LEAST_SPEED_UP, "x", enough))
    for name, picture in result["agreement"].items():
        enough = picture["least_psnr_db"] >= 50
        lines.append(_verdict(f"{name} against the CPU", picture["least_psnr_db"], 50, "dB", enough))
    for size, profile in result["profiles"].items():
        waits = profile["waits_per_frame"]
        what = f"waits of the host in a frame, {size}"
        lines.append(_verdict(what, waits, 1, "", waits is not None and waits <= 1))
    return lines


def _verdict(what: str, found: float | None, wanted: float, unit: str, enough: bool) -> str:
    shown = "not seen" if found is None else f"{found:g} {unit}".strip()
    return f"{'ok  ' if enough else 'FAIL'} {what}: {shown}, asked for {wanted:g} {unit}".rstrip()


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    device = result["device"]
    columns = ("floor", "ours p50", "p99", "period", "draw", "captured", "eager", "speed-up", "pict./s")
    rows = [
        f"{device['name']}, torch {device['torch']}, CUDA {device['cuda']}, "
        f"copies {result['copy_gb_per_s']:.0f} GB/s; gsplat: {result['gsplat']}",
        f"{'':44}" + "".join(f"{name:>10}" for name in columns),
    ]
    for row in result["rows"]:
        cells = [
            row["floor_ms"],
            row["ours"]["p50_ms"],
            row["ours"]["p99_ms"],
            row["ours_period"]["p50_ms"],
            row["ours_draw"]["p50_ms"],
            row.get("gsplat_captured", {}).get("p50_ms"),
            row.get("gsplat_eager", {}).get("p50_ms"),
            row.get("speed_up"),
        ]
        shown = "".join(f"{'-':>10}" if cell is None else f"{cell:10.3f}" for cell in cells)
        rows.append(f"{_title(Case(*_key(row))):44}{shown}{row['pictures_per_s']:>10,}")
    rows.append(f"milliseconds a launch, medians of {result['frames']}; speed-up: eager / period")
    for size, profile in result["profiles"].items():
        times = ", ".join(f"{name} {us:g}" for name, us in profile["kernel_us"].items())
        rows.append(f"kernels of {PROFILED:,} at {size}, microseconds: {times or 'not seen'}")
    rows += verdicts(result)
    memory = result["device_mb"]
    rows.append(f"device memory in use: {memory['before']:.0f} MB before, {memory['after']:.0f} MB after")
    return "\n".join(rows)


def _key(row: dict[str, Any]) -> tuple[int, str, str, bool, int]:
    return row["num_gaussians"], row["size"], row["kind"], row["rig"], row["batch"]


def _title(case: Case) -> str:
    rig = "rig" if case.rig else "one joint"
    batch = f", batch {case.batch}" if case.batch > 1 else ""
    return f"{case.num_gaussians:,} {case.kind}, {case.size}, {rig}{batch}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gaussians", nargs="+", type=int, default=GAUSSIANS)
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--no-gsplat", action="store_true", help="do not compare with gsplat")
    add_save_option(parser)
    args = parser.parse_args()
    try:
        result = measure(
            args.gaussians, args.sizes, args.batches, args.frames, with_gsplat=not args.no_gsplat
        )
    except UsageError as error:
        print(f"visavis: {error}", file=sys.stderr)
        sys.exit(2)
    publish(result, table(result), save=args.save)


if __name__ == "__main__":
    main()
