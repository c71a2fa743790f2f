"""Asking a live server over HTTP and watching it with aiortc, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp
import av
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

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
            await ask_async(urljoin(url, answer.headers["Location"]), "DELETE")


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a self-signed P-256 certificate for localhost and its key as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    certificate = (
        builder.not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "cert.pem", folder / "key.pem"
