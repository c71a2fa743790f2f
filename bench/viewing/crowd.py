"""Many WHEP viewers in one process that take every packet and decode nothing, so that a machine bears them.

    python -m bench.viewing.crowd SERVER --viewers 19 [--token T]

Says `ready` when all are connected; when its stdin ends it leaves and prints one JSON line with what each
got: `{"fps": [..], "largest_gap_ms": [..]}`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import queue
import sys
import threading
import time
from typing import Any

import aiohttp
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription, rtcrtpreceiver

from transport.webrtc import patches as aiortc_patches


class _Viewer:
    """One connection and when its frames were complete."""

    def __init__(self) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.arrivals: list[float] = []
        self.resource = ""

    async def join(self, http: aiohttp.ClientSession, server: str) -> None:
        self.connection.addTransceiver("video", direction="recvonly")
        self.connection.on("track", lambda track: setattr(track, "_queue", self.arrivals))
        await self.connection.setLocalDescription(await self.connection.createOffer())
        headers = {"Content-Type": "application/sdp"}
        body = self.connection.localDescription.sdp
        async with http.post(server + "/whep", data=body, headers=headers) as answer:
            answer.raise_for_status()
            self.resource = server + answer.headers["Location"]
            await self.connection.setRemoteDescription(RTCSessionDescription(await answer.text(), "answer"))

    async def leave(self, http: aiohttp.ClientSession) -> None:
        await self.connection.close()
        async with http.delete(self.resource):
            pass


def _count_arriving(
    loop: asyncio.AbstractEventLoop, input_q: queue.Queue[Any], arrivals: Any, decode_error: threading.Event
) -> None:
    """Stands where aiortc decodes: notes when each frame was complete."""
    while input_q.get() is not None:
        arrivals.append(time.time() * 1e3)


async def _watch(server: str, token: str, num: int) -> None:
    aiortc_patches.install()
    rtcrtpreceiver.decoder_worker = _count_arriving  # type: ignore[assignment]
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    viewers = [_Viewer() for _ in range(num)]
    async with aiohttp.ClientSession(headers=headers) as http:
        for viewer in viewers:
            await viewer.join(http, server)
        while not all(viewer.arrivals for viewer in viewers):
            await asyncio.sleep(0.05)
        begin_ms = time.time() * 1e3
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        end_ms = time.time() * 1e3
        await asyncio.gather(*(viewer.leave(http) for viewer in viewers))
    times = [[t for t in viewer.arrivals if begin_ms <= t < end_ms] for viewer in viewers]
    gaps = [max(b - a for a, b in itertools.pairwise([begin_ms, *arrivals, end_ms])) for arrivals in times]
    rates = [round(1e3 * len(arrivals) / (end_ms - begin_ms), 1) for arrivals in times]
    print(json.dumps({"fps": rates, "largest_gap_ms": [round(gap) for gap in gaps]}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("server", help="its address without a path")
    parser.add_argument("--viewers", type=int, default=19)
    parser.add_argument("--token", default="")
    args = parser.parse_args()
    asyncio.run(_watch(args.server, args.token, args.viewers))


if __name__ == "__main__":
    main()
