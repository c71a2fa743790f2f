"""A viewer in a process of its own: Chromium with the independent WHEP client, reading timecodes.

    python -m bench.viewing.watcher SERVER [--token T] [--page-port P] [--codec vp8]

Every half second one JSON line: `{"frames": [[shown Unix ms, timecode ms], ..], "stats": {}, "state": ""}`.
It leaves with a DELETE when its stdin ends. `Watcher` is the other end of that pipe.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.processes import tree
from bench.viewing.chromium import Chromium, ChromiumError
from bench.viewing.live_client import CLOCK_TRUST_MS, ClientOrigin

LOOPBACK_FLAG = "--allow-loopback-in-peer-connection"
TAKE_EVERY_S = 0.5
START_S = 60.0  # two browsers may start on a busy machine
LEAVE_S = 10.0


class Watcher:
    """Starts a viewer and keeps what it saw: `async with Watcher(address, page_port=p) as watcher`."""

    def __init__(
        self, server: str, *, page_port: int, token: str = "", inside: Sequence[str] = (), codec: str = ""
    ) -> None:
        """`inside`: the words that put a command behind a shaped link. The server must allow `page_port`."""
        self._command = [
            *inside, sys.executable, "-m", "bench.viewing.watcher", server, "--page-port", str(page_port),
            "--token", token, "--codec", codec,
        ]  # fmt: skip
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._begun = asyncio.Event()
        # a browser that is killed leaves its profile behind
        self._folder = tempfile.TemporaryDirectory(prefix="visavis-watcher-", ignore_cleanup_errors=True)
        self.frames: list[tuple[float, float]] = []  # (shown, timecode), Unix ms
        self.stats: dict[str, Any] = {}  # of the connection, the newest
        self.state = "new"

    @property
    def pids(self) -> list[int]:
        """Of the viewer and its browser."""
        return tree(self._process.pid) if self._process is not None else []

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does: it reads nothing any more."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    async def kill(self) -> None:
        """End it at once, without a goodbye to the server."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        await self._process.wait()

    async def leave(self) -> None:
        """Say goodbye and end."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), LEAVE_S)
        except TimeoutError:
            await self.kill()

    async def __aenter__(self) -> Watcher:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"TMPDIR": self._folder.name},
            limit=1 << 24,
            start_new_session=True,  # Ctrl-C is for the measurement, which then ends its viewers
        )
        self._reading = asyncio.create_task(self._read())
        begun = asyncio.create_task(self._begun.wait())
        try:
            await asyncio.wait({self._reading, begun}, timeout=START_S, return_when="FIRST_COMPLETED")
            if not self._begun.is_set():
                raise RuntimeError("the viewer saw nothing; its messages stand above")
        except BaseException:
            await self._end()
            raise
        finally:
            begun.cancel()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._end()

    async def _end(self) -> None:
        self.thaw()  # a measurement that broke off may have left it frozen
        await self.leave()
        if self._reading is not None:
            await self._reading
        self._folder.cleanup()

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            with contextlib.suppress(json.JSONDecodeError):  # a line cut off where it was killed
                told = json.loads(line)
                self.frames += [(row[0], row[1]) for row in told["frames"]]
                self.stats, self.state = told["stats"], told["state"]
                if self.frames:
                    self._begun.set()

    def _signal(self, number: int) -> None:
        # the last started first: a browser whose children stop before it does not restart them
        for pid in reversed(self.pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def seen(frames: Sequence[tuple[float, float]], begin_ms: float, end_ms: float) -> dict[str, float | None]:
    """What was shown between two Unix times: fps, latency p50 and p95, largest time without a new frame."""
    rows = np.asarray([row for row in frames if begin_ms <= row[0] < end_ms], float).reshape(-1, 2)
    figures: dict[str, float | None] = {
        "shown_fps": round(1e3 * len(rows) / (end_ms - begin_ms), 1),
        "p50_ms": None,
        "p95_ms": None,
        "largest_gap_ms": round(float(np.diff([begin_ms, *rows[:, 0], end_ms]).max())),
    }
    latency = rows[:, 0] - rows[:, 1]
    latency = latency[np.abs(latency) < CLOCK_TRUST_MS]
    if len(latency):
        figures["p50_ms"], figures["p95_ms"] = (round(float(p), 1) for p in np.percentile(latency, [50, 95]))
    return figures


def steady_from_ms(
    frames: Sequence[tuple[float, float]], since_ms: float, *, window_ms: float, fps: float
) -> float | None:
    """The first displayed frame after `since_ms` that begins a window of at least `fps`; None: none does."""
    times = np.asarray([shown for shown, _ in frames if shown >= since_ms], float)
    for first, shown in enumerate(times):
        if shown + window_ms > times[-1]:
            return None
        num = int(np.searchsorted(times, shown + window_ms)) - first
        if num >= fps * window_ms / 1e3:
            return float(shown)
    return None


async def _watch(args: argparse.Namespace) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    goodbye = asyncio.create_task(reader.read())
    with ClientOrigin(args.page_port) as client:
        async with Chromium([LOOPBACK_FLAG]) as browser:
            await browser.goto(client.origin)
            wish = {"server": args.server, "codec": args.codec}
            await browser.evaluate(f"token = {json.dumps(args.token)}; beginWatching({json.dumps(wish)})")
            while not goodbye.done():
                await asyncio.wait({goodbye}, timeout=TAKE_EVERY_S)
                print(json.dumps(await browser.evaluate("takeWatched()")), flush=True)
            await browser.evaluate("endWatching()", timeout_s=5.0)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("server", help="its address without a path")
    parser.add_argument("--token", default="")
    parser.add_argument("--page-port", type=int, default=0, help="where the client's own page is served")
    parser.add_argument("--codec", default="")
    try:
        asyncio.run(_watch(parser.parse_args()))
    except BrokenPipeError:
        return 1  # whoever measures is gone
    except (ChromiumError, TimeoutError) as error:
        print(f"viewer: {error or 'the browser does not answer'}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
