"""What a live loop shows, and how; apart from the loop itself, which takes torch to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.look import Look
    from tracking.detect.person_choice import PersonChoice
    from transport.http.controls import SourceKind

MOTION_FPS = 30.0  # of the built-in motion


@dataclass(frozen=True)
class LiveSettings:
    """What a loop shows, and how."""

    look: Look
    source_kind: SourceKind
    timecode: bool = False
    predict: bool = False
    mirror: bool = False
    person: PersonChoice | None = None  # whom the detector was told to follow
