"""The page's files, its controls, recordings, and a clean start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import aiohttp
import av
import cv2
import numpy as np
import pytest
from aiortc import RTCSessionDescription

from tests.transport.live_client import (
    SDP,
    Answer,
    ask,
    ask_async,
    luma_timecode,
    new_connection,
    offer,
    watching,
    write_certificate,
)
from tests.transport.synthetic_live import SyntheticLive
from transport.errors import OutputError
from transport.http import server as server_module
from transport.http.server import LiveServer, ServerSettings


def test_the_page_needs_nothing_from_elsewhere(live: SyntheticLive) -> None:
    page = ask(live.url + "/")
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    assert page.headers["X-Frame-Options"] == "DENY"
    seen, waiting = set(), ["/"]
    while waiting:
        path = waiting.pop()
        seen.add(path)
        answer = ask(live.url + path)
        assert answer.status == 200, path
        assert not re.findall(r"""(?:src|href|from|url|import)\s*[=(]?\s*["']?https?://""", answer.text), path
        found = re.findall(r'(?:href|src)="(/[^"]+)"', answer.text)
        found += ["/" + name for name in re.findall(r"""from '\./([\w.]+)'""", answer.text)]
        waiting += [name for name in found if name not in seen]
    assert {"/page.js", "/session.js", "/page.css", "/icon.svg", "/manifest.webmanifest"} <= seen


def test_health_and_metrics(live: SyntheticLive) -> None:
    assert ask(live.url + "/healthz").json == {"status": "ok"}
    metrics = ask(live.url + "/metrics").text
    assert re.search(r"^visavis_viewers \d+\.0$", metrics, re.M)
    assert re.search(r"^visavis_track_p50_ms 9\.1$", metrics, re.M)


def test_controls_reach_the_engine(live: SyntheticLive) -> None:
    def post(path: str, **body: Any) -> Answer:
        return ask(live.url + path, "POST", json=body)

    live.controls.wishes.clear()
    assert post("/api/avatar", name="elias").json["avatar"] == "elias"
    assert post("/api/neutral").json["has_neutral"] is True
    assert post("/api/mirror", mirror=False).json["mirror"] is False
    assert post("/api/orbit", yaw_deg=30, pitch_deg=-10, zoom=1.5).status == 204
    assert post("/api/background", colour="#102030").status == 200
    kinds = [kind for kind, _ in live.controls.wishes]
    assert kinds == ["avatar", "neutral", "mirror", "orbit", "background"]
    assert live.controls.view == (30.0, -10.0, 1.5)
    assert live.controls.background.rgb == (16, 32, 48)
    refused = post("/api/avatar", name="broken")
    assert refused.status == 422
    assert (
        refused.json["error"] == "avatar 'broken' cannot be opened: its file is damaged; choose another one"
    )


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/avatar", {}),
        ("/api/avatar", {"name": 5}),
        ("/api/mirror", {"mirror": 1}),
        ("/api/orbit", {"yaw_deg": "left", "pitch_deg": 0}),
        ("/api/orbit", {"yaw_deg": True, "pitch_deg": 0}),
        ("/api/background", {"colour": "red"}),
        ("/api/background", {"colour": "#12345"}),
        ("/api/background", {"blur": 9.0}),
        ("/api/record/stop", {}),
    ],
)
def test_bad_wishes_are_refused(live: SyntheticLive, path: str, body: dict[str, Any]) -> None:
    if "colour" not in body:
        ask(live.url + "/api/background", "POST", json={"colour": "#000000"})  # no picture to blur
    answer = ask(live.url + path, "POST", json=body)
    assert answer.status in (409, 422)
    assert answer.json["error"]


def test_a_background_picture_is_cut_and_blurred(live: SyntheticLive) -> None:
    rgb = np.zeros((300, 900, 3), np.uint8)
    rgb[:, :450] = (250, 20, 20)
    data = cv2.imencode(".jpg", rgb[..., ::-1])[1].tobytes()
    jpeg = {"Content-Type": "image/jpeg"}
    assert ask(live.url + "/api/background?blur=0", "POST", data=data, headers=jpeg).status == 200
    sharp = live.controls.background.picture
    assert sharp is not None
    state = live.controls.live
    assert sharp.shape == (state.height, state.width, 3)
    # JPEG keeps flat red to a few levels
    assert np.abs(sharp[10, 10].astype(int) - (250, 20, 20)).max() < 12
    assert ask(live.url + "/api/background", "POST", json={"blur": 1.0}).status == 200
    soft = live.controls.background.picture
    assert soft is not None
    middle = slice(state.width // 2 - 3, state.width // 2 + 3)
    assert np.ptp(soft[10, middle, 0].astype(int)) < 60 < np.ptp(sharp[10, middle, 0].astype(int))
    for bad in (b"", b"\xff\xd8nonsense", data[:200], b"\x89PNG"):
        assert ask(live.url + "/api/background", "POST", data=bad, headers=jpeg).status == 422
    huge = b"\xff\xd8\xff\xc0\x00\x11\x08" + (65000).to_bytes(2, "big") * 2 + b"\x03" * 20
    assert "24 million" in ask(live.url + "/api/background", "POST", data=huge, headers=jpeg).json["error"]
    assert ask(live.url + "/api/background", "POST", data=b"x" * (7 << 20), headers=jpeg).status == 413


def test_a_recording_is_made_and_handed_out(live: SyntheticLive) -> None:
    started = ask(live.url + "/api/record/start", "POST")
    assert started.status == 201
    assert ask(live.url + "/api/record/start", "POST").status == 409
    deadline = time.monotonic() + 15
    while ask(live.url + "/api/state").json["recording"]["seconds"] < 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    stopped = ask(live.url + "/api/record/stop", "POST").json
    assert stopped["name"] == started.json["name"]
    assert stopped["seconds"] > 0.9  # the state rounds to a tenth
    data = ask(live.url + "/api/recordings/" + stopped["name"])
    assert data.headers["Content-Disposition"].startswith("attachment")
    path = Path(str(live.server._settings.recordings_dir)) / stopped["name"]
    assert data.body == path.read_bytes()
    with av.open(str(path)) as container:
        codes = [luma_timecode(frame) for frame in container.decode(video=0)]
    assert codes == sorted(set(codes))
    assert len(codes) > 15


def test_a_taken_port_is_one_clear_line() -> None:
    before = {thread.name for thread in threading.enumerate()}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        live = SyntheticLive(ServerSettings(port=port), width=384, height=64)
        with pytest.raises(OutputError, match=f"cannot listen on 127.0.0.1:{port}: .* choose another --port"):
            live._server_thread.start()
    assert {thread.name for thread in threading.enumerate()} <= before


def test_a_foreign_address_is_one_clear_line() -> None:
    live = SyntheticLive(ServerSettings("203.0.113.7", 0), width=384, height=64)
    with pytest.raises(OutputError, match=r"no such address; choose another --host"):
        live._server_thread.start()


def test_a_bad_certificate_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot use the certificate .*missing\.pem"):
        LiveServer({}, ServerSettings(certificate=tmp_path / "missing.pem"))


def test_with_a_certificate_the_page_comes_over_tls(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    settings_ = ServerSettings("localhost", 0, certificate=certificate, private_key=key)
    with SyntheticLive(settings_, width=384, height=64) as running:
        assert running.server.address == f"https://localhost:{running.server.port}/"
        assert running.server.notes == []
        trust = ssl.create_default_context(cafile=certificate)
        assert ask(running.url + "/healthz", ssl=trust).json == {"status": "ok"}
        own = {"Origin": f"https://localhost:{running.server.port}"}
        assert ask(running.url + "/api/state", ssl=trust, headers=own).status == 200
        plain = {"Origin": own["Origin"].replace("https", "http")}
        assert ask(running.url + "/api/state", ssl=trust, headers=plain).status == 403


def test_a_connection_too_many_is_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 3)
    with SyntheticLive(ServerSettings(port=0), width=384, height=64) as running:
        address = ("127.0.0.1", running.server.port)
        held = [socket.create_connection(address) for _ in range(3)]
        deadline = time.monotonic() + 5
        answer = b""
        while not answer.startswith(b"HTTP/1.1 503") and time.monotonic() < deadline:
            with socket.create_connection(address, timeout=0.5) as extra, contextlib.suppress(TimeoutError):
                answer = extra.recv(1000)
        assert answer.startswith(b"HTTP/1.1 503")
        for connection in held:
            connection.close()
        until_answered(running.url + "/healthz")


def until_answered(url: str) -> None:
    deadline = time.monotonic() + 5
    while ask(url).status != 200:
        assert time.monotonic() < deadline


def test_stopping_frees_threads_and_sockets() -> None:
    def run_once() -> None:
        with SyntheticLive(ServerSettings(port=0), width=384, height=64) as running:
            url = running.url

            async def watch() -> None:
                connection = new_connection()
                tracks: list[Any] = []
                connection.on("track", tracks.append)
                answer = await ask_async(url + "/whep", "POST", data=await offer(connection), headers=SDP)
                await connection.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
                await asyncio.wait_for(tracks[0].recv(), 10)
                await connection.close()

            asyncio.run(watch())
        with pytest.raises(aiohttp.ClientConnectionError):
            ask(url + "/healthz")

    run_once()  # what is made once per process, such as executors and caches, stays
    threads, descriptors = threading.active_count(), _num_descriptors()
    for _ in range(3):
        run_once()
    assert threading.active_count() <= threads
    assert _num_descriptors() <= descriptors


def test_stopping_keeps_nobody_waiting(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the one who stops it, with viewers and a running wish, nor anything else on the event loop."""
    gaps: list[float] = []

    async def beat() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - last)
            last = time.monotonic()

    def load_long(name: str) -> None:
        loading.set()
        time.sleep(1.5)

    async def watch_and_stop(running: SyntheticLive) -> float:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(3):
                _, track, _ = await stack.enter_async_context(watching(running.url))
                await asyncio.wait_for(track.recv(), 10)
            loop = running._server_thread._loop
            assert loop is not None
            beating = asyncio.run_coroutine_threadsafe(beat(), loop)
            wish = asyncio.create_task(ask_async(running.url + "/api/avatar", "POST", json={"name": "elias"}))
            await asyncio.to_thread(loading.wait, 5)
            gaps.clear()
            begin = time.monotonic()
            await asyncio.to_thread(running._server_thread.close)
            seconds = time.monotonic() - begin
            assert (await wish).status == 503
            assert beating.cancelled()
            stack.pop_all()  # there is no server to say goodbye to
            return seconds

    loading = threading.Event()
    with SyntheticLive(ServerSettings(port=0), width=384, height=64) as running:
        running.controls.choose_avatar = load_long  # type: ignore[method-assign]
        # the wish itself takes 1.5 s, and open connections have 2 s to end
        assert asyncio.run(watch_and_stop(running)) < 5
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
    assert max(gaps) < 0.75  # half of what the wish would have held it up; the machine may be busy


def _num_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
