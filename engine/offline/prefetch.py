"""A stage of a pipeline in a thread of its own, behind a short queue."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class _End:
    """The last thing in the queue: why the items ended."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Prefetch(Generic[T]):
    def __init__(self, items: Iterable[T], depth: int) -> None:
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(items,), name="prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        while not isinstance(item := self._queue.get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    def stop(self) -> None:
        self._stopped.set()
        while self._thread.is_alive():
            # a waiting put finds room, the loop then sees the event
            while not self._queue.empty():
                self._queue.get_nowait()
            self._thread.join(0.01)

    def _run(self, items: Iterable[T]) -> None:
        end = _End()
        try:
            for item in items:
                if self._stopped.is_set():
                    return
                self._queue.put(item)
        except BaseException as error:
            end = _End(error)
        self._queue.put(end)


@contextmanager
def prefetched(items: Iterable[T], depth: int = 4) -> Iterator[Iterator[T]]:
    """Iterate over `items` in another thread, at most `depth` ahead, in order, none lost.

    An error in `items` is raised where the next item is awaited. Leaving the block stops the thread; it has
    ended when the block is left.
    """
    stage = _Prefetch(items, depth)
    try:
        yield iter(stage)
    finally:
        stage.stop()
