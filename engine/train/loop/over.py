"""How a method's start shows how far it is, whatever shows it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Over(Protocol):
    """Passes items on and shows how many went by, such as `Bars.over` of engine/progress.py."""

    def __call__(self, items: Iterable[T], description: str, total: int | None) -> Iterable[T]: ...


def unshown(items: Iterable[T], description: str, total: int | None) -> Iterable[T]:
    """The items, nothing shown."""
    return items
