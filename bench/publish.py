"""How every benchmark ends: a table for people, the figures kept on request, one JSON line last."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from bench.machine import print_machine

RESULTS = Path(__file__).parent / "results"


def add_save_option(parser: argparse.ArgumentParser) -> None:
    """`--save`, which `publish` takes."""
    parser.add_argument("--save", action="store_true", help="keep the figures in bench/results")


def publish(result: Mapping[str, Any], table: str, *, save: bool = False) -> None:
    """Print `table` and the machine to stderr, `result` to stdout.

    With `save`, `result` is written under today's date and its benchmark's name as well; a later run of the
    day replaces it.
    """
    print(table, file=sys.stderr)
    print_machine(result)
    if save:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{date.today()}_{result['bench']}.json"
        path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))
