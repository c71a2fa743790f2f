"""A headless Chromium driven over its debugging socket, for measuring and testing the live page."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import tempfile
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--remote-debugging-port=0",
)
START_TIMEOUT_S = 30.0


class ChromiumError(OSError):
    """The browser cannot be used; one line that says why and what to do."""


class Chromium:
    """One browser with one page: `async with Chromium() as page`.

    Source: https://chromedevtools.github.io/devtools-protocol/
    """

    def __init__(self, flags: Sequence[str] = (), size: tuple[int, int] = (1280, 800)) -> None:
        self._flags = [*FLAGS, *flags, f"--window-size={size[0]},{size[1]}"]
        self._size = size
        self._profile = Path(tempfile.mkdtemp(prefix="visavis-chromium-"))
        self._process: asyncio.subprocess.Process | None = None
        self._http: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ids = itertools.count(1)
        self.console: list[str] = []  # what the page logged, and its uncaught errors

    @property
    def pid(self) -> int:
        """Of the browser's main process."""
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> Chromium:
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def goto(self, url: str) -> None:
        """Open an address and wait until its document is complete."""
        reply = await self.command("Page.navigate", url=url)
        if "errorText" in reply:
            raise ChromiumError(f"Chromium cannot open {url}: {reply['errorText']}")
        await self.wait_for("document.readyState === 'complete'")

    async def evaluate(self, script: str, timeout_s: float = 60.0) -> Any:
        """The value of a script, awaited when it is a promise. Raises ChromiumError with the page's error."""
        reply = await asyncio.wait_for(
            self.command(
                "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
            ),
            timeout_s,
        )
        if "exceptionDetails" in reply:
            details = reply["exceptionDetails"]
            raise ChromiumError(details.get("exception", {}).get("description", details["text"]))
        return reply["result"].get("value")

    async def wait_for(self, condition: str, timeout_s: float = 15.0) -> Any:
        """Ask for a script's value until it is true, and give it."""
        async with asyncio.timeout(timeout_s):
            while not (value := await self.evaluate(condition)):
                await asyncio.sleep(0.05)
        return value

    async def screenshot(self, path: Path) -> None:
        """Write the visible page as a PNG."""
        reply = await self.command("Page.captureScreenshot", format="png")
        path.write_bytes(b64decode(reply["data"]))

    async def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        """Show the page at another size; `phone` turns touch and a phone's pixel ratio on."""
        await self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        await self.command("Emulation.setTouchEmulationEnabled", enabled=phone)

    async def command(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one command of the protocol and give its result."""
        assert self._socket is not None
        number = next(self._ids)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._replies[number] = future
        await self._socket.send_json({"id": number, "method": method, "params": params})
        reply = await future
        if "error" in reply:
            raise ChromiumError(f"{method}: {reply['error'].get('message')}")
        result: dict[str, Any] = reply["result"]
        return result

    async def close(self) -> None:
        """End the browser and remove its profile."""
        if self._reader is not None:
            self._reader.cancel()
        if self._socket is not None:
            await self._socket.close()
        if self._http is not None:
            await self._http.close()
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), 5.0)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    async def _start(self) -> None:
        program = find_chromium()
        if program is None:
            raise ChromiumError("no Chromium found; install it (apt install chromium) or put it on the PATH")
        self._process = await asyncio.create_subprocess_exec(
            program,
            *self._flags,
            f"--user-data-dir={self._profile}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        port_file = self._profile / "DevToolsActivePort"
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not port_file.exists() or "\n" not in port_file.read_text():
                    if self._process.returncode is not None:
                        raise ChromiumError(f"{program} ended at once with {self._process.returncode}")
                    await asyncio.sleep(0.05)
                port = int(port_file.read_text().splitlines()[0])
                self._http = aiohttp.ClientSession()
                address = None
                while address is None:
                    async with self._http.get(f"http://127.0.0.1:{port}/json/list") as response:
                        pages = [page for page in await response.json() if page["type"] == "page"]
                    address = pages[0]["webSocketDebuggerUrl"] if pages else None
                    await asyncio.sleep(0.02)
        except TimeoutError as error:
            raise ChromiumError(f"{program} did not start within {START_TIMEOUT_S:g} s") from error
        self._socket = await self._http.ws_connect(address, max_msg_size=1 << 28)
        self._reader = asyncio.create_task(self._read())
        for domain in ("Page", "Runtime"):
            await self.command(f"{domain}.enable")
        await self.resize(*self._size)

    async def _read(self) -> None:
        assert self._socket is not None
        async for message in self._socket:
            event = message.json()
            future = self._replies.pop(event.get("id"), None)
            if future is not None and not future.done():
                future.set_result(event)
            elif event.get("method") == "Runtime.exceptionThrown":
                details = event["params"]["exceptionDetails"]
                self.console.append(details.get("exception", {}).get("description", details["text"]))
            elif event.get("method") == "Runtime.consoleAPICalled":
                texts = [str(item.get("value", item.get("description"))) for item in event["params"]["args"]]
                self.console.append(" ".join(texts))


def find_chromium() -> str | None:
    """The path of an installed Chromium or Chrome."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        path = shutil.which(name)
        if path is not None:
            return path
    return None
