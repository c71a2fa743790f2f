"""Avatars with fewer Gaussians, made beside the stream the first time it runs short of time."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

from engine.live.deadline import SHARES
from render.avatars.avatar import Avatar
from render.avatars.thinning import importance, thinned

_LEAST_PRIORITY = 19  # it is made while time is short: the stream goes first


class _ClosedError(Exception):
    """Nobody waits for the copies any more."""


def _beside(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, name="thinning", daemon=True)
    thread.start()
    return thread


class FewerGaussians:
    """Gives an avatar with a share of its Gaussians as soon as it is made, until then the whole one.

    The first call for an avatar begins to make its thinner copies, whatever share it asks for. One thread at
    a time may use it. Close it.
    """

    def __init__(self, start: Callable[[Callable[[], None]], threading.Thread | None] = _beside) -> None:
        """`start` runs the making, which takes a second or more, and gives its thread if it has one."""
        self._start = start
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._avatar: Avatar | None = None
        self._made: dict[float, Avatar] = {}
        self._error: BaseException | None = None

    def __call__(self, avatar: Avatar, share: float) -> Avatar:
        """Raises what making the copies raised."""
        if self._error is not None:
            raise self._error
        if avatar is not self._avatar:
            self._avatar, self._made = avatar, {}
            made = self._made
            thread = self._start(lambda: self._make(avatar, made))
            if thread is not None:
                self._threads.append(thread)
        return self._made.get(share, avatar)

    def close(self) -> None:
        """Make nothing more; closing twice does no harm."""
        self._closed = True
        while self._threads:
            self._threads.pop().join()

    def _check_open(self) -> None:
        if self._closed:
            raise _ClosedError

    def _make(self, avatar: Avatar, made: dict[float, Avatar]) -> None:
        if sys.platform == "linux":  # where a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LEAST_PRIORITY)
        try:
            own = avatar.replace()  # an avatar is posed by one thread at a time
            shown = importance(own, self._check_open)
            for share in SHARES:
                made[share] = thinned(own, share, shown)
        except _ClosedError:
            pass
        except BaseException as error:
            self._error = error
