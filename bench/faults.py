"""What goes wrong in real use, done to a whole `visavis live` on purpose: links, viewers and parts that fail.

    python -m bench.faults [--input VIDEO] [--avatar A] [--seconds 10] [--cases loss-5 tracker ..] [--save]

A clip plays the camera; Chromium viewers of another origin read the timecodes of what they display. One
viewer meets the fault, another one beside it, the witness, must not notice. The cases with a bad link need
root on Linux (network namespaces). One JSON line last.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.machine import on_this_machine
from bench.processes import Holdings, children, command_line, holdings
from bench.publish import add_save_option, publish
from bench.viewing.chromium import find_chromium
from bench.viewing.link import Link, LinkQuality, why_not
from bench.viewing.live_clips import film
from bench.viewing.live_server import LiveServerProcess
from bench.viewing.server_log import ServerLog
from bench.viewing.watcher import Watcher, seen, steady_from_ms
from engine.errors import UsageError
from render.avatars.library import DEFAULT_AVATAR

CLIP_S = 10.0
TOKEN = "faults"
WARMUP_S = 4.0  # the tracker loads, the bitrate finds its level
SETTLE_S = 3.0  # after a viewer left, before the server is looked at again
STALL_S = 5.0
DARK_S = 5.0
UNPLUGGED_S = 4.0
FORGET_S = 30.0  # a vanished viewer must be forgotten by then
STEADY_SHARE, STEADY_WINDOW_MS = 0.8, 1000.0  # recovered: a second with this share of the usual frames


@dataclass
class Run:
    """One server with its witness, and what a case does to them."""

    server: LiveServerProcess
    witness: Watcher
    log: ServerLog
    ports: Sequence[int]  # of the pages that the server lets in, the witness's first
    seconds: float
    figures: dict[str, Any] = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def viewer(self, link: Link | None = None) -> AsyncIterator[Watcher]:
        """One more Chromium, behind a link or beside the witness."""
        host = "127.0.0.1" if link is None else link.near
        inside = [] if link is None else link.inside
        address = f"http://{host}:{self.server.port}"
        async with Watcher(address, page_port=self.ports[1], token=TOKEN, inside=inside) as watcher:
            await asyncio.sleep(WARMUP_S)
            yield watcher

    def detector(self) -> int:
        """The tracker's process; the other child is multiprocessing's resource tracker."""
        spawned = [pid for pid in children(self.server.pid) if "spawn_main" in command_line(pid)]
        if not spawned:
            raise RuntimeError("the server has no tracker process")
        return spawned[0]

    def steady_after_s(self, watcher: Watcher, since_ms: float, usual_fps: float) -> float | None:
        """Seconds from `since_ms` until a viewer sees a steady stream again."""
        at_ms = steady_from_ms(
            watcher.frames, since_ms, window_ms=STEADY_WINDOW_MS, fps=STEADY_SHARE * usual_fps
        )
        return None if at_ms is None else round((at_ms - since_ms) / 1e3, 2)


def _now_ms() -> float:
    return time.time() * 1e3


async def _bad_link(run: Run, quality: LinkQuality) -> None:
    with Link(quality) as link:
        async with run.viewer(link) as watcher:
            begin = _now_ms()
            await asyncio.sleep(run.seconds)
            await _compare(run, watcher, begin, _now_ms())


async def _dark_link(run: Run) -> None:
    with Link(LinkQuality()) as link:
        async with run.viewer(link) as watcher:
            begin = _now_ms()
            link.change(LinkQuality(loss=1.0))
            await asyncio.sleep(DARK_S)
            link.change(LinkQuality())
            await _recover(run, watcher, begin)


async def _stalled(run: Run) -> None:
    async with run.viewer() as watcher:
        begin = _now_ms()
        watcher.freeze()
        await asyncio.sleep(STALL_S)
        watcher.thaw()
        await _recover(run, watcher, begin)


async def _recover(run: Run, watcher: Watcher, begin: float) -> None:
    """Watch a viewer come back, then compare it with the witness over the whole time."""
    back = _now_ms()
    await asyncio.sleep(run.seconds)
    usual = seen(run.witness.frames, back, _now_ms())["shown_fps"] or 0.0
    await _compare(run, watcher, begin, _now_ms())
    run.figures["recovered_s"] = run.steady_after_s(watcher, back, usual)


async def _crowd(run: Run) -> None:
    crowd = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.viewing.crowd", f"http://127.0.0.1:{run.server.port}", "--viewers", "19",
        "--token", TOKEN, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert crowd.stdin is not None
    assert crowd.stdout is not None
    if await crowd.stdout.readline() != b"ready\n":
        raise RuntimeError(f"the crowd could not watch (exit code {await crowd.wait()})")
    await asyncio.sleep(WARMUP_S / 2)
    begin = _now_ms()
    await asyncio.sleep(run.seconds)
    end = _now_ms()
    crowd.stdin.close()
    got = json.loads(await crowd.stdout.readline())
    await crowd.wait()
    run.figures["viewer"] = {
        "shown_fps": min(got["fps"]),
        "p50_ms": None,
        "p95_ms": None,
        "largest_gap_ms": max(got["largest_gap_ms"]),
    }
    run.figures["witness"] = seen(run.witness.frames, begin, end)


async def _vanished(run: Run) -> None:
    """Killed behind a link that went dark, where there is one: not even the system says goodbye then."""
    with contextlib.ExitStack() as stack:
        link = stack.enter_context(Link(LinkQuality())) if why_not() is None else None
        async with run.viewer(link) as watcher:
            begin = _now_ms()
            if link is not None:
                link.change(LinkQuality(loss=1.0))
            await watcher.kill()
            forgotten_s = await run.log.wait_for(lambda metrics: metrics["sessions"] == 1, timeout_s=FORGET_S)
        run.figures["recovered_s"] = forgotten_s
        run.figures["witness"] = seen(run.witness.frames, begin, _now_ms())


async def _camera(run: Run) -> None:
    begin = _now_ms()
    run.server.send_signal(signal.SIGUSR1)
    run.figures["noticed_s"] = await run.log.wait_for_state(lambda state: not state["source_ok"])
    message = run.log.state["message"]
    await asyncio.sleep(UNPLUGGED_S)
    run.server.send_signal(signal.SIGUSR2)
    run.figures["recovered_s"] = await run.log.wait_for_state(lambda state: state["source_ok"])
    await asyncio.sleep(run.seconds)
    run.figures["viewer"] = seen(run.witness.frames, begin, _now_ms())
    run.figures["told"] = message


async def _tracker(run: Run) -> None:
    begin = _now_ms()
    os.kill(run.detector(), signal.SIGKILL)
    run.figures["noticed_s"] = await run.log.wait_for_state(lambda state: not state["source_ok"])
    run.figures["told"] = run.log.state["message"]
    since_noticed_s = await run.log.wait_for_state(lambda state: state["source_ok"])
    if since_noticed_s is not None and run.figures["noticed_s"] is not None:
        run.figures["recovered_s"] = round(run.figures["noticed_s"] + since_noticed_s, 2)
    await asyncio.sleep(run.seconds)
    run.figures["viewer"] = seen(run.witness.frames, begin, _now_ms())
    run.figures["tracker_restarts"] = run.log.metrics["tracker_restarts"]


async def _compare(run: Run, watcher: Watcher, begin: float, end: float) -> None:
    await asyncio.sleep(1.0)  # rows come every half second
    run.figures["viewer"] = seen(watcher.frames, begin, end)
    run.figures["witness"] = seen(run.witness.frames, begin, end)
    run.figures["viewer_lost_packets"] = watcher.stats.get("packetsLost", 0)
    run.figures["viewer_freezes"] = watcher.stats.get("freezeCount", 0)


@dataclass(frozen=True, slots=True)
class Case:
    """A fault by name."""

    text: str
    run: Callable[[Run], Awaitable[None]]
    needs_link: bool = False
    camera: bool = False  # the clip plays a camera device instead of a file


CASES = {
    "loss-1": Case("1 % of packets lost", lambda run: _bad_link(run, LinkQuality(loss=0.01)), True),
    "loss-5": Case("5 % of packets lost", lambda run: _bad_link(run, LinkQuality(loss=0.05)), True),
    "slow": Case("1 Mb/s link", lambda run: _bad_link(run, LinkQuality(bits_per_second=1e6)), True),
    "dark": Case(f"link dark for {DARK_S:g} s", _dark_link, True),
    "stalled": Case(f"viewer reads nothing for {STALL_S:g} s", _stalled),
    "crowd": Case("20 viewers", _crowd),
    "vanished": Case("viewer killed, no goodbye", _vanished),
    "camera": Case("camera unplugged and back", _camera, camera=True),
    "tracker": Case("tracker process killed", _tracker),
}


@on_this_machine
def measure(
    clip: str | None = None,
    avatar_name: str = DEFAULT_AVATAR,
    seconds: float = 10.0,
    cases: Sequence[str] = tuple(CASES),
) -> dict[str, Any]:
    """Every case: `{"cases": {name: {"viewer", "witness", "recovered_s", "before", "after", ..}}, ..}`.

    A case that this machine cannot do holds `"skipped"` instead. Raises UsageError when there is no Chromium.
    """
    if find_chromium() is None:
        raise UsageError("no Chromium found to watch the stream; install one (apt install chromium)")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="visavis-bench-") as name:
        source = Path(clip) if clip is not None else Path(name) / "filmed.mp4"
        if clip is None:
            film(source, avatar_name, CLIP_S)
        for case in cases:
            reason = why_not() if CASES[case].needs_link else None
            if reason is not None:
                results[case] = {"skipped": reason}
            else:
                results[case] = asyncio.run(_measured(CASES[case], str(source), avatar_name, seconds))
            print(row(case, results[case]), file=sys.stderr, flush=True)
    return {
        "bench": "faults",
        "input": Path(clip).name if clip is not None else "built-in motion, filmed",
        "avatar": avatar_name,
        "seconds": seconds,
        "cases": results,
    }


async def _measured(case: Case, clip: str, avatar: str, seconds: float) -> dict[str, Any]:
    ports = free_ports(2)
    origins = [word for port in ports for word in ("--allow-origin", f"http://127.0.0.1:{port}")]
    # links and their viewers need an address that is not this machine's loopback
    options = ["--avatar", avatar, "--timecode", "--host", "0.0.0.0", "--token", TOKEN, *origins]
    module = "bench.viewing.unpluggable" if case.camera else "engine.cli"
    os.environ["VISAVIS_BENCH_CLIP"] = clip
    with LiveServerProcess([*options, *([] if case.camera else ["--input", clip])], module) as server:
        address = f"http://127.0.0.1:{server.port}"
        async with (
            Watcher(address, page_port=ports[0], token=TOKEN) as witness,
            ServerLog(address, TOKEN) as log,
        ):
            await asyncio.sleep(WARMUP_S)
            before = _holdings(server.pid)
            run = Run(server, witness, log, ports, seconds)
            await case.run(run)
            await asyncio.sleep(SETTLE_S)
            after = _holdings(server.pid)
            return {
                **run.figures,
                "most_queued_pictures": log.most_queued,
                "sessions_after": log.metrics["sessions"],
                "before": before,
                "after": after,
            }


def _holdings(pid: int) -> dict[str, float]:
    """Of the server and what it started, summed."""
    found = [held for process in (pid, *children(pid)) if (held := holdings(process)) is not None]
    return {
        name: round(sum(getattr(held, name) for held in found), 1) for name in asdict(Holdings(0, 0, 0, 0))
    }


def free_ports(num: int) -> list[int]:
    """Ports of this machine that nobody listens on now."""
    probes = [socket.socket() for _ in range(num)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


HEADER = (
    f"{'':32} {'shown fps':>9} {'p50':>6} {'p95':>6} {'gap ms':>7} {'back s':>6} "
    f"| {'witness':>7} {'p95':>6} {'gap ms':>7} | {'queue':>5} {'MB':>12} {'threads':>8} {'files':>8}"
)


def row(name: str, result: dict[str, Any]) -> str:
    """One case for people."""
    text = f"{CASES[name].text:32}"
    if "skipped" in result:
        return f"{text} skipped: {result['skipped']}"
    viewer, witness = result.get("viewer", {}), result.get("witness", {})
    before, after = result["before"], result["after"]

    def cell(value: float | None, width: int, digits: int = 0) -> str:
        return f"{'-' if value is None else format(value, f'.{digits}f'):>{width}}"

    return (
        f"{text} {cell(viewer.get('shown_fps'), 9, 1)} {cell(viewer.get('p50_ms'), 6)} "
        f"{cell(viewer.get('p95_ms'), 6)} {cell(viewer.get('largest_gap_ms'), 7)} "
        f"{cell(result.get('recovered_s'), 6, 1)} | {cell(witness.get('shown_fps'), 7, 1)} "
        f"{cell(witness.get('p95_ms'), 6)} {cell(witness.get('largest_gap_ms'), 7)} | "
        f"{result['most_queued_pictures']:5.0f} {before['pss_mb']:5.0f} > {after['pss_mb']:4.0f} "
        f"{before['threads']:3.0f} > {after['threads']:2.0f} {before['files']:3.0f} > {after['files']:2.0f}"
    )


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    return "\n".join(
        [
            f"{result['input']} -> {result['avatar']}",
            "viewer that meets the fault (of 20 viewers: the worst; of camera and tracker: everybody) | the "
            "one beside it | the server before > after",
            HEADER,
            *(row(name, case) for name, case in result["cases"].items()),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", metavar="VIDEO")
    parser.add_argument("--avatar", default=DEFAULT_AVATAR)
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="watched in or after each fault (%(default)g)"
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    add_save_option(parser)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends server and viewers too, as Ctrl-C does
    result = measure(args.input, args.avatar, args.seconds, args.cases)
    publish(result, table(result), save=args.save)


if __name__ == "__main__":
    main()
