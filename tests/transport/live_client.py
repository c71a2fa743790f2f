"""Asking a live server over HTTP and watching it with aiortc, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import aiohttp
import av
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from transport.timecode import read_timecode

SDP = {"Content-Type": "application/sdp"}
FRAGMENT = "application/trickle-ice-sdpfrag"


def luma_timecode(frame: av.VideoFrame) -> int:
    """The timecode of a decoded picture."""
    return read_timecode(frame.to_ndarray(format="yuv420p").astype(np.uint8))


class Answer:
    """Status, headers and body of one exchange."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask_async(url: str, method: str = "GET", **options: Any) -> Answer:
    async with aiohttp.ClientSession() as http, http.request(method, url, **options) as response:
        return Answer(response.status, response.headers, await response.read())


def ask(url: str, method: str = "GET", **options: Any) -> Answer:
    return asyncio.run(ask_async(url, method, **options))


async def offer(connection: RTCPeerConnection, **options: Any) -> str:
    connection.addTransceiver(options.get("track", "video"), direction=options.get("direction", "recvonly"))
    await connection.setLocalDescription(await connection.createOffer())
    return str(connection.localDescription.sdp)


def new_connection() -> RTCPeerConnection:
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))


@contextlib.asynccontextmanager
async def watching(url: str, query: str = "", headers: dict[str, str] | None = None) -> Any:
    """A WHEP client of aiortc: the connection, its track and the POST's answer."""
    connection = new_connection()
    tracks: list[Any] = []
    connection.on("track", tracks.append)
    answer = None
    try:
        body = await offer(connection)
        answer = await ask_async(url + "/whep" + query, "POST", data=body, headers=SDP | (headers or {}))
        assert answer.status == 201, answer.text
        await connection.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        yield connection, tracks[0], answer
    finally:
        await connection.close()
        if answer is not None and "Location" in answer.headers:
            await ask_async(url + answer.headers["Location"], "DELETE")
