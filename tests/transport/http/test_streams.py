"""Several participants on one server: each with their own pictures, buttons, limits and figures."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.transport.live_client import SDP, ask, ask_async, new_connection, offer, watching
from tests.transport.synthetic_live import FakeControls
from transport.http.server import LiveServer, ServerSettings
from transport.http.server_thread import ServerThread
from transport.http.stream import DEFAULT_STREAM, Stream
from transport.webrtc.broadcast import Broadcast

SIZE = 64
LEVELS = {DEFAULT_STREAM: 60, "guest": 180}  # the grey that each participant shows


class TwoStreams:
    """A server of two grey pictures."""

    def __init__(self, folder: Path) -> None:
        self.streams = {name: Stream(Broadcast(), FakeControls(SIZE)) for name in LEVELS}
        self.server = LiveServer(self.streams, ServerSettings(port=0, max_viewers=1, recordings_dir=folder))
        self._stopping = threading.Event()

    @property
    def url(self) -> str:
        return self.server.address.rstrip("/")

    def feed(self) -> None:
        while not self._stopping.wait(1 / 30):
            for name, level in LEVELS.items():
                picture = np.full((SIZE, SIZE, 3), level, np.uint8)
                self.streams[name].broadcast.put(picture, time.time_ns())

    def stop(self) -> None:
        self._stopping.set()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoStreams]:
    running = TwoStreams(tmp_path_factory.mktemp("recordings"))
    feeder = threading.Thread(target=running.feed)
    with ServerThread(running.server):
        feeder.start()
        yield running
        running.stop()
        feeder.join()


async def seen_grey(url: str) -> int:
    async with watching(url) as (_, track, _answer):
        frame = await asyncio.wait_for(track.recv(), 10)
        return int(frame.to_ndarray(format="rgb24").mean())


def test_each_is_watched_at_its_own_address(two: TwoStreams) -> None:
    # flat grey survives H.264 to 3 of 255 levels
    assert abs(asyncio.run(seen_grey(two.url)) - LEVELS[DEFAULT_STREAM]) <= 3
    assert abs(asyncio.run(seen_grey(f"{two.url}/s/guest")) - LEVELS["guest"]) <= 3
    assert abs(asyncio.run(seen_grey(f"{two.url}/s/{DEFAULT_STREAM}")) - LEVELS[DEFAULT_STREAM]) <= 3
    for path in ("/s/nobody/whep", "/s/guest/", "/s/guest", "/s//whep", "/s/guest/whep/x"):
        assert ask(two.url + path, "DELETE").status in (404, 405), path
    assert ask(two.url + "/s/nobody/api/state").json["error"] == "there is no stream of this name"


def test_sessions_limits_and_figures_are_each_ones_own(two: TwoStreams) -> None:
    async def run() -> None:
        async with watching(two.url + "/s/guest") as (_, track, answer):
            await asyncio.wait_for(track.recv(), 10)
            location = answer.headers["Location"]
            assert location.startswith("/s/guest/whep/")
            # the guest's one place is taken, the other's is not
            connection = new_connection()
            body = await offer(connection)
            full = await ask_async(two.url + "/s/guest/whep", "POST", data=body, headers=SDP)
            assert full.status == 503
            free = await ask_async(two.url + "/whep", "POST", data=body, headers=SDP)
            assert free.status == 201
            assert (await ask_async(two.url + free.headers["Location"], "DELETE")).status == 200
            await connection.close()
            metrics = (await ask_async(two.url + "/metrics")).text.splitlines()
            assert "visavis_sessions 0.0" in metrics
            assert 'visavis_sessions{stream="guest"} 1.0' in metrics
            assert 'visavis_viewers{stream="guest"} 1.0' in metrics
            assert metrics.count("# TYPE visavis_sessions gauge") == 1
            # nobody ends a session by way of another stream
            elsewhere = two.url + location.replace("/s/guest", "")
            assert (await ask_async(elsewhere, "DELETE")).status == 404
            assert (await ask_async(two.url + location, "DELETE")).status == 200

    asyncio.run(run())


def test_each_has_buttons_and_recordings_of_its_own(two: TwoStreams) -> None:
    assert ask(two.url + "/s/guest/api/avatar", "POST", json={"name": "elias"}).json["avatar"] == "elias"
    assert ask(two.url + "/api/state").json["avatar"] == "vera"
    names = []
    for prefix in ("", "/s/guest"):
        assert ask(two.url + prefix + "/api/record/start", "POST").status == 201
    for prefix in ("", "/s/guest"):
        deadline = time.monotonic() + 15
        while not ask(two.url + prefix + "/api/state").json["recording"]["bytes"]:
            assert time.monotonic() < deadline
        names.append(ask(two.url + prefix + "/api/record/stop", "POST").json["name"])
    assert names[0].startswith("visavis-2")
    assert names[1].startswith("visavis-guest-2")
    assert ask(two.url + "/s/guest/api/recordings/" + names[1]).status == 200
    assert ask(two.url + "/api/recordings/" + names[1]).status == 404


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "\u00e9", "x" * 65, '"'])
def test_a_name_must_fit_an_address(name: str) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        LiveServer({name: Stream(Broadcast(), FakeControls())}, ServerSettings(port=0))
