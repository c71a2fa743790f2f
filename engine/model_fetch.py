"""Fetching the tracker's models on the command line, with a bar on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tracking.detect.models.catalogue import fetch_model, installed_path, known_model
from tracking.detect.models.download import Progress


def ensure_model(name: str) -> Path:
    """The model's file, fetched with a bar on stderr when it is not there; call it before other bars show.

    Raises TrackingError when it cannot be had.
    """
    return installed_path(name) or fetch_with_bar(name)


def fetch_with_bar(name: str) -> Path:
    """Fetch a model, and say on stderr what is fetched and what came."""
    model = known_model(name)
    print(
        f"visavis: fetching the model {name}, needed once ({model.num_bytes / 1e6:.1f} MB)", file=sys.stderr
    )
    with _bar(name) as progress:
        path = fetch_model(name, progress)
    if path.name != model.file_name:
        print(
            f"visavis: {model.url} cannot be reached; made a stand-in from an older MediaPipe package, which "
            f"follows the face a little less exactly; run `visavis models fetch` where there is internet",
            file=sys.stderr,
        )
    return path


@contextmanager
def _bar(name: str) -> Iterator[Progress]:
    """A bar on stderr for one download; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("fetching {task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(name, total=known_model(name).num_bytes)
        yield lambda done, total: bar.update(task, completed=done, total=total)
