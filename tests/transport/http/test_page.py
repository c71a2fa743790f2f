"""The live page in a real headless Chromium with its fake camera."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription, VideoStreamTrack

from bench.viewing.chromium import Chromium, find_chromium
from tests.transport.live_client import SDP, ask_async, new_connection, offer
from tests.transport.synthetic_live import SyntheticLive
from transport.http.server import ServerSettings
from transport.http.stream import DEFAULT_STREAM
from transport.webrtc.camera import BrowserCamera

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="needs Chromium: apt install chromium")

T = TypeVar("T")
LIVE = "document.getElementById('stage').classList.contains('live')"


class Browser:
    """A Chromium that outlives one test, driven from plain test functions."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self.page = Chromium()
        self.run(self.page.__aenter__())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def open(self, address: str, *, live: bool = True, script: str = "") -> None:
        """Open the page fresh; `script` runs before the page's own."""

        async def work() -> None:
            await self.page.goto("about:blank")
            added = await self.page.command("Page.addScriptToEvaluateOnNewDocument", source=script or ";")
            self.page.console.clear()
            await self.page.goto(address)
            await self.page.command("Page.removeScriptToEvaluateOnNewDocument", **added)
            if live:
                await self.page.wait_for(LIVE)

        self.run(work())

    def js(self, script: str) -> Any:
        return self.run(self.page.evaluate(script))

    def wait(self, condition: str, timeout_s: float = 15.0) -> Any:
        return self.run(self.page.wait_for(condition, timeout_s))

    def click(self, element: str) -> None:
        self.js(f"document.getElementById('{element}').click()")

    def text(self, element: str) -> str:
        return str(self.js(f"document.getElementById('{element}').innerText"))

    def key(self, key: str) -> None:
        self.js(f"document.body.dispatchEvent(new KeyboardEvent('keydown', {{key: {key!r}, bubbles: true}}))")

    def close(self) -> None:
        self.run(self.page.close())
        self._loop.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    opened = Browser()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SyntheticLive]:
    folder = tmp_path_factory.mktemp("recordings")
    with SyntheticLive(ServerSettings(port=0, recordings_dir=folder)) as running:
        yield running


@pytest.fixture(scope="module")
def with_camera() -> Iterator[SyntheticLive]:
    with SyntheticLive(ServerSettings(port=0), camera=BrowserCamera()) as running:
        yield running


def until(condition: Any, timeout_s: float = 15.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)
    return value


SAMPLE = """(() => {
  const video = document.getElementById('avatar'), canvas = document.createElement('canvas');
  canvas.width = 512; canvas.height = 512;
  const context = canvas.getContext('2d');
  context.drawImage(video, 0, 0);
  const pixels = context.getImageData(0, 0, 384, 8).data;
  let time = 0;
  const bright = cell => pixels[4 * (4 * 384 + 8 * cell + 4)] > 127;
  for (let cell = 0; cell < 48; cell++) time = 2 * time + (bright(cell) ? 1 : 0);
  return time;
})()"""


def test_the_avatar_is_shown_at_once_and_lives(browser: Browser, live: SyntheticLive) -> None:
    browser.open(live.url)
    first = browser.js(SAMPLE)
    second = until(lambda: (code := browser.js(SAMPLE)) > first and code)
    assert abs(second - time.time() * 1e3) < 5000  # the capture time, by this machine's clock
    browser.wait("document.getElementById('status').dataset.state === 'live'")
    assert browser.text("status-text") == "Live"
    assert browser.page.console == []


def test_figures_are_measured_not_invented(browser: Browser, live: SyntheticLive) -> None:
    browser.open(live.url)
    browser.key("i")
    browser.wait("document.getElementById('f-bitrate').textContent.includes('b/s')")
    stages = browser.js("[...document.querySelectorAll('.stage-row span')].map(e => e.textContent)")
    assert stages == ["Track", "Solve", "Pose", "Render", "Encode", "Network", "Buffer", "Decode"]
    assert browser.text("f-picture") == "512 × 512 H264"
    assert float(browser.text("f-fps")) > 5  # of 30; the machine may be busy
    assert browser.text("f-viewers") == "1"
    browser.key("i")
    assert browser.js("document.getElementById('figures').hidden") is True


def test_buttons_and_keys_reach_the_engine(browser: Browser, live: SyntheticLive) -> None:
    browser.open(live.url)
    live.controls.wishes.clear()
    browser.key("a")
    assert browser.js("document.querySelectorAll('.avatar-card').length") == 4
    assert browser.js("document.getElementById('about').innerText") == "", "nobody said anything of it"
    live.controls.live = replace(live.controls.live, about="Vera: <b>nobody</b>; not signed")
    browser.wait("document.getElementById('about').innerText === 'Vera: <b>nobody</b>; not signed'")
    browser.js("document.querySelectorAll('.avatar-card')[1].click()")
    until(lambda: ("avatar", "elias") in live.controls.wishes)
    browser.wait("document.querySelectorAll('.avatar-card')[1].getAttribute('aria-checked') === 'true'")
    browser.js("document.querySelectorAll('.avatar-card')[3].click()")
    browser.wait("document.querySelector('.toast.bad')?.innerText.includes('file is damaged')")
    browser.key("b")
    assert browser.js("document.getElementById('avatar-sheet').hidden") is True
    browser.js("document.querySelectorAll('.swatch')[2].click()")
    until(lambda: live.controls.background.rgb == (0x3F, 0x4A, 0x3C))
    browser.key("ArrowRight")
    until(lambda: live.controls.view == (5.0, 0.0, 1.0))
    browser.key("0")
    until(lambda: live.controls.view == (0.0, 0.0, 1.0))
    browser.key("?")
    assert browser.js("document.getElementById('help').open") is True
    assert "Full screen" in browser.text("keys")


def test_dragging_turns_the_view_and_a_double_click_resets_it(browser: Browser, live: SyntheticLive) -> None:
    browser.open(live.url)
    box = browser.js(
        "(({x, y, width, height}) => ({x, y, width, height}))"
        "(document.getElementById('stage').getBoundingClientRect())"
    )
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    async def mouse(kind: str, dx: float, dy: float, clicks: int = 1) -> None:
        await browser.page.command(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x + dx,
            y=y + dy,
            button="left",
            buttons=int(kind != "mouseReleased"),
            clickCount=clicks,
        )

    async def drag() -> None:
        await mouse("mousePressed", 0, 0)
        for step in range(1, 6):
            await mouse("mouseMoved", -step * 0.04 * box["width"], step * 0.02 * box["width"])
        await mouse("mouseReleased", -0.2 * box["width"], 0.1 * box["width"])

    browser.run(drag())
    # a fifth of the picture's width to the left, a tenth down, at 150 degrees a width
    until(lambda: np.allclose(live.controls.view, (30.0, 15.0, 1.0), atol=1.0))

    async def double_click() -> None:
        for clicks in (1, 2):
            await mouse("mousePressed", 0, 0, clicks)
            await mouse("mouseReleased", 0, 0, clicks)

    browser.run(double_click())
    until(lambda: live.controls.view == (0.0, 0.0, 1.0))


def test_a_picture_of_ones_own_becomes_the_background(browser: Browser, live: SyntheticLive) -> None:
    browser.open(live.url)
    browser.js("""(async () => {
      const canvas = document.createElement('canvas');
      canvas.width = 2400; canvas.height = 1200;
      const context = canvas.getContext('2d');
      context.fillStyle = '#c02020';
      context.fillRect(0, 0, 2400, 1200);
      const blob = await new Promise(resolve => canvas.toBlob(resolve, 'image/png'));
      const files = new DataTransfer();
      files.items.add(new File([blob], 'mine.png', {type: 'image/png'}));
      const input = document.getElementById('picture');
      input.files = files.files;
      input.dispatchEvent(new Event('change'));
    })()""")
    until(lambda: live.controls.background.picture is not None)
    picture = live.controls.background.picture
    assert picture is not None
    # the canvas's JPEG keeps a flat colour to a few levels
    assert np.abs(picture[256, 256].astype(int) - (0xC0, 0x20, 0x20)).max() < 12
    browser.wait("!document.getElementById('blur-row').hidden")


def test_recording_from_the_page(browser: Browser, live: SyntheticLive) -> None:
    browser.open(live.url)
    browser.key("r")
    browser.wait("!document.getElementById('recording-pill').hidden")
    until(lambda: browser.text("recording-text") >= "0:01")
    browser.key("r")
    browser.wait("document.querySelector('.toast')?.innerText.includes('Recorded')")
    name = browser.js("document.querySelector('.toast').innerText.match(/visavis-[0-9-]+[.]mp4/)[0]")
    assert (Path(str(live.server._settings.recordings_dir)) / name).stat().st_size > 10_000


def test_stop_and_start(browser: Browser, live: SyntheticLive) -> None:
    browser.open(live.url)
    browser.key(" ")
    until(lambda: live.figures()["sessions"] == 0)
    assert not browser.js(LIVE)
    assert browser.text("notice-title") == "Ready"
    assert not live.broadcast.watched
    browser.key(" ")
    browser.wait(LIVE)


def test_leaving_the_page_ends_the_session(browser: Browser, live: SyntheticLive) -> None:
    browser.open(live.url)
    assert live.figures()["sessions"] == 1
    browser.run(browser.page.goto("data:text/html,gone"))
    until(lambda: live.figures()["sessions"] == 0, 5)


# --- the visitor's own camera -----------------------------------------------------------------------------


def test_the_camera_goes_up_only_after_a_click(browser: Browser, with_camera: SyntheticLive) -> None:
    camera = with_camera.camera
    assert camera is not None
    browser.open(with_camera.url, live=False)
    browser.wait("document.getElementById('notice-button').innerText === 'Start with my camera'")
    assert with_camera.figures()["sessions"] == 0
    browser.click("notice-button")
    browser.wait(LIVE)
    frame = camera.read(10)
    assert frame is not None
    assert frame.rgb.shape == (480, 640, 3)
    # Chromium's fake camera is a green picture with a moving sector
    red, green, blue = frame.rgb.reshape(-1, 3).mean(axis=0)
    assert green > 80 > max(red, blue)
    later = until(lambda: (new := camera._latest.take()) and new.index > frame.index + 5 and new)
    assert not np.array_equal(later.rgb, frame.rgb)
    browser.key("p")
    assert browser.js("document.getElementById('preview').hidden") is False
    assert browser.js("document.getElementById('preview').videoWidth") == 640
    browser.key("n")
    until(lambda: with_camera.controls.live.has_neutral)
    browser.key(" ")
    until(lambda: not camera.connected)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("NotAllowedError", "The camera was not allowed."),
        ("NotFoundError", "No camera was found."),
        ("NotReadableError", "Another program uses the camera."),
    ],
)
def test_camera_troubles_are_told(
    browser: Browser, with_camera: SyntheticLive, error: str, told: str
) -> None:
    script = (
        f"navigator.mediaDevices.getUserMedia = async () => {{ throw new DOMException('x', '{error}'); }}"
    )
    browser.open(with_camera.url, live=False, script=script)
    browser.wait("!document.getElementById('notice-button').hidden")
    browser.click("notice-button")
    browser.wait(f"document.getElementById('notice-text').innerText.startsWith({json.dumps(told)})")
    assert browser.text("notice-button") == "Try again"
    assert with_camera.figures()["sessions"] == 0


def test_the_page_asks_the_stun_server_that_the_server_names(browser: Browser) -> None:
    stun = "stun:127.0.0.1:9"
    script = """
      window.asked = [];
      const stock = RTCPeerConnection.prototype.setConfiguration;
      RTCPeerConnection.prototype.setConfiguration = function (configuration) {
        window.asked.push(...configuration.iceServers.flatMap(server => server.urls));
        stock.call(this, configuration);
      };"""
    with SyntheticLive(ServerSettings(port=0)) as running:
        browser.open(running.url, script=script)
        assert browser.js("window.asked") == []
    with SyntheticLive(ServerSettings(port=0, ice_servers=(stun,))) as running:
        for opened in running.server._open.values():  # nobody answers there: the server itself need not wait
            opened.sessions._configuration.iceServers = []
        browser.open(running.url, script=script)
        assert browser.js("window.asked") == [stun]


# --- what can go wrong ------------------------------------------------------------------------------------


def test_too_many_viewers_are_told_and_let_in_later(browser: Browser) -> None:
    with SyntheticLive(ServerSettings(port=0, max_viewers=0)) as running:
        browser.open(running.url, live=False)
        browser.wait("document.getElementById('notice-title').innerText === 'All places are taken'")
        running.server._open[DEFAULT_STREAM].sessions._max_viewers = 1  # somebody left
        browser.wait(LIVE)


LONG_TROUBLE = "camera HD Pro Webcam C920 stopped: it is unplugged or another program took it"


def test_a_long_message_does_not_widen_the_page_of_a_phone(browser: Browser, live: SyntheticLive) -> None:
    calm = live.controls.live
    browser.run(browser.page.resize(390, 844, phone=True))
    try:
        for source_ok in (True, False):
            live.controls.live = replace(calm, source_ok=source_ok, message=LONG_TROUBLE)
            browser.open(live.url)
            shown = "status-text" if source_ok else "trouble"
            browser.wait(f"document.getElementById('{shown}').innerText.startsWith('Camera HD')")
            assert browser.js("document.documentElement.scrollWidth") <= 390
            assert browser.js("document.getElementById('help-button').getBoundingClientRect().right") <= 390
    finally:
        live.controls.live = calm
        browser.run(browser.page.resize(1280, 800))


def test_a_token_is_asked_for_and_taken(browser: Browser) -> None:
    with SyntheticLive(ServerSettings("0.0.0.0", 0)) as running:
        url = f"http://127.0.0.1:{running.server.port}/"
        browser.open(url, live=False)
        browser.wait("!document.getElementById('token-form').hidden")
        browser.js("document.getElementById('token').value = 'wrong'")
        browser.js("document.getElementById('token-form').requestSubmit()")
        browser.wait("document.getElementById('notice-title').innerText === 'This page needs its token'")
        browser.js(f"document.getElementById('token').value = '{running.server.token}'")
        browser.js("document.getElementById('token-form').requestSubmit()")
        browser.wait(LIVE)
        browser.open(f"{url}#token={running.server.token}")
        assert browser.js("location.hash") == ""  # not left where it could be copied by mistake


def test_a_server_that_goes_away_is_found_again(browser: Browser) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with SyntheticLive(ServerSettings(port=port)) as running:
        browser.open(running.url)
    browser.wait(
        "document.getElementById('notice-title').innerText.match(/server is away|interrupted|stands still/)",
        30,
    )
    with SyntheticLive(ServerSettings(port=port)):
        browser.wait(LIVE + " && document.getElementById('status').dataset.state === 'live'", 40)


def test_too_many_viewers_and_old_browsers_are_told(browser: Browser) -> None:
    with SyntheticLive(ServerSettings(port=0, max_viewers=0)) as full:
        browser.open(full.url, live=False)
        browser.wait(
            "document.getElementById('notice-text').innerText.includes('viewers are watching already')"
        )
        browser.open(full.url, live=False, script="delete window.RTCPeerConnection")
        browser.wait("document.getElementById('notice-text').innerText.includes('no WebRTC')")


def test_trouble_with_the_source_is_told(browser: Browser, live: SyntheticLive) -> None:
    browser.open(live.url)
    calm = live.controls.live
    live.controls.live = replace(calm, source_ok=False, message="the camera is unplugged, trying again")
    try:
        browser.wait("document.getElementById('trouble').innerText.includes('camera is unplugged')")
        assert browser.js(LIVE)
    finally:
        live.controls.live = calm
    browser.wait("document.getElementById('status-text').innerText === 'Live'")


# --- looks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(360, 640), (390, 844), (844, 390), (1280, 800), (1920, 1080)])
def test_everything_fits_every_screen(
    browser: Browser, with_camera: SyntheticLive, width: int, height: int
) -> None:
    browser.run(browser.page.resize(width, height, phone=min(width, height) < 500))
    try:
        browser.open(with_camera.url, live=False)
        browser.wait("!document.getElementById('notice-button').hidden")
        outside = browser.js("""[...document.querySelectorAll('header button, #bar button, #stage')]
          .filter(element => element.offsetParent)
          .filter(element => {
            const box = element.getBoundingClientRect();
            const inside = box.right < innerWidth + .5 && box.bottom < innerHeight + .5;
            return box.left < 0 || box.top < 0 || !inside;
          }).map(element => element.id)""")
        assert outside == []
        assert browser.js("document.documentElement.scrollWidth <= innerWidth") is True
        small = browser.js("""[...document.querySelectorAll('#bar button')]
          .filter(element => element.offsetParent && element.getBoundingClientRect().height < 44)
          .map(element => element.id)""")
        assert small == []
        assert browser.js("document.getElementById('stage').getBoundingClientRect().width") > 0.3 * min(
            width, height
        )
    finally:
        browser.run(browser.page.resize(1280, 800))


def test_the_browser_asks_nobody_else(browser: Browser, live: SyntheticLive) -> None:
    async def addresses() -> set[str]:
        await browser.page.goto("about:blank")
        await browser.page.goto(live.url)
        await browser.page.wait_for(LIVE)
        names = "performance.getEntriesByType('resource').map(entry => entry.name)"
        return set(await browser.page.evaluate(names))

    asked = browser.run(addresses())
    assert any(name.endswith("/page.js") for name in asked)
    assert {name for name in asked if not name.startswith(live.url)} == set()


def test_a_camera_that_is_taken_over_does_not_fight_back(
    browser: Browser, with_camera: SyntheticLive
) -> None:
    camera = with_camera.camera
    assert camera is not None
    browser.open(with_camera.url, live=False)
    browser.wait("!document.getElementById('notice-button').hidden")
    browser.click("notice-button")
    browser.wait(LIVE)

    async def take_over() -> tuple[RTCPeerConnection, str]:
        connection = new_connection()
        text = await offer(connection, track=VideoStreamTrack(), direction="sendonly")
        answer = await ask_async(with_camera.url + "/whip", "POST", data=text, headers=SDP)
        await connection.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        return connection, answer.headers["Location"]

    connection, resource = browser.run(take_over())
    browser.wait("document.getElementById('notice-title').innerText === 'Another camera took over'", 10)
    assert browser.text("notice-button") == "Take it back"
    browser.run(asyncio.sleep(1.5))  # longer than the first pause before trying again
    assert camera.connected
    answer = browser.run(ask_async(with_camera.url + resource, "DELETE"))
    assert answer.status == 200  # the newcomer was still sending
    browser.run(connection.close())
    browser.click("notice-button")
    browser.wait(LIVE)
