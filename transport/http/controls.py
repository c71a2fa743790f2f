"""What the page can ask of the engine; the engine implements `Controls` and hands it to the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

SourceKind = Literal["camera", "file", "browser", "motion"]


class ControlError(ValueError):
    """A wish that cannot be granted; the message is one line and is shown to the visitor."""


@dataclass(frozen=True, slots=True)
class AvatarChoice:
    """One avatar that can be chosen."""

    name: str  # as the command line takes it
    title: str  # as a person reads it
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Background:
    """What stands behind the avatar: a picture, or a colour where there is none."""

    rgb: tuple[int, int, int] = (24, 26, 31)
    picture: NDArray[np.uint8] | None = None  # [H, W, 3] RGB, already cut and blurred to the stream's size


@dataclass(frozen=True, slots=True)
class LiveState:
    """What the page shows of the engine; changes rarely, unlike the figures."""

    avatar: str  # name of the chosen one
    source: SourceKind
    width: int  # of the stream, pixels
    height: int
    fps: float  # usual rate of the source
    mirror: bool = True
    source_ok: bool = True
    message: str = ""  # one line for the visitor: "the camera is unplugged, trying again"
    has_neutral: bool = False  # whether a neutral expression was measured
    about: str = ""  # whose likeness the avatar is, and who vouches for it


class Controls(Protocol):
    """The engine's side of the page's buttons.

    Every method is called in a worker thread, one at a time, and may take a while (choosing an avatar loads
    it). It raises ControlError for a wish that cannot be granted.
    """

    def state(self) -> LiveState: ...

    def avatars(self) -> Sequence[AvatarChoice]: ...

    def avatar_picture(self, name: str) -> bytes | None:
        """A JPEG or PNG of the avatar's face for the chooser, about 256 pixels; None when there is none."""
        ...

    def choose_avatar(self, name: str) -> None: ...

    def remeasure_neutral(self) -> None:
        """Take the face as it is now for its resting expression."""
        ...

    def set_mirror(self, mirror: bool) -> None: ...

    def set_background(self, background: Background) -> None: ...

    def orbit(self, yaw_deg: float, pitch_deg: float, zoom: float) -> None:
        """Look from another side: right and up are positive, 0, 0, 1 is straight on at full size."""
        ...

    def figures(self) -> Mapping[str, float]:
        """Live figures, for example {"fps": 30.0, "track_p50_ms": 9.1, "track_p95_ms": 12.0}; cheap.

        A stage's latency is named `<stage>_p50_ms`; the page shows every stage it finds.
        """
        ...
