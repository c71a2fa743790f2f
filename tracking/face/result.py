"""What the tracker says about one frame."""

from __future__ import annotations

from dataclasses import dataclass

from render.rigs.params import RigParams


@dataclass(frozen=True, slots=True)
class TrackingResult:
    """Rig parameters of one frame.

    A lost face is a value, not an exception: `found` is False and the parameters still play.
    """

    params: RigParams
    confidence: float  # 0..1; 0 when no face was found
    found: bool
    capture_ns: int  # the source frame's timestamp
    index: int  # the source frame's index
