"""Between two moments of a face: what is shown while one gives way to the other."""

from __future__ import annotations

from dataclasses import replace

from render.motion import Motion
from tracking import axis_angle


def blend(start: Motion, end: Motion, share: float) -> Motion:
    """The motion a share (0..1) of the way from `start` to `end`; the head turns the shortest way.

    Both are of the same units; time, confidence and joints are those of `end`.
    """
    return replace(
        end,
        weights=start.weights + share * (end.weights - start.weights),
        head_rotation=axis_angle.interpolate(start.head_rotation, end.head_rotation, share),
        head_translation=start.head_translation + share * (end.head_translation - start.head_translation),
    )
