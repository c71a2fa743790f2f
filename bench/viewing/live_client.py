"""An independent WHEP client in headless Chromium that measures a live server by the timecodes it sees."""

from __future__ import annotations

import http.server
import json
import threading
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any

import numpy as np

from bench.viewing.chromium import Chromium
from capture.closing import Closing

PAGE = "live_client.html"
CLOCK_TRUST_MS = 10_000.0  # a timecode further from the clock than this was not read right


@dataclass(frozen=True, slots=True)
class WatchReport:
    """What the client saw, after a warm-up."""

    seconds: float
    displayed_fps: float
    num_displayed: int
    num_unreadable: int  # frames whose timecode made no sense
    num_repeated: int  # displayed again although nothing newer had come
    largest_gap_ms: float  # between two displayed frames
    latency_p50_ms: float  # from the timecode, the arrival of the driving frame, to the callback at display
    latency_p95_ms: float
    latency_p99_ms: float
    latency_max_ms: float
    first_picture_ms: float  # from the POST
    bits_per_second: float
    lost_packets: int
    num_freezes: int
    width: int
    height: int

    def as_dict(self) -> dict[str, float]:
        return {name: round(value, 3) for name, value in asdict(self).items()}


class ClientOrigin(Closing):
    """Serves the client's page from an origin of its own, as a stranger's site would: `with ClientOrigin()`.

    The live server must be started with `--allow-origin` of this address.
    """

    def __init__(self, port: int = 0) -> None:
        page = (resources.files("bench.viewing") / PAGE).read_bytes()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="client page", daemon=True)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> ClientOrigin:
        self._thread.start()
        return self

    def close(self) -> None:
        """Serve the page no longer."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


async def measure_watching(
    browser: Chromium,
    client: ClientOrigin,
    server: str,
    *,
    seconds: float = 10.0,
    warmup_s: float = 3.0,
    codec: str = "",
) -> WatchReport:
    """Watch `server` (its address without a path) and report what was displayed.

    Raises ChromiumError when the server refuses or shows nothing.
    """
    await browser.goto(client.origin)
    return await measure_again(browser, server, seconds=seconds, warmup_s=warmup_s, codec=codec)


async def measure_again(
    browser: Chromium, server: str, *, seconds: float = 10.0, warmup_s: float = 3.0, codec: str = ""
) -> WatchReport:
    """As `measure_watching`, on the client's page that is already open (and may be sending a camera)."""
    wish = {"server": server, "codec": codec, "warmup": warmup_s, "seconds": seconds}
    seen = await browser.evaluate(f"measure({json.dumps(wish)})", timeout_s=seconds + warmup_s + 60)
    return summarise(seen, seconds)


async def start_sending(
    browser: Chromium, server: str, *, width: int, height: int, fps: float
) -> dict[str, Any]:
    """Send the browser's camera with WHIP from the open client's page; gives the camera's settings."""
    wish = {"server": server, "width": width, "height": height, "fps": fps}
    settings: dict[str, Any] = await browser.evaluate(f"send({json.dumps(wish)})")
    return settings


async def stop_sending(browser: Chromium) -> list[tuple[float, int]]:
    """End it; (Unix ms, timecode) of every frame the camera gave."""
    return [(float(row[0]), int(row[1])) for row in await browser.evaluate("stopSending()")]


def summarise(seen: dict[str, Any], seconds: float) -> WatchReport:
    """Turn the page's rows into figures. Raises ValueError when fewer than two frames were seen."""
    rows = np.asarray(seen["frames"], float).reshape(-1, 4)
    if len(rows) < 2:
        raise ValueError(f"the client saw {len(rows)} frames in {seconds:g} s: is the source running?")
    shown_ms, codes = rows[:, 0], rows[:, 1]
    latency = shown_ms - codes
    readable = np.abs(latency) < CLOCK_TRUST_MS
    if not readable.any():
        raise ValueError("no displayed frame carries a timecode: start the server with --timecode")
    p50, p95, p99 = np.percentile(latency[readable], [50, 95, 99])
    before, after = seen["before"], seen["after"]

    def grown(name: str) -> float:
        return float(after.get(name, 0) - before.get(name, 0))

    return WatchReport(
        seconds=seconds,
        displayed_fps=1e3 * (len(rows) - 1) / (shown_ms[-1] - shown_ms[0]),
        num_displayed=len(rows),
        num_unreadable=int((~readable).sum()),
        num_repeated=int((np.diff(codes[readable]) <= 0).sum()),
        largest_gap_ms=float(np.diff(shown_ms).max()),
        latency_p50_ms=float(p50),
        latency_p95_ms=float(p95),
        latency_p99_ms=float(p99),
        latency_max_ms=float(latency[readable].max()),
        first_picture_ms=float(seen["first_picture_ms"] or 0.0),
        bits_per_second=8 * grown("bytesReceived") / seconds,
        lost_packets=int(grown("packetsLost")),
        num_freezes=int(grown("freezeCount")),
        width=int(seen["width"]),
        height=int(seen["height"]),
    )
