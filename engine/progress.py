"""A progress bar on stderr with frames per second and time left; silent where stderr is no terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.progress import TimeRemainingColumn as TimeLeft
from rich.text import Text

T = TypeVar("T")


class Over(Protocol):
    """Passes items on and shows how many went by: `Bars.over`, or `unshown`."""

    def __call__(self, items: Iterable[T], description: str, total: int | None) -> Iterable[T]: ...


def unshown(items: Iterable[T], description: str, total: int | None) -> Iterable[T]:
    """The items, nothing shown."""
    return items


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:5.1f} fps" if speed else "        ")


class Bars:
    """One bar per stage of the work; use as a context manager around all of them."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeLeft(),
            console=console,
            disable=not console.is_terminal,
            transient=True,  # an error line or the result is all that stays
        )

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def over(self, items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
        """Pass the items on and count them."""
        task = self._progress.add_task(description, total=total)
        for item in items:
            yield item
            self._progress.advance(task)
        self._progress.update(task, total=self._progress.tasks[task].completed)
