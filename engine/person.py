"""Whose face is followed: the option that chooses, and what the user should know about who was found."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from engine.errors import UsageError

if TYPE_CHECKING:
    from tracking.detect.detection import Detection
    from tracking.detect.person_choice import PersonChoice

_TURNS = (
    "",
    "lies on its side: it was turned a quarter clockwise",
    "is upside down: it was turned round",
    "lies on its side: it was turned a quarter anticlockwise",
)


def add_person_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--person",
        metavar="WHO",
        help="whom to follow of several: left, right, largest, or N, the N-th from the left of the picture "
        "(whoever is seen first)",
    )


def parse_person(args: argparse.Namespace) -> PersonChoice | None:
    """The choice of `add_person_argument`. Raises UsageError naming the value."""
    from tracking.detect.person_choice import PersonChoice
    from tracking.errors import TrackingError

    if args.person is None:
        return None
    try:
        return PersonChoice.parse(args.person)
    except TrackingError as error:
        raise UsageError(str(error)) from None


class Sightings:
    """Watches the detections of one film or camera for what its user should know; each is told once."""

    def __init__(self, what: str, person: PersonChoice | None = None) -> None:
        """`what` is shown in the messages: the film's name, or "the camera"."""
        self.notes: list[str] = []
        self._what = what
        self._choice = person
        self._turns_told: set[int] = {0}
        self._told_several = person is not None
        self._person: int | None = None
        self._told_another = False
        self._most_people = 0

    def see(self, detection: Detection) -> str | None:
        """Look at the next frame's detection; what there is to tell now, in one line."""
        self._most_people = max(self._most_people, detection.people)
        note = self._note(detection)
        if note is not None:
            self.notes.append(note)
        return note

    def check_choice(self) -> None:
        """Raise UsageError when the person who was asked for was never there."""
        if self._choice is not None and self._person is None and self._most_people:
            people = "only one person is" if self._most_people == 1 else f"{self._most_people} people are"
            raise UsageError(
                f"--person {self._choice}: {people} seen in {self._what}; give left, right, largest, or a "
                f"number up to {self._most_people}"
            )

    def _note(self, detection: Detection) -> str | None:
        if not detection.found:
            return None
        before, self._person = self._person, detection.person
        if detection.turn not in self._turns_told:
            self._turns_told.add(detection.turn)
            return f"{self._what} {_TURNS[detection.turn]}"
        if detection.people > 1 and not self._told_several:
            self._told_several = True
            return (
                f"{detection.people} people are seen in {self._what}; whoever was seen first is followed: "
                "--person left, right, largest or a number chooses"
            )
        if before is not None and before != detection.person and not self._told_another:
            self._told_another = True
            return f"{self._what} goes on with another person, who is measured anew"
        return None
