"""Watching by WHEP and sending by WHIP over real WebRTC connections, without a browser."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from aioice import stun
from aiortc import RTCSessionDescription, VideoStreamTrack

from tests.transport.live_client import (
    FRAGMENT,
    SDP,
    ask_async,
    luma_timecode,
    new_connection,
    offer,
    watching,
    write_certificate,
)
from tests.transport.synthetic_live import SyntheticLive
from transport.http.server import ServerSettings
from transport.http.stream import DEFAULT_STREAM
from transport.webrtc import patches as aiortc_patches
from transport.webrtc.camera import BrowserCamera


@pytest.mark.parametrize("codec", ["h264", "vp8"])
def test_a_whep_client_sees_the_stream_and_its_timecodes(live: SyntheticLive, codec: str) -> None:
    async def run() -> None:
        async with watching(live.url, f"?codec={codec}") as (_, track, answer):
            codes = []
            for _ in range(12):
                frame = await asyncio.wait_for(track.recv(), 10)
                codes.append(luma_timecode(frame))
            assert codes == sorted(set(codes))
            assert abs(codes[-1] - time.time() * 1e3) < 5000  # the clock of this very machine
            assert f"{codec.upper()}/90000" in answer.text
            assert "playout-delay" in answer.text
            gone = await ask_async(live.url + answer.headers["Location"], "DELETE")
            assert gone.status == 200
            assert (await ask_async(live.url + answer.headers["Location"], "DELETE")).status == 404

    asyncio.run(run())


def test_the_answer_of_whep_follows_the_draft(live: SyntheticLive) -> None:
    async def run() -> None:
        async with watching(live.url) as (_, _, answer):
            assert answer.headers["Content-Type"].startswith("application/sdp")
            assert re.fullmatch(r"/whep/[\w-]{20,}", answer.headers["Location"])
            assert re.fullmatch(r'"[0-9a-f]+"', answer.headers["ETag"])
            assert answer.headers["Accept-Patch"] == FRAGMENT
            assert "Link" not in answer.headers
            assert "a=candidate" in answer.text
            assert "a=sendonly" in answer.text

    asyncio.run(run())


def test_candidates_can_follow_and_restarts_are_refused(live: SyntheticLive) -> None:
    async def run() -> None:
        async with watching(live.url) as (connection, _, answer):
            resource = live.url + answer.headers["Location"]
            ufrag = re.search(r"a=ice-ufrag:(\S+)", connection.localDescription.sdp)
            assert ufrag is not None
            body = (
                f"a=ice-ufrag:{ufrag[1]}\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
                "a=candidate:9 1 udp 1 127.0.0.1 9 typ host\r\n"
            )
            headers = {"Content-Type": FRAGMENT, "If-Match": answer.headers["ETag"]}

            async def patch(data: str, **changed: str) -> int:
                given_headers = {key: value for key, value in (headers | changed).items() if value}
                return (await ask_async(resource, "PATCH", data=data, headers=given_headers)).status

            assert await patch(body) == 204
            assert await patch(body.replace(ufrag[1], "other")) == 422
            assert await patch(body, **{"If-Match": "*"}) == 422
            assert await patch(body, **{"If-Match": '"0"'}) == 412
            assert await patch(body, **{"If-Match": ""}) == 428
            assert await patch(body, **{"Content-Type": "application/sdp"}) == 415
            assert await patch(body.replace("a=mid:0", "a=mid:7")) == 400
            assert await patch("nonsense") == 400
            assert (
                await ask_async(live.url + "/whep/unknown", "PATCH", data=body, headers=headers)
            ).status == 404
            as_whip = resource.replace("/whep/", "/whip/")
            assert (await ask_async(as_whip, "DELETE")).status == 404

    asyncio.run(run())


def test_a_whip_client_sends_its_camera(live: SyntheticLive) -> None:
    class Camera(VideoStreamTrack):
        """Flat pictures whose brightness grows."""

        count = 0

        async def recv(self) -> av.VideoFrame:
            pts, time_base = await self.next_timestamp()
            frame = av.VideoFrame.from_ndarray(
                np.full((120, 160, 3), 60 + self.count, np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = pts, time_base
            self.count += 1
            return frame

    async def run() -> None:
        assert live.camera is not None
        connection = new_connection()
        answer = await ask_async(
            live.url + "/whip",
            "POST",
            headers=SDP,
            data=await offer(connection, track=Camera(), direction="sendonly"),
        )
        assert answer.status == 201
        assert "x-google-start-bitrate" in answer.text
        await connection.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        frames = [await asyncio.to_thread(live.camera.read, 10) for _ in range(8)]
        indices = [frame.index for frame in frames if frame is not None]
        levels = [int(frame.rgb.mean()) for frame in frames if frame is not None]
        assert frames[0] is not None
        assert frames[0].rgb.shape == (120, 160, 3)
        assert indices == sorted(set(indices))
        assert levels == sorted(levels)
        assert all(abs(frame.capture_ns - time.time_ns()) < 10e9 for frame in frames if frame is not None)
        assert live.camera.connected
        # the newest sender takes the place of the one before
        second = new_connection()
        replaced = await ask_async(
            live.url + "/whip",
            "POST",
            headers=SDP,
            data=await offer(second, track=Camera(), direction="sendonly"),
        )
        assert replaced.status == 201
        assert (await ask_async(live.url + answer.headers["Location"], "DELETE")).status == 404
        assert (await ask_async(live.url + replaced.headers["Location"], "DELETE")).status == 200
        assert not live.camera.connected
        await connection.close()
        await second.close()

    asyncio.run(run())


def test_a_slow_decoder_holds_nobody_up_when_its_sender_leaves() -> None:
    class SlowCamera(BrowserCamera):
        def __init__(self) -> None:
            super().__init__()
            self.busy = threading.Event()

        def accept(self, picture: av.VideoFrame, arrival_ns: int) -> None:
            self.busy.set()
            time.sleep(1.5)

    async def run(url: str) -> float:
        connection = new_connection()
        body = await offer(connection, track=VideoStreamTrack(), direction="sendonly")
        answer = await ask_async(url + "/whip", "POST", data=body, headers=SDP)
        await connection.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        assert await asyncio.to_thread(camera.busy.wait, 10)
        leaving = asyncio.create_task(ask_async(url + answer.headers["Location"], "DELETE"))
        await asyncio.sleep(0.1)
        begin = time.monotonic()
        assert (await ask_async(url + "/healthz")).status == 200
        seconds = time.monotonic() - begin
        assert (await leaving).status == 200
        await connection.close()
        return seconds

    camera = SlowCamera()
    with SyntheticLive(ServerSettings(port=0), width=384, height=64, camera=camera) as running:
        assert asyncio.run(run(running.url)) < 0.75  # half of what the decoder takes


class StunServer(asyncio.DatagramProtocol):
    """Tells everybody the same outer address, as a NAT's one would be."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        asked = stun.parse_message(data)
        answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, asked.transaction_id)
        answer.attributes["XOR-MAPPED-ADDRESS"] = ("203.0.113.9", 4242)
        self._transport.sendto(bytes(answer), address)


def test_a_stun_server_adds_the_outer_address() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(StunServer, local_addr=("127.0.0.1", 0))
        url = "stun:127.0.0.1:{}".format(transport.get_extra_info("sockname")[1])
        settings_ = ServerSettings(port=0, ice_servers=(url,))
        with SyntheticLive(settings_, width=384, height=64) as running:
            async with watching(running.url) as (_, track, answer):
                assert "203.0.113.9 4242 typ srflx" in answer.text
                assert answer.headers["Link"] == f'<{url}>; rel="ice-server"'
                await asyncio.wait_for(track.recv(), 10)
            assert (await ask_async(running.url + "/api/state")).json["ice_servers"] == [url]
        transport.close()

    asyncio.run(run())


def test_no_stun_server_is_asked_from_loopback() -> None:
    """One elsewhere never answers there, and every viewer would wait five seconds for it."""
    asked: list[str] = []

    async def stock(protocol: SimpleNamespace, server: tuple[str, int]) -> None:
        asked.append(protocol.local_candidate.host)

    async def run() -> None:
        ask_stun = aiortc_patches._not_from_loopback(stock)
        for host in ("127.0.0.1", "192.0.2.7"):
            protocol = SimpleNamespace(local_candidate=SimpleNamespace(host=host))
            with contextlib.suppress(ConnectionError):
                await ask_stun(protocol, ("stun.example.org", 3478))

    asyncio.run(run())
    assert asked == ["192.0.2.7"]


def test_who_sits_on_this_machine_is_seen_from_the_media(
    live: SyntheticLive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy may bring the request from anywhere to anywhere: only the pictures' way counts."""
    sessions = live.server._open[DEFAULT_STREAM].sessions

    async def unlimited() -> bool:
        async with watching(live.url) as (_, track, _answer):
            await asyncio.wait_for(track.recv(), 10)
            (session,) = sessions.viewers()
            assert session.viewer is not None
            return session.viewer.rate.unlimited

    with monkeypatch.context() as elsewhere:  # the request seems to come from another machine
        elsewhere.setattr("transport.http.signalling.is_loopback", lambda host: False)
        assert asyncio.run(unlimited()) is True
    monkeypatch.setattr("transport.webrtc.sessions.is_on_this_machine", lambda connection: False)
    assert asyncio.run(unlimited()) is False


def test_one_viewer_too_many_is_told_to_come_back(live: SyntheticLive) -> None:
    async def run() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(4):
                await stack.enter_async_context(watching(live.url))
            connection = new_connection()
            answer = await ask_async(live.url + "/whep", "POST", data=await offer(connection), headers=SDP)
            await connection.close()
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "5"
        async with watching(live.url):
            assert live.figures()["sessions"] == 1

    asyncio.run(run())


FFMPEG_CLIENT = """
import sys, time
from fractions import Fraction
import av, numpy as np
url, token, certificate, key = sys.argv[1:]
options = {"authorization": token, "cert_file": certificate, "key_file": key, "handshake_timeout": "5000"}
container = av.open(url, "w", format="whip", options=options)
stream = container.add_stream("libx264", rate=30)
stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
stream.options = {"preset": "superfast", "tune": "zerolatency", "profile": "baseline", "bf": "0"}
for index in range(60):
    frame = av.VideoFrame.from_ndarray(np.full((240, 320, 3), 40 + 3 * index, np.uint8), format="rgb24")
    frame.pts, frame.time_base = index, Fraction(1, 30)
    container.mux(stream.encode(frame))
    time.sleep(1 / 30)
container.close()
"""


def test_ffmpegs_own_whip_client_can_send(tmp_path: Path) -> None:
    """Another implementation of WHIP, with a token; ours is not only understood by ourselves."""
    certificate, key = write_certificate(tmp_path)
    camera = BrowserCamera()
    settings_ = ServerSettings(port=0, token="secret")
    with SyntheticLive(settings_, width=384, height=64, camera=camera) as running:
        url = f"http://127.0.0.1:{running.server.port}/whip"
        command = [sys.executable, "-c", FFMPEG_CLIENT, url, "secret", str(certificate), str(key)]
        client = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            first = camera.read(20)
            assert first is not None
            assert first.rgb.shape == (240, 320, 3)
            assert client.wait(20) == 0, client.stderr.read() if client.stderr else ""
            last = camera._latest.peek()
            assert last is not None
            assert last.index > 30  # of 60, the first ones lie before the first key frame
            # flat grey survives H.264 to 3 of 255 levels
            assert abs(int(last.rgb.mean()) - (40 + 3 * 59)) <= 3
        finally:
            client.kill()
            client.wait()
        deadline = time.monotonic() + 5
        while camera.connected:  # the client's DELETE
            assert time.monotonic() < deadline
            time.sleep(0.02)
