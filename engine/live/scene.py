"""What is shown and how: the avatar with its driver, the view, the background. Changed by visitors."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from render.avatars.avatar import Avatar
    from render.drawing import Background
    from tracking.face.driver import Driver


@dataclass(frozen=True)
class Cast:
    """The avatar on stage, and who drives it: None for the built-in motion."""

    choice: str  # as the command line takes it
    avatar: Avatar
    driver: Driver | None = None


@dataclass(frozen=True)
class View:
    """How the avatar is looked at."""

    background: Background
    mirror: bool = False
    yaw_deg: float = 0.0  # of the camera around the head; positive sees the picture's right side
    pitch_deg: float = 0.0
    zoom: float = 1.0


class Scene:
    """The present cast and view; each is replaced as a whole, so that any thread may read them."""

    def __init__(self, cast: Cast, view: View) -> None:
        self.cast = cast
        self.view = view
        self._changing = threading.Lock()
        self._neutral_wished = threading.Event()

    def change_view(self, **changes: Any) -> None:
        with self._changing:
            self.view = replace(self.view, **changes)

    def change_cast(self, cast: Cast) -> None:
        with self._changing:
            self.cast = cast

    def wish_neutral(self) -> None:
        """Ask the thread that poses to measure the driver's resting face anew."""
        self._neutral_wished.set()

    def take_neutral_wish(self) -> bool:
        """Whether that was asked for since the last call."""
        if not self._neutral_wished.is_set():
            return False
        self._neutral_wished.clear()
        return True
