"""What a person sees of a running training: a bar, lines of text, and the preview picture."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.progress import TimeRemainingColumn as TimeLeft

from engine.train.loop.history import History
from engine.train.loop.trainer import Progress as Training
from engine.train.results.preview import Preview

_SMOOTHING = 0.1  # of the loss and the pace shown


class Monitor:
    """Shows every step on stderr and refreshes the preview; use as a context manager around the run.

    Where stderr is no terminal there is no bar, and each phase leaves a line.
    """

    def __init__(self, preview: Preview | None, every_s: float) -> None:
        self.history: History | None = None  # takes the previews' PSNR once it is set
        self._preview = preview
        self._every_s = every_s
        self._shown_at = -float("inf")
        self._psnr = ""
        self._phase = ""
        self._task: TaskID | None = None
        self._loss = self._seconds = 0.0
        self._console = Console(stderr=True, soft_wrap=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}  {task.fields[figures]}"),
            TimeLeft(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )

    def __enter__(self) -> Monitor:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """One line for people, above the bar."""
        self._console.print(f"visavis: {line}", markup=False)

    def __call__(self, training: Training) -> None:
        """Take note of a step."""
        if training.phase != self._phase:
            self._begin(training)
        self._loss += _SMOOTHING * (training.loss - self._loss)
        self._seconds += _SMOOTHING * (training.step_seconds - self._seconds)
        last = training.step == training.steps
        if self._preview is not None and (last or time.perf_counter() - self._shown_at >= self._every_s):
            decibels = self._preview.update()
            self._psnr = f"  held-out PSNR {decibels:.1f} dB"
            if self.history is not None:
                self.history.held_out.append((training.done, decibels))
            self._shown_at = time.perf_counter()
        figures = f"loss {self._loss:.4g}{self._psnr}  {1 / max(self._seconds, 1e-9):.1f} steps/s"
        assert self._task is not None
        # The bar counts all phases, so that its time left is that of the whole training.
        self._bar.update(self._task, completed=training.done, total=training.planned, figures=figures)
        if last and not self._console.is_terminal:
            self.say(f"{training.phase}: {training.steps} steps, {figures}")

    def _begin(self, training: Training) -> None:
        self._phase = training.phase
        self._loss, self._seconds = training.loss, training.step_seconds
        if self._task is None:
            self._task = self._bar.add_task(training.phase, total=training.planned, figures="")
        self._bar.update(self._task, description=training.phase)
