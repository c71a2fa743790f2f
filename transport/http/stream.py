"""What a server needs of one participant to show them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from transport.http.controls import Controls
from transport.webrtc.broadcast import Broadcast
from transport.webrtc.camera import BrowserCamera

DEFAULT_STREAM = "main"  # served at /whep, /whip and /api; any other NAME below /s/NAME


@dataclass(frozen=True, slots=True)
class Stream:
    """One participant's pictures and buttons, and the camera that drives them if a visitor sends it."""

    broadcast: Broadcast
    controls: Controls
    camera: BrowserCamera | None = None


def check_stream_name(name: str) -> None:
    """Raise ValueError for a name that cannot stand in an address, a file's name and a metric."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise ValueError(f"stream name {name!r}: use up to 64 letters, digits, - and _")
