"""Paired trials: arms of a method, the same made people for each, differences person by person.

A trial says what is compared and how a person is run; the bookkeeping and the result file are here.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any, TypeVar

from engine.report import write_json

if TYPE_CHECKING:
    from engine.train.loop.phase import Trainable

Row = dict[str, float]  # figure -> value
People = Sequence[Mapping[str, Row]]  # arm -> figures, a person each
M = TypeVar("M", bound="Trainable")


@dataclass(frozen=True)
class Trial:
    """What is compared. Fixed before it is run; whatever comes out is written down."""

    module: str  # whose `python -m` runs it
    description: str
    results: Path
    sizes: Any  # a frozen dataclass of whole numbers, each an option
    run_person: Callable[[Any, int], Iterator[tuple[str, Row]]]  # sizes, seed -> arms as they come
    summary: Callable[[People], dict[str, Any]]
    table: Callable[[dict[str, Any]], str]


def paired(people: People, arms: Sequence[str], figures: Sequence[str]) -> dict[str, Any]:
    """Means of every arm, and what each lacks against the first, paired by person.

    `gain` is the first less the arm: positive where what the arm leaves out helps. `spread` is the standard
    deviation of the paired differences, `standard_error` that of their mean; with fewer than two people they
    are None.
    """
    found: dict[str, Any] = {}
    for arm in arms:
        rows = [person[arm] for person in people]
        found[arm] = {figure: mean(row[figure] for row in rows) for figure in figures}
        if arm == arms[0]:
            continue
        for figure in figures:
            gains = [person[arms[0]][figure] - person[arm][figure] for person in people]
            several = len(gains) > 1
            found[arm][f"{figure}_gain"] = {
                "mean": mean(gains),
                "spread": stdev(gains) if several else None,
                "standard_error": stdev(gains) / math.sqrt(len(gains)) if several else None,
                "each": gains,
            }
    return found


def gain_text(gain: Mapping[str, Any] | None, unit: str) -> str:
    """Such as `+0.08 ± 0.05 dB`; nothing of nothing."""
    if gain is None:
        return ""
    spread = "" if gain["spread"] is None else f" ± {gain['spread']:.2f}"
    return f"{gain['mean']:+.2f}{spread} {unit}"


def trained(method: M, seed: int) -> M:
    """The method after all its steps, nothing kept on the disk."""
    from engine.train.loop.trainer import Trainer, TrainerConfig

    with tempfile.TemporaryDirectory() as folder:
        config = TrainerConfig(seed=seed, checkpoint_seconds=600)
        Trainer(method, config, Path(folder) / "arm.checkpoint").run()
    return method


def run_trial(trial: Trial, argv: list[str] | None = None) -> int:
    """The command line: all people, the table, and one JSON line."""
    parser = argparse.ArgumentParser(prog=f"python -m {trial.module}", description=trial.description)
    parser.add_argument("--seeds", type=int, default=5, help="people, each of its own seed (default 5)")
    parser.add_argument(
        "--save", action="store_true", help=f"write {trial.results.name} among the bench results"
    )
    for name, value in asdict(trial.sizes).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    args = parser.parse_args(argv)
    if args.seeds < 1:
        parser.error(f"--seeds {args.seeds}: at least one person is needed")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch loads: engine/commands/train.py
    sizes = type(trial.sizes)(**{name: getattr(args, name) for name in asdict(trial.sizes)})
    start, people = time.perf_counter(), list[dict[str, Row]]()
    result: dict[str, Any] = {}
    for seed in range(1, args.seeds + 1):
        person: dict[str, Row] = {}
        for arm, row in trial.run_person(sizes, seed):
            person[arm] = row
            minutes = (time.perf_counter() - start) / 60
            told = ", ".join(f"{name} {value:.3f}" for name, value in row.items())
            print(f"{minutes:5.1f} min, person {seed}, {arm}: {told}", file=sys.stderr)
        people.append(person)
        result = {
            "data": "SYNTHETIC: engine/train/synthetic",
            "command": f"python -m {trial.module} --seeds {len(people)}",
            "protocol": asdict(sizes),
            "people": people,
            **trial.summary(people),
            "minutes": (time.perf_counter() - start) / 60,
        }
        if args.save:  # after each: an interrupted run leaves the people it had
            write_json(trial.results, result)
    print(trial.table(result))
    print(json.dumps(result))
    return 0
