"""One stop event for all stages, and the first error that any of them met."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Lifeline:
    """Ties threads together: they stop together, and an error in one is raised where `join` is called."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._threads: list[threading.Thread] = []

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """Ask every stage to end."""
        self._stop.set()

    def fail(self, error: BaseException) -> None:
        """Keep the first error and stop; what fails afterwards is a consequence of it."""
        with self._lock:
            if self._error is None:
                self._error = error
        self._stop.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the stop; whether it came in time."""
        return self._stop.wait(timeout_s)

    def raise_error(self) -> None:
        """Raise the first error, with the traceback of the thread it happened in."""
        if self._error is not None:
            raise self._error

    def spawn(self, name: str, work: Callable[[], None]) -> None:
        """Run `work` in a thread; its return stops nothing, its error stops all."""

        def run() -> None:
            try:
                work()
            except BaseException as error:
                self.fail(error)

        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for every thread. Raises RuntimeError naming those that did not end in time."""
        for thread in self._threads:
            thread.join(timeout_s)
        alive = [thread.name for thread in self._threads if thread.is_alive()]
        if alive:
            raise RuntimeError(f"threads did not end: {', '.join(alive)}")
        self._threads.clear()
