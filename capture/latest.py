"""A one-slot mailbox between two threads: a slow reader gets the newest value, never a queue."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """Holds the newest value; writing replaces what nobody has read yet.

    Three ways to look, named apart: `read` waits for an unread value, `take` gives an unread value or None at
    once, `peek` gives the newest value whether read or not. An error that the writer hands to `fail` is
    raised at the reader. After `close`, a value not yet read is still given, then `read` gives None.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._value: T | None = None
        self._unread = False
        self._closed = False
        self._error: BaseException | None = None
        self._num_dropped = 0

    @property
    def num_dropped(self) -> int:
        """How many values were replaced before anyone read them."""
        return self._num_dropped

    @property
    def closed(self) -> bool:
        return self._closed

    def put(self, value: T) -> None:
        """Make this the newest value; ignored after `close`."""
        with self._changed:
            if self._closed:
                return
            self._num_dropped += self._unread
            self._value = value
            self._unread = True
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """End the mailbox with an error, to be raised where the value is awaited."""
        with self._changed:
            if not self._closed:
                self._error = error
                self._closed = True
                self._changed.notify_all()

    def close(self) -> None:
        """End the mailbox; wakes every waiting reader."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def read(self, timeout_s: float | None = None) -> T | None:
        """Wait for a value nobody has read; None once closed.

        Raises the writer's error, or TimeoutError when nothing came in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._unread or self._closed, timeout_s):
                raise TimeoutError(f"no new value within {timeout_s} s")
            return self._take()

    def take(self) -> T | None:
        """The value nobody has read yet, or None without waiting. Raises the writer's error."""
        with self._changed:
            return self._take()

    def peek(self) -> T | None:
        """The newest value, read or not, left as it is; None before the first. Raises the writer's error."""
        with self._changed:
            if self._error is not None:
                raise self._error
            return self._value

    def _take(self) -> T | None:
        if self._error is not None:
            raise self._error
        if not self._unread:
            return None
        self._unread = False
        return self._value
