"""When one frame reached which stage on its way from the camera to the encoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FrameStamps:
    """Unix times in nanoseconds; None where the frame did not pass (a built-in motion has no detector)."""

    capture_ns: int  # arrival of the frame, or the moment the motion was asked for
    detect_ns: int | None = None  # the detector begins
    detected_ns: int | None = None
    play_ns: int | None = None  # the pose thread takes it
    solved_ns: int | None = None
    posed_ns: int | None = None
    rendered_ns: int | None = None  # handed to the encoder

    def durations_ms(self) -> Iterator[tuple[str, float]]:
        """How long each stage that the frame passed took, the waiting between stages included."""
        for stage, (begin, end) in _STAGES.items():
            begin_ns, end_ns = getattr(self, begin), getattr(self, end)
            if begin_ns is not None and end_ns is not None:
                yield stage, (end_ns - begin_ns) / 1e6


# "wait" is a frame's time in the two mailboxes; "play" is what the deadline controller holds within a frame.
_STAGES = {
    "capture": ("capture_ns", "detect_ns"),
    "track": ("detect_ns", "detected_ns"),
    "wait": ("detected_ns", "play_ns"),
    "solve": ("play_ns", "solved_ns"),
    "pose": ("solved_ns", "posed_ns"),
    "render": ("posed_ns", "rendered_ns"),
    "arrival_to_rendered": ("capture_ns", "rendered_ns"),
}
