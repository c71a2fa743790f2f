"""The live server on an event loop in a thread of its own, beside the render thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self, TypeVar

from capture.closing import Closing
from transport.http.server import LiveServer

T = TypeVar("T")


class ServerThread(Closing):
    """Runs a LiveServer from the beginning of a `with` block to its end."""

    def __init__(self, server: LiveServer, on_error: Callable[[BaseException], None] | None = None) -> None:
        """`on_error` is told, in the thread, what ended the loop; without it the thread dies of that."""
        self._server = server
        self._on_error = on_error
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the loop and listen. Raises OutputError as `LiveServer.start`; no thread is left then."""
        self._loop = _new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(self._loop,), name="server", daemon=True)
        self._thread.start()
        try:
            self._call(self._server.start())
        except BaseException:
            self._end_loop()
            raise

    def close(self) -> None:
        """Stop the server, the loop and the thread; safe to call twice."""
        if self._loop is None or self._loop.is_closed():
            return
        try:
            self._call(self._server.stop())
        finally:
            self._end_loop()

    def figures(self) -> dict[str, float]:
        """The server's live figures, from any thread."""
        return self._call(self._server.figures())

    def __enter__(self) -> Self:
        self.start()
        return self

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        except BaseException as error:
            if self._on_error is None:
                raise
            self._on_error(error)
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            with contextlib.suppress(RuntimeError):
                loop.run_until_complete(asyncio.sleep(0))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None
        future: concurrent.futures.Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result()

    def _end_loop(self) -> None:
        assert self._loop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop = None
        self._thread = None


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # no uvloop for Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
