"""Live for a long time: whether memory, threads and files stay flat and latency does not rise.

    python -m bench.soak --minutes 20 [--input VIDEO] [--avatar A] [--save]

A `visavis live` plays a clip as its camera and one Chromium watches and reads the timecodes. Every ten
seconds each process is looked at; latency is summed up per minute. The first two minutes are the warm-up.
Ctrl-C ends early and keeps what there is. One JSON line last.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.faults import free_ports
from bench.machine import on_this_machine
from bench.processes import command_line, holdings, tree
from bench.publish import add_save_option, publish
from bench.viewing.chromium import find_chromium
from bench.viewing.live_clips import film
from bench.viewing.live_server import LiveServerProcess
from bench.viewing.watcher import Watcher, seen
from engine.errors import UsageError
from render.avatars.library import DEFAULT_AVATAR

CLIP_S = 10.0
SAMPLE_EVERY_S = 10.0
MINUTE_S = 60.0
WARMUP_S = 120.0  # caches fill: what the issue allows
MEMORY_TOLERANCE = 0.03  # growth of a process's memory after the warm-up
JUDGED = ("server", "tracker", "chromium renderer")  # what runs our code; the browser's own parts are listed
LATENCY_TOLERANCE_MS = 5.0  # p95 of single minutes on a machine with other work differs by so much

Sample = dict[str, Any]  # {"seconds": .., "processes": {name: {"rss_mb", "pss_mb", "threads", "files"}}}


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@on_this_machine
def measure(
    clip: str | None = None,
    avatar_name: str = DEFAULT_AVATAR,
    minutes: float = 20.0,
    tell: Callable[[str], None] = _to_stderr,
) -> dict[str, Any]:
    """`{"verdict": .., "processes": .., "latency": .., ..}`, see `judge` and `ranges`.

    `tell` gets a line a minute.

    Raises UsageError when there is no Chromium.
    """
    if find_chromium() is None:
        raise UsageError("no Chromium found to watch the stream; install one (apt install chromium)")
    samples: list[Sample] = []
    by_minute: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="visavis-bench-") as name:
        source = Path(clip) if clip is not None else Path(name) / "filmed.mp4"
        if clip is None:
            film(source, avatar_name, CLIP_S)
        asyncio.run(_soak(str(source), avatar_name, 60.0 * minutes, samples, by_minute, tell))
    return {
        "bench": "soak",
        "input": Path(clip).name if clip is not None else "built-in motion, filmed",
        "avatar": avatar_name,
        "seconds": samples[-1]["seconds"] if samples else 0.0,
        "verdict": judge(samples, by_minute),
        **ranges(samples, by_minute),
    }


async def _soak(
    clip: str,
    avatar: str,
    seconds: float,
    samples: list[Sample],
    by_minute: list[dict[str, Any]],
    tell: Callable[[str], None],
) -> None:
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted.set)
    (port,) = free_ports(1)
    options = ["--input", clip, "--avatar", avatar, "--timecode"]
    options += ["--allow-origin", f"http://127.0.0.1:{port}"]
    with LiveServerProcess(options) as server:
        async with Watcher(server.address, page_port=port) as watcher:
            begin = time.monotonic()
            minute_began_ms = time.time() * 1e3
            while not interrupted.is_set() and time.monotonic() - begin < seconds:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(interrupted.wait(), SAMPLE_EVERY_S)
                if server.exit_code is not None:
                    raise RuntimeError(f"the server ended by itself with exit code {server.exit_code}")
                elapsed = round(time.monotonic() - begin, 1)
                samples.append({"seconds": elapsed, "processes": _named_holdings(server.pid, watcher.pids)})
                now_ms = time.time() * 1e3 - 1e3  # rows come every half second
                if now_ms - minute_began_ms >= 1e3 * MINUTE_S or interrupted.is_set():
                    by_minute.append({"seconds": elapsed, **seen(watcher.frames, minute_began_ms, now_ms)})
                    watcher.frames = [row for row in watcher.frames if row[0] >= now_ms]
                    minute_began_ms = now_ms
                    tell(_line(by_minute[-1], samples[-1]))


def _named_holdings(server: int, viewer: list[int]) -> dict[str, dict[str, float]]:
    """Of the server, its tracker and the browser's processes; a name that comes twice is summed."""
    named = [(_server_part(pid, server), pid) for pid in tree(server)]
    named += [(_browser_part(command_line(pid)), pid) for pid in viewer]
    summed: dict[str, dict[str, float]] = {}
    for name, pid in named:
        held = holdings(pid) if name else None
        if held is None:
            continue
        before = summed.get(name, {})
        summed[name] = {key: round(value + before.get(key, 0), 1) for key, value in asdict(held).items()}
    return summed


def _server_part(pid: int, server: int) -> str:
    if pid == server:
        return "server"
    return "tracker" if "spawn_main" in command_line(pid) else ""


def _browser_part(command: str) -> str:
    if "chrom" not in command:
        return ""
    kind = next((word[7:] for word in command.split() if word.startswith("--type=")), "main")
    return f"chromium {kind}" if kind in ("main", "renderer", "utility", "gpu-process") else ""


def judge(samples: list[Sample], by_minute: list[dict[str, Any]]) -> dict[str, Any]:
    """What the issue asks, process by process: memory, threads and files after the warm-up, latency.

    Every entry is `{"first", "last", "holds"}`: medians of the first and last third after the warm-up; memory
    holds within 3 %, threads and files must not grow. Too short a run gives no verdict.
    """
    settled = [sample["processes"] for sample in samples if sample["seconds"] > WARMUP_S]
    verdict: dict[str, Any] = {}
    if len(settled) >= 3:
        third = len(settled) // 3
        for name in JUDGED:
            row = {}
            for key in ("rss_mb", "pss_mb", "threads", "files"):
                first, last = (
                    statistics.median(part.get(name, _GONE)[key] for part in parts)
                    for parts in (settled[:third], settled[-third:])
                )
                most = first * (1 + MEMORY_TOLERANCE) if key.endswith("_mb") else first
                row[key] = {"first": first, "last": last, "holds": last <= most}
            verdict[name] = row
    latencies = [
        row["p95_ms"] for row in by_minute if row["seconds"] > WARMUP_S and row["p95_ms"] is not None
    ]
    if len(latencies) >= 2:
        third = max(1, len(latencies) // 3)
        first, last = statistics.median(latencies[:third]), statistics.median(latencies[-third:])
        verdict["latency"] = {
            "p95_ms": {"first": first, "last": last, "holds": last <= first + LATENCY_TOLERANCE_MS}
        }
    return verdict


def ranges(samples: list[Sample], by_minute: list[dict[str, Any]]) -> dict[str, Any]:
    """Each series after the warm-up as `{"min", "median", "max"}`.

    `{"processes": {name: {"rss_mb": .., "pss_mb": .., "threads": .., "files": ..}}, "latency": {"shown_fps":
    .., "p50_ms": .., "p95_ms": .., "largest_gap_ms": ..}}`, the latency's from its figures by the minute.
    """
    settled = [sample["processes"] for sample in samples if sample["seconds"] > WARMUP_S]
    names = dict.fromkeys(name for processes in settled for name in processes)
    minutes = [row for row in by_minute if row["seconds"] > WARMUP_S]
    return {
        "processes": {name: _ranges_of([part[name] for part in settled if name in part]) for name in names},
        "latency": _ranges_of([{key: row[key] for key in row if key != "seconds"} for row in minutes]),
    }


def _ranges_of(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    keys = dict.fromkeys(key for row in rows for key in row)
    found = {key: [row[key] for row in rows if row.get(key) is not None] for key in keys}
    return {
        key: {"min": min(values), "median": round(statistics.median(values), 2), "max": max(values)}
        for key, values in found.items()
        if values
    }


_GONE = dict.fromkeys(("rss_mb", "pss_mb", "threads", "files"), 0.0)  # a process that ended or came later


def _line(minute: dict[str, Any], sample: Sample) -> str:
    processes = sample["processes"]
    parts = [
        f"{name} {processes[name]['pss_mb']:.0f} MB {processes[name]['threads']:.0f} threads "
        f"{processes[name]['files']:.0f} files"
        for name in ("server", "tracker", "chromium renderer")
        if name in processes
    ]
    return (
        f"{minute['seconds'] / 60:5.1f} min: {minute['shown_fps']:.1f} fps, p50 {minute['p50_ms']} ms, "
        f"p95 {minute['p95_ms']} ms, largest gap {minute['largest_gap_ms']} ms; " + ", ".join(parts)
    )


def table(result: dict[str, Any]) -> str:
    """The verdict for people."""
    rows = [
        f"{result['input']} -> {result['avatar']}, {result['seconds'] / 60:.1f} minutes",
        f"{'after the first two minutes':28} {'':8} {'first':>8} {'last':>8}",
    ]
    if not result["verdict"]:
        rows.append("too short for a verdict: it needs more than two and a half minutes")
    for name, row in result["verdict"].items():
        for key, entry in row.items():
            holds = "holds" if entry["holds"] else "GROWS"
            rows.append(f"{name:28} {key:8} {entry['first']:8.1f} {entry['last']:8.1f}  {holds}")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", metavar="VIDEO")
    parser.add_argument("--avatar", default=DEFAULT_AVATAR)
    parser.add_argument("--minutes", type=float, default=20.0)
    add_save_option(parser)
    args = parser.parse_args()
    result = measure(args.input, args.avatar, args.minutes)
    publish(result, table(result), save=args.save)


if __name__ == "__main__":
    main()
