"""Whom to follow where several people are seen: `--person`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tracking.detect.face_boxes import FaceBox
from tracking.errors import TrackingError

Side = Literal["left", "right", "largest"]
SIDES: tuple[Side, ...] = ("left", "right", "largest")
MOST_PEOPLE = 20


@dataclass(frozen=True, slots=True)
class PersonChoice:
    """The person at the picture's left or right, the one with the largest face, or the N-th from the left."""

    which: Side | int

    @classmethod
    def parse(cls, text: str) -> PersonChoice:
        """The choice that `--person` names. Raises TrackingError that names the value."""
        for side in SIDES:
            if text.strip().lower() == side:
                return cls(side)
        try:
            number = int(text)
        except ValueError:
            number = 0
        if not 1 <= number <= MOST_PEOPLE:
            raise TrackingError(
                f"--person {text}: give left, right, largest, or a number from 1, counted from the left of "
                "the picture"
            )
        return cls(number)

    def __str__(self) -> str:
        return str(self.which)

    def of(self, faces: Sequence[FaceBox]) -> FaceBox | None:
        """The chosen one; None while there are too few."""
        if not faces:
            return None
        from_left = sorted(faces, key=lambda face: face.x)
        if self.which == "left":
            return from_left[0]
        if self.which == "right":
            return from_left[-1]
        if self.which == "largest":
            return max(faces, key=lambda face: face.size)
        assert isinstance(self.which, int)
        return from_left[self.which - 1] if self.which <= len(from_left) else None
