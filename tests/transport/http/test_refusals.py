"""What the server refuses, how it says so, and that no request is a server error."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.transport.live_client import (
    FRAGMENT,
    SDP,
    Answer,
    ask,
    ask_async,
    new_connection,
    offer,
    watching,
)
from tests.transport.synthetic_live import SyntheticLive
from transport.http.security import AccessRules, is_loopback
from transport.http.server import ServerSettings


@pytest.mark.parametrize("path", ["/whep", "/whip"])
def test_bad_posts_get_a_clear_answer(live: SyntheticLive, path: str) -> None:
    def status(data: bytes, kind: str = "application/sdp") -> int:
        answer = ask(live.url + path, "POST", data=data, headers={"Content-Type": kind})
        assert len(answer.json["error"]) > 10
        assert "Traceback" not in answer.text
        return answer.status

    assert status(b"garbage") == 400
    assert status(b"\xff\xfe\x00") == 400
    assert status(b"v=0\r\n", "text/plain") == 415
    assert status(b"v" * 70_000) == 413
    audio = asyncio.run(_audio_offer())
    assert status(audio.encode()) == 406


async def _audio_offer() -> str:
    connection = new_connection()
    text = await offer(connection, track="audio", direction="sendrecv")
    await connection.close()
    return text


def test_a_body_without_a_length_is_bounded_too(live: SyntheticLive) -> None:
    async def run() -> int:
        async def chunks() -> Any:
            for _ in range(100):
                yield b"v=0\r\n" * 1000

        try:
            return (await ask_async(live.url + "/whep", "POST", data=chunks(), headers=SDP)).status
        except aiohttp.ClientConnectionError:
            return 413  # the server answered and hung up while the rest was still being sent

    assert asyncio.run(run()) == 413


@pytest.mark.parametrize("path", ["/whep", "/whip"])
def test_other_methods_are_refused_and_options_answered(live: SyntheticLive, path: str) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        answer = ask(live.url + path, method)
        assert answer.status == 405
        assert "POST" in answer.headers["Allow"]
    answer = ask(live.url + path, "OPTIONS")
    assert answer.status == 204
    assert answer.headers["Accept-Post"] == "application/sdp"
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/../etc/passwd",
        "/page.js/../../pyproject.toml",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/api/recordings/x",
        "/api/recordings/..%2f..%2fetc%2fpasswd",
        "/page/index.html",
        "/whep/",
        "/api/",
    ],
)
def test_there_is_no_way_to_other_files(live: SyntheticLive, path: str) -> None:
    with socket.create_connection(("127.0.0.1", live.server.port)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    assert answer.split()[1] == b"404", answer
    assert b"root:" not in answer


def test_a_foreign_host_name_is_refused(live: SyntheticLive) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "192.0.2.7", ""):
        assert ask(live.url + "/healthz", headers={"Host": host}).status == 403
    for host in ("localhost", "[::1]:80", f"127.0.0.1:{live.server.port}"):
        assert ask(live.url + "/healthz", headers={"Host": host}).status == 200


def test_pages_of_other_origins_are_refused(live: SyntheticLive) -> None:
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", live.url.replace("http", "https")):
        for method, path in (("POST", "/whep"), ("GET", "/api/state"), ("OPTIONS", "/whip"), ("GET", "/")):
            answer = ask(live.url + path, method, headers={"Origin": origin} | SDP)
            assert answer.status == 403, (origin, path)
            assert "Access-Control-Allow-Origin" not in answer.headers
    assert ask(live.url + "/api/state", headers={"Origin": live.url}).status == 200
    assert ask(live.url + "/api/state", headers={"Sec-Fetch-Site": "cross-site"}).status == 403


def test_an_allowed_origin_may_watch_and_read_the_headers() -> None:
    friend = "http://friend.example:8078"
    with SyntheticLive(ServerSettings(port=0, allow_origins=(friend,)), width=384, height=64) as running:
        preflight = ask(
            running.url + "/whep", "OPTIONS",
            headers={"Origin": friend, "Access-Control-Request-Method": "POST",
                     "Access-Control-Request-Private-Network": "true"},
        )  # fmt: skip
        assert preflight.status == 204
        assert preflight.headers["Access-Control-Allow-Origin"] == friend
        assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
        assert "PATCH" in preflight.headers["Access-Control-Allow-Methods"]
        assert preflight.headers["Access-Control-Allow-Private-Network"] == "true"

        async def run() -> Answer:
            async with watching(running.url, headers={"Origin": friend}) as (_, track, answer):
                await asyncio.wait_for(track.recv(), 10)
                return answer

        answer = asyncio.run(run())
        for name in ("Location", "ETag", "Link"):
            assert name in answer.headers["Access-Control-Expose-Headers"]
        assert ask(running.url + "/api/state", headers={"Origin": "http://other.example"}).status == 403


def test_beyond_this_machine_a_token_is_made_and_needed() -> None:
    with SyntheticLive(ServerSettings("0.0.0.0", 0), width=384, height=64) as running:
        token = running.server.token
        assert token is not None
        assert len(token) >= 20
        assert running.server.address.endswith(f"/#token={token}")
        assert any("TLS" in note for note in running.server.notes)
        url = f"http://127.0.0.1:{running.server.port}"
        assert ask(url + "/").status == 200
        assert ask(url + "/healthz").status == 200
        for path, method in (
            ("/whep", "POST"),
            ("/whip", "POST"),
            ("/api/state", "GET"),
            ("/metrics", "GET"),
        ):
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {token}"}):
                answer = ask(url + path, method, headers=headers)
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        right = {"Authorization": f"Bearer {token}"}
        assert ask(url + "/api/state", headers=right).status == 200
        assert ask(url + "/healthz", headers={"Host": "evil.example"}).status == 403
        assert ask(url + "/healthz", headers={"Host": "192.0.2.7:80"}).status == 200


def send_raw(port: int, head: bytes) -> bytes:
    """The status of an answer to a request that no HTTP library would send."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head + b"\r\nConnection: close\r\n\r\n")
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer.split()[1]


def test_bytes_that_are_no_text_are_refused_like_any_other() -> None:
    with SyntheticLive(ServerSettings(port=0, token="secr\u00e9t"), width=384, height=64) as running:

        def status(line: bytes, *headers: bytes) -> bytes:
            return send_raw(running.server.port, b"\r\n".join([line, b"Host: 127.0.0.1", *headers]))

        get = b"GET /api/state HTTP/1.1"
        assert status(get, b"Authorization: Bearer \xff\xfe") == b"401"
        assert status(get, b"Authorization: Bearer secr\xe9t") == b"401"  # Latin-1
        assert status(get, b"Authorization: \xff secr\xc3\xa9t") == b"401"
        token = b"Authorization: Bearer secr\xc3\xa9t"
        assert status(get, token) == b"200"
        assert status(get, token, b"Origin: http://\xff") == b"403"
        assert status(get, token, b"Sec-Fetch-Site: \xff") == b"200"
        assert status(b"GET /api/avatars/\xff/picture HTTP/1.1", token) in (b"400", b"404")
        post = b"POST /whep HTTP/1.1"
        assert status(post, token, b"Content-Type: \xff/\xfe", b"Content-Length: 0") == b"415"
        assert status(b"GET /s/\xff/api/state HTTP/1.1", token) in (b"400", b"404")
        assert send_raw(running.server.port, b"GET / HTTP/1.1\r\nHost: \xff") == b"403"


def test_behind_a_proxy_its_name_is_answered_and_a_token_needed() -> None:
    settings_ = ServerSettings(port=0, allow_hosts=("avatar.example.org",))
    with SyntheticLive(settings_, width=384, height=64) as running:
        host = {"Host": "avatar.example.org"}
        assert ask(running.url + "/healthz", headers=host).status == 200
        assert ask(running.url + "/healthz", headers={"Host": "other.example.org"}).status == 403
        assert ask(running.url + "/api/state", headers=host).status == 401
        given = host | {"Authorization": f"Bearer {running.server.token}"}
        assert ask(running.url + "/api/state", headers=given).status == 200
        for origin in ("http://avatar.example.org", "https://avatar.example.org"):
            assert ask(running.url + "/api/state", headers=given | {"Origin": origin}).status == 200
        for origin in (
            "https://other.example.org",
            "https://avatar.example.org:444",
            "ftp://avatar.example.org",
        ):
            assert ask(running.url + "/api/state", headers=given | {"Origin": origin}).status == 403
        here = {"Host": f"127.0.0.1:{running.server.port}", "Authorization": given["Authorization"]}
        spoofed = here | {"Origin": f"https://127.0.0.1:{running.server.port}"}
        assert ask(running.url + "/api/state", headers=spoofed).status == 403


def test_a_server_without_a_camera_says_so() -> None:
    with SyntheticLive(ServerSettings(port=0), width=384, height=64) as running:

        async def run() -> Answer:
            connection = new_connection()
            text = await offer(connection, direction="sendonly")
            await connection.close()
            return await ask_async(running.url + "/whip", "POST", data=text, headers=SDP)

        answer = asyncio.run(run())
        assert answer.status == 403
        assert "--browser" in answer.json["error"]


def test_loopback_names() -> None:
    for name in ("127.0.0.1", "127.9.9.9", "localhost", "::1", "[::1]", "::ffff:127.0.0.1"):
        assert is_loopback(name), name
    for name in ("0.0.0.0", "192.0.2.1", "localhost.evil.example", "", "127.0.0.1.evil.example", "::"):
        assert not is_loopback(name), name


@given(header=st.text(max_size=60))
def test_any_host_header_gets_a_verdict(header: str) -> None:
    rules = AccessRules("127.0.0.1")
    assert rules.allows_host(header) in (True, False)


PATHS = [
    *("/", "/whep", "/whip", "/whep/x", "/whip/%00", "/api/state", "/api/figures?session=%ff", "/api/avatar"),
    *("/api/neutral", "/api/mirror", "/api/orbit", "/api/background?blur=x", "/api/avatars/%2f/picture"),
    *(
        "/api/recordings/%2e%2e",
        "/metrics",
        "/healthz",
        "/\u00e9",
        "/api/time",
        "/page.js",
        "/whep?codec=%00",
    ),
    *("/api/record/start", "/api/record/stop", "/api/record", "/api/state?camera=%ff"),
]
KEYS = ["name", "mirror", "yaw_deg", "pitch_deg", "zoom", "colour", "blur"]
WISHES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=9),
    lambda inner: st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "PATCH", "DELETE", "OPTIONS", "PUT", "HEAD"]),
    path=st.sampled_from(PATHS),
    kind=st.sampled_from(["application/sdp", "application/json", "image/jpeg", FRAGMENT, "a/b", "", ";;"]),
    body=st.binary(max_size=300) | WISHES.map(lambda value: json.dumps(value).encode()),
    match=st.sampled_from([None, "*", '"x"', "\u00e9"]),
)
def test_no_request_is_a_server_error(
    live: SyntheticLive, method: str, path: str, kind: str, body: bytes, match: str | None
) -> None:
    headers = {"Content-Type": kind} | ({"If-Match": match} if match else {})
    answer = ask(live.url + path, method, data=body, headers=headers)
    assert answer.status < 500, answer.text
    assert b"Traceback" not in answer.body


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), path=st.sampled_from(["/whep", "/whip", "/whep?codec=vp8"]))
def test_no_damaged_offer_is_a_server_error(live: SyntheticLive, data: st.DataObject, path: str) -> None:
    lines = (_OFFER if path != "/whip" else _OFFER.replace("a=recvonly", "a=sendonly")).split("\r\n")
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(lines) - 1))
        other = data.draw(st.integers(0, len(lines) - 1))
        lines[index] = data.draw(st.sampled_from(["", lines[index][:-1], lines[other], lines[index] * 2]))
    answer = ask(live.url + path, "POST", data="\r\n".join(lines).encode(), headers=SDP)
    assert answer.status in (201, 400, 406, 503), answer.text
    if answer.status == 201:
        assert ask(live.url + answer.headers["Location"], "DELETE").status == 200


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(
        st.sampled_from(
            [
                "a=ice-ufrag:abcd", "a=mid:0", "a=mid:9", "a=end-of-candidates", "m=video 9 UDP 0", "x",
                "a=candidate:1 1 udp 1 127.0.0.1 9 typ host", "a=candidate:1 1 udp 1 ::1 9 typ host",
                "a=candidate:1 1 tcp 1 127.0.0.1 9 typ host tcptype active", "a=candidate:",
                "a=candidate:1 1 udp 1 name.local 99999 typ host", "a=candidate:1 2 udp -1 0.0.0.0 0 typ x",
            ]
        )
        | st.text(max_size=30),
        max_size=6,
    ),
    match=st.sampled_from(["etag", "*", '"x"']),
)  # fmt: skip
def test_no_fragment_is_a_server_error(
    live: SyntheticLive, session: tuple[str, str], lines: list[str], match: str
) -> None:
    resource, etag = session
    headers = {"Content-Type": FRAGMENT, "If-Match": etag if match == "etag" else match}
    answer = ask(live.url + resource, "PATCH", data="\r\n".join(lines).encode(), headers=headers)
    assert answer.status in (204, 400, 404, 412, 422), answer.text


@pytest.fixture(scope="module")
def session(live: SyntheticLive) -> Iterator[tuple[str, str]]:
    answer = ask(live.url + "/whep", "POST", data=_OFFER.encode(), headers=SDP)
    yield answer.headers["Location"], answer.headers["ETag"]
    ask(live.url + answer.headers["Location"], "DELETE")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts in /proc")
def test_refused_and_ended_sessions_leave_nothing(live: SyntheticLive) -> None:
    broken = _OFFER.replace("a=setup:actpass", "a=setup:nonsense")
    misfit = _OFFER.replace("a=group:BUNDLE 0", "a=group:BUNDLE 0 1")
    camera = _OFFER.replace("a=recvonly", "a=sendonly")

    def round_of_requests() -> list[int]:
        statuses = []
        for path, text in (("/whep", _OFFER), ("/whep", broken), ("/whep", misfit), ("/whip", camera)):
            answer = ask(live.url + path, "POST", data=text.encode(), headers=SDP)
            statuses.append(answer.status)
            if answer.status == 201:
                assert ask(live.url + answer.headers["Location"], "DELETE").status == 200
        return statuses

    def held() -> tuple[float, ...]:
        files = len(os.listdir("/proc/self/fd"))
        return files, threading.active_count(), live.figures()["sessions"]

    statuses = round_of_requests()  # what is made once: thread pools, caches
    assert (statuses[0], statuses[3]) == (201, 201)
    assert 400 in statuses
    deadline = time.monotonic() + 30
    before = held()
    for _ in range(8):
        round_of_requests()
    while any(now > then for now, then in zip(held(), before, strict=True)):  # idle connections close late
        assert time.monotonic() < deadline, f"{before} grew to {held()}"
        time.sleep(0.05)


def test_what_is_no_http_gets_a_400_and_no_traceback(
    live: SyntheticLive, caplog: pytest.LogCaptureFixture
) -> None:
    for data in (b"GARBAGE\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 100_000 + b"\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", live.server.port)) as connection:
            connection.sendall(data)
            assert connection.recv(100).split()[1] == b"400"
    assert caplog.records == []


async def _video_offer() -> str:
    connection = new_connection()
    text = await offer(connection)
    await connection.close()
    return text


_OFFER = asyncio.run(_video_offer())
