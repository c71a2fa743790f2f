"""What the page sees while the avatar is still being made ready: how far that is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from engine.live.settings import LiveSettings
from render.avatars.library import builtin_names
from transport.http.controls import AvatarChoice, Background, ControlError, Controls, LiveState

T = TypeVar("T")


class OpeningControls:
    """`transport.http.controls.Controls` from the page's first answer on.

    Until `hand_over` the state says what is being done, and wishes wait; then all goes to the loop's own.
    """

    def __init__(self, settings: LiveSettings, first: str, fps: float) -> None:
        """`first`: the avatar that is being opened, by the name of its choice."""
        self.message = "preparing the avatar"
        self._first = first
        look = settings.look
        self._state = (settings.source_kind, look.width, look.height, fps, settings.mirror)
        self._controls: Controls | None = None
        self._ready = threading.Event()

    def tell(self, line: str) -> None:
        """What is being done, one line for the visitor; from any thread."""
        self.message = line

    def hand_over(self, controls: Controls) -> None:
        self._controls = controls
        self._ready.set()

    def close(self) -> None:
        """Refuse the wishes that still wait."""
        self._ready.set()

    def state(self) -> LiveState:
        if self._controls is not None:
            return self._controls.state()
        kind, width, height, fps, mirror = self._state
        return LiveState(self._first, kind, width, height, fps, mirror, message=self.message)

    def avatars(self) -> Sequence[AvatarChoice]:
        if self._controls is not None:
            return self._controls.avatars()
        return [
            AvatarChoice(name, name.capitalize()) for name in dict.fromkeys((*builtin_names(), self._first))
        ]

    def figures(self) -> Mapping[str, float]:
        return {} if self._controls is None else self._controls.figures()

    def avatar_picture(self, name: str) -> bytes | None:
        return self._wish(lambda controls: controls.avatar_picture(name))

    def choose_avatar(self, name: str) -> None:
        self._wish(lambda controls: controls.choose_avatar(name))

    def remeasure_neutral(self) -> None:
        self._wish(lambda controls: controls.remeasure_neutral())

    def set_mirror(self, mirror: bool) -> None:
        self._wish(lambda controls: controls.set_mirror(mirror))

    def set_background(self, background: Background) -> None:
        self._wish(lambda controls: controls.set_background(background))

    def orbit(self, yaw_deg: float, pitch_deg: float, zoom: float) -> None:
        self._wish(lambda controls: controls.orbit(yaw_deg, pitch_deg, zoom))

    def _wish(self, wish: Callable[[Controls], T]) -> T:
        self._ready.wait()
        if self._controls is None:
            raise ControlError("the server is stopping")
        return wish(self._controls)
