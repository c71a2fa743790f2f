"""Live on this machine: a clip plays the camera, a headless Chromium watches and reads the timecodes.

    python -m bench.live [--input VIDEO] [--avatar A] [--seconds 10] [--sizes 512x512] [--rates 30]
                         [--directions file browser] [--beside 1]

In the direction `file` the server plays the clip as its own camera; in `browser` Chromium's fake camera sends
it up with WHIP and the same browser watches the avatar. Latency is from the frame's arrival at the server to
the browser's callback for the displayed frame. Both sides share this machine's cores; with `--beside N` so do
N other programs that never rest, of equal weight. One JSON line last.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from bench.machine import on_this_machine
from bench.processes import children, cpu_seconds
from bench.publish import add_save_option, publish
from bench.viewing.chromium import Chromium, find_chromium
from bench.viewing.live_client import (
    ClientOrigin,
    WatchReport,
    measure_again,
    measure_watching,
    start_sending,
)
from bench.viewing.live_clips import as_camera_file, film, retimed
from bench.viewing.live_server import LiveServerProcess
from bench.viewing.other_programs import OtherPrograms
from engine.backends import BACKENDS
from engine.errors import UsageError
from render.avatars.library import DEFAULT_AVATAR

Direction = Literal["file", "browser"]

SIZES = ("512x512", "1280x720")
RATES = (30, 60)
DIRECTIONS: tuple[Direction, ...] = ("file", "browser")
STAGES = ("capture", "track", "wait", "solve", "pose", "render", "encode", "arrival_to_sent")
CLIP_S = 10.0
CAMERA_FILE_S = 5.0  # raw pictures: 512x512 at 60 a second are 118 MB
WARMUP_S = 5.0
LOOPBACK_FLAG = "--allow-loopback-in-peer-connection"


@on_this_machine
def measure(
    clip: str | None = None,
    avatar_name: str = DEFAULT_AVATAR,
    seconds: float = 10.0,
    sizes: Sequence[str] = SIZES,
    rates: Sequence[int] = RATES,
    directions: Sequence[Direction] = DIRECTIONS,
    backend: str = "cpu",
    beside: int = 0,
) -> dict[str, Any]:
    """Every combination: `{"runs": [{"direction", "size", "source_fps", "displayed_fps", ..}], ..}`.

    Raises UsageError when there is no Chromium, SourceError for the clip.
    """
    if find_chromium() is None:
        raise UsageError("no Chromium found to watch the stream; install one (apt install chromium)")
    runs = []
    look = ["--avatar", avatar_name, "--backend", backend]
    with tempfile.TemporaryDirectory(prefix="visavis-bench-") as name:
        folder = Path(name)
        source = Path(clip) if clip is not None else folder / "filmed.mp4"
        if clip is None:
            film(source, avatar_name, CLIP_S)
        for rate in rates:
            played = folder / f"{rate}.mp4"
            retimed(source, played, rate, CLIP_S)
            for direction in directions:
                runs += [
                    _run(direction, played, [*look, "--size", size], size, rate, seconds, beside)
                    for size in sizes
                ]
    return {
        "bench": "live",
        "input": Path(clip).name if clip is not None else "built-in motion, filmed",
        "avatar": avatar_name,
        "backend": backend,
        "seconds": seconds,
        "beside": beside,
        "runs": runs,
    }


def _run(
    direction: Direction,
    clip: Path,
    look: Sequence[str],
    size: str,
    rate: int,
    seconds: float,
    beside: int,
) -> dict[str, Any]:
    flags = [LOOPBACK_FLAG]
    source = ["--input", str(clip)]
    if direction == "browser":
        camera = clip.with_suffix(".y4m")
        if not camera.exists():
            short = clip.with_name(f"short-{clip.name}")
            retimed(clip, short, rate, CAMERA_FILE_S)
            as_camera_file(short, camera)
        flags.append(f"--use-file-for-fake-video-capture={camera}")
        source = ["--browser"]
    with ClientOrigin() as client:
        options = [*source, *look, "--timecode", "--allow-origin", client.origin]
        with LiveServerProcess(options) as server, OtherPrograms(beside):
            seen = asyncio.run(_watch(client, server.address, server.pid, flags, direction, rate, seconds))
    return {"direction": direction, "size": size, "source_fps": rate, **seen}


async def _watch(
    client: ClientOrigin,
    server: str,
    server_pid: int,
    flags: list[str],
    direction: Direction,
    rate: int,
    seconds: float,
) -> dict[str, Any]:
    async with Chromium(flags) as browser:
        if direction == "browser":
            await browser.goto(client.origin)
            await start_sending(browser, server, width=640, height=480, fps=rate)
            await asyncio.sleep(2.0)  # the tracker loads, the neutral face is measured
        figures_of = asyncio.create_task(_figures_later(server, browser.pid, server_pid, seconds))
        if direction == "browser":
            report = await measure_again(browser, server, seconds=seconds, warmup_s=WARMUP_S)
        else:
            report = await measure_watching(browser, client, server, seconds=seconds, warmup_s=WARMUP_S)
        return _joined(report, *(await figures_of), rate=rate, seconds=seconds)


async def _figures_later(
    server: str, browser_pid: int, server_pid: int, seconds: float
) -> tuple[dict[str, float], dict[str, float]]:
    """The server's own figures and everybody's processor share, of the time after the warm-up."""
    import aiohttp

    await asyncio.sleep(WARMUP_S)
    begin = time.monotonic()
    before = _cpu(server_pid, browser_pid)
    await asyncio.sleep(seconds)
    elapsed = time.monotonic() - begin
    after = _cpu(server_pid, browser_pid)
    shares = {name: round(100 * (after[name] - before[name]) / elapsed, 1) for name in before}
    async with aiohttp.ClientSession() as http, http.get(f"{server}/api/figures") as answer:
        figures: dict[str, float] = (await answer.json())["live"]
    return figures, shares


def _cpu(server_pid: int, browser_pid: int) -> dict[str, float]:
    """Seconds of processor time so far of the server, its tracker process, the browser, and this one."""
    tracker = sum(cpu_seconds(child) or 0.0 for child in children(server_pid))
    return {
        "server": (cpu_seconds(server_pid) or 0.0) - tracker,
        "tracker": tracker,
        "browser": cpu_seconds(browser_pid) or 0.0,
    }


def _joined(
    report: WatchReport, figures: dict[str, float], cpu: dict[str, float], *, rate: int, seconds: float
) -> dict[str, Any]:
    distinct = report.num_displayed - report.num_repeated
    return {
        **report.as_dict(),
        "num_dropped": max(0, round(rate * seconds) - distinct),
        "stages": {
            stage: {f"p{p}_ms": figures[f"{stage}_p{p}_ms"] for p in (50, 95, 99)}
            for stage in STAGES
            if f"{stage}_p50_ms" in figures
        },
        "render_scale": figures.get("render_scale", 1.0),
        "gaussian_share": figures.get("gaussian_share", 1.0),
        "detect_every": figures.get("detect_every", 1.0),
        "effort_falls": figures.get("render_scale_falls", 0.0),
        "effort_rises": figures.get("render_scale_rises", 0.0),
        "tracker_restarts": figures.get("tracker_restarts", 0.0),
        "cpu_percent": cpu,
    }


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    rows = [
        f"{result['input']} -> {result['avatar']}; {result['beside']} other busy programs",
        "latency: from the frame's arrival at the server to its display in the browser, ms",
        f"{'source':>8} {'size':>9} {'fps in':>6} {'shown':>6} {'p50':>6} {'p95':>6} {'p99':>6} {'gap':>5} "
        f"{'dropped':>7} {'twice':>5} {'scale':>5} {'share':>5} {'every':>5}  cpu %: server tracker browser",
    ]
    for run in result["runs"]:
        cpu = run["cpu_percent"]
        rows.append(
            f"{run['direction']:>8} {run['size']:>9} {run['source_fps']:6d} {run['displayed_fps']:6.1f} "
            f"{run['latency_p50_ms']:6.1f} {run['latency_p95_ms']:6.1f} {run['latency_p99_ms']:6.1f} "
            f"{run['largest_gap_ms']:5.0f} {run['num_dropped']:7d} {run['num_repeated']:5d} "
            f"{run['render_scale']:5.2f} {run['gaussian_share']:5.2f} {run['detect_every']:5.0f}  "
            f"{cpu['server']:13.0f} {cpu['tracker']:7.0f} {cpu['browser']:7.0f}"
        )
    rows.append("stages, ms p50 / p95:")
    for run in result["runs"]:
        stages = ", ".join(f"{s} {t['p50_ms']:.1f}/{t['p95_ms']:.1f}" for s, t in run["stages"].items())
        rows.append(f"{run['direction']:>8} {run['size']:>9} {run['source_fps']:6d} {stages}")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", metavar="VIDEO")
    parser.add_argument("--avatar", default=DEFAULT_AVATAR)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    parser.add_argument("--rates", nargs="+", type=int, default=RATES)
    parser.add_argument("--directions", nargs="+", choices=DIRECTIONS, default=DIRECTIONS)
    parser.add_argument("--backend", default="cpu", choices=BACKENDS)
    parser.add_argument(
        "--beside",
        type=int,
        default=0,
        metavar="N",
        help="busy programs of equal weight beside (%(default)s)",
    )
    add_save_option(parser)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends server and browser too, as Ctrl-C does
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if args.beside < 0:
        parser.error(f"--beside {args.beside}: give a number of programs, 0 or more")
    result = measure(
        args.input,
        args.avatar,
        args.seconds,
        args.sizes,
        args.rates,
        args.directions,
        args.backend,
        args.beside,
    )
    publish(result, table(result), save=args.save)


if __name__ == "__main__":
    main()
