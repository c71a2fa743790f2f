"""List the tracker's model files, or fetch them.

The models are not part of visavis: they are fetched the first time they are needed, into the folder that
`list` names. Set VISAVIS_MODELS to keep them in another folder, or to use one that holds them already.
"""

from __future__ import annotations

import argparse

from engine.model_fetch import fetch_with_bar
from tracking.detect.models.catalogue import MODELS, installed_path, known_model, models_folder

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
    print(fetch_with_bar(name))
