"""List the tracker's model files, or fetch them.

The models are not part of visavis: they are fetched the first time they are needed, into the folder that
`list` names. Set VISAVIS_MODELS to keep them in another folder, or to use one that holds them already.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tracking.download import Progress
from tracking.models import MODELS, fetch_model, installed_path, known_model, models_folder

EXAMPLES = """\
examples:
  visavis models list
  visavis models fetch"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", metavar="list|fetch", required=True)
    actions.add_parser("list", help="where each model lies, its sha256, licence and address")
    fetching = actions.add_parser("fetch", help="download and check what is missing")
    fetching.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which models (all unless given): {', '.join(MODELS)}"
    )


def run(args: argparse.Namespace) -> int:
    if args.action == "list":
        print(f"folder    {models_folder()}")
        for name in MODELS:
            _print_model(name)
        return 0
    for name in args.names:
        known_model(name)  # a wrong name is told before anything is fetched
    for name in args.names or MODELS:
        _fetch(name)
    return 0


def _print_model(name: str) -> None:
    model = known_model(name)
    path = installed_path(name)
    if path is None:
        state = "not there: run `visavis models fetch`"
    elif path.name == model.file_name:
        state = f"{path} (checked)"
    else:
        state = f"{path} (a stand-in made from an older MediaPipe package)"
    print(
        f"\n{name}: {model.purpose}\n"
        f"  file      {state}\n"
        f"  size      {model.num_bytes / 1e6:.1f} MB\n"
        f"  sha256    {model.sha256}\n"
        f"  licence   {model.licence}\n"
        f"  address   {model.url}"
    )


def _fetch(name: str) -> None:
    model = known_model(name)
    path = installed_path(name)
    if path is not None and path.name == model.file_name:
        print(f"{path}: already there")
        return
    print(_fetched(name))


def ensure_model(name: str) -> Path:
    """The model's file, fetched with a bar on stderr when it is not there; call it before other bars show.

    Raises TrackingError when it cannot be had.
    """
    return installed_path(name) or _fetched(name)


def _fetched(name: str) -> Path:
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
