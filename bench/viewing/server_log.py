"""Looks at a live server's own figures all the time, as its page and a monitoring system would."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

LOOK_EVERY_S = 0.1
WAIT_S = 30.0


class ServerLog:
    """The newest /metrics and /api/state of a server: `async with ServerLog(address, token) as log`."""

    def __init__(self, server: str, token: str = "") -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._server = server
        self._http = aiohttp.ClientSession(headers=headers)
        self._looking: asyncio.Task[None] | None = None
        self.metrics: Mapping[str, float] = {}
        self.state: Mapping[str, Any] = {}
        self.most_queued = 0.0  # pictures that waited for one viewer's socket

    async def wait_for(
        self, condition: Callable[[Mapping[str, float]], bool], timeout_s: float = WAIT_S
    ) -> float | None:
        """Seconds until the metrics fulfil a condition; None when they never do in time."""
        return await self._wait(lambda: condition(self.metrics), timeout_s)

    async def wait_for_state(
        self, condition: Callable[[Mapping[str, Any]], bool], timeout_s: float = WAIT_S
    ) -> float | None:
        """The same for what the page shows."""
        return await self._wait(lambda: condition(self.state), timeout_s)

    async def _wait(self, condition: Callable[[], bool], timeout_s: float) -> float | None:
        begin = time.monotonic()
        while not condition():
            if time.monotonic() - begin > timeout_s:
                return None
            await asyncio.sleep(LOOK_EVERY_S / 2)
        return round(time.monotonic() - begin, 2)

    async def __aenter__(self) -> ServerLog:
        await self._look()
        self._looking = asyncio.create_task(self._look_always())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
        await self._http.close()

    async def _look_always(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self._look()

    async def _look(self) -> None:
        async with self._http.get(self._server + "/metrics") as answer:
            answer.raise_for_status()
            lines = [line.split() for line in (await answer.text()).splitlines() if not line.startswith("#")]
        async with self._http.get(self._server + "/api/state") as answer:
            answer.raise_for_status()
            self.state = await answer.json()
        self.metrics = {name.removeprefix("visavis_"): float(value) for name, value in lines}
        self.most_queued = max(self.most_queued, self.metrics["queued_pictures"])
