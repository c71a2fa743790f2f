"""Everything about CUDA that only a machine with an NVIDIA card can show, in one command and one table.

    python -m bench.gpu_session [--out FOLDER] [--steps start tests ...] [--minutes 8] [--limit-s 570]

Steps run one after another in processes of their own, each with a time limit, correctness first. What a step
found is written to FOLDER/gpu_session.json and .txt (default: $OUT, else bench/results) as soon as it ends; a
session that is cut short keeps what it had, and a later one with other --steps adds to it. docs/gpu.md tells
how to run it where nothing can be installed. Exit code: 0 when nothing failed, 1 when something did, 2 when
this machine cannot draw with CUDA.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.cuda.steps import LEAST_S, ROOT, STEPS, Outcome, Run, memory_step, run_process

NAME = "gpu_session"
ALL = (*STEPS, "memory")


def session(
    steps: Sequence[str], folder: Path, *, minutes: float, limit_s: float, run: Run = run_process
) -> dict[str, Outcome]:
    """Run `steps` in the order of ALL, writing after each; what earlier sessions found there stays."""
    folder.mkdir(parents=True, exist_ok=True)
    found = _read(folder)
    facts = machine_facts()
    end_s = time.monotonic() + limit_s
    for name in (name for name in ALL if name in steps):
        left_s = end_s - time.monotonic()
        print(f"{name}...", file=sys.stderr, flush=True)
        if left_s < LEAST_S:
            found[name] = Outcome("unmeasured", (f"-    no time left for {name}; run --steps {name}",), {})
        else:
            start = time.monotonic()
            if name == "memory":
                outcome = memory_step(run, left_s, minutes)
            else:
                step, most_s = STEPS[name]
                outcome = step(run, min(most_s, left_s))
            found[name] = replace(outcome, seconds=round(time.monotonic() - start, 1))
        print("\n".join(found[name].lines), file=sys.stderr, flush=True)
        _write(folder, facts, found)
    return found


def machine_facts() -> dict[str, Any]:
    """The card, the driver and the software."""
    from bench.calibration import calibrate
    from bench.machine import describe_machine

    smi = shutil.which("nvidia-smi")
    card = ""
    if smi is not None:
        query = [smi, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        card = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    packages = {}
    for name in ("torch", "cuda-bindings", "gsplat", "av", "numba", "triton"):
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            packages[name] = "missing"
    version = ".".join(map(str, sys.version_info[:3]))
    time_utc = datetime.now(UTC).isoformat(timespec="seconds")
    now = calibrate()
    facts = {"card": card, "python": version, "packages": packages, "time": time_utc}
    return {**facts, **describe_machine(now, now)}


def text(facts: Mapping[str, Any], found: Mapping[str, Outcome]) -> str:
    """The whole table, with a line for everything that was not measured."""
    rows = [f"{facts['card'] or 'no nvidia-smi'}; python {facts['python']}; {facts['time']}"]
    rows.append(", ".join(f"{name} {version}" for name, version in facts["packages"].items()))
    for name in ALL:
        outcome = found.get(name)
        if outcome is None:
            rows += ["", f"{name}: unmeasured; run python -m bench.gpu_session --steps {name}"]
        else:
            rows += ["", f"{name}: {outcome.status}, {outcome.seconds:g} s", *outcome.lines]
    return "\n".join(rows) + "\n"


def _read(folder: Path) -> dict[str, Outcome]:
    path = folder / f"{NAME}.json"
    if not path.exists():
        return {}
    steps = json.loads(path.read_text())["steps"]
    return {name: Outcome(**{**step, "lines": tuple(step["lines"])}) for name, step in steps.items()}


def _write(folder: Path, facts: Mapping[str, Any], found: Mapping[str, Outcome]) -> None:
    steps = {name: vars(outcome) for name, outcome in found.items()}
    content = json.dumps({"bench": NAME, "machine": facts, "steps": steps}, indent=1) + "\n"
    for suffix, written in (("json", content), ("txt", text(facts, found))):
        path = folder / f"{NAME}.{suffix}"
        temporary = path.with_name(f".{path.name}.part")
        temporary.write_text(written)
        temporary.replace(path)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="folder of the figures ($OUT, else bench/results)")
    parser.add_argument("--steps", nargs="+", choices=ALL, default=ALL)
    parser.add_argument("--minutes", type=float, default=30.0, help="of the memory step (%(default)s)")
    parser.add_argument("--limit-s", type=float, default=6000.0, help="end after so long (%(default)s)")
    args = parser.parse_args()
    from engine.backends import cuda_refusal

    reason = cuda_refusal()
    if reason is not None:
        print(f"visavis: nothing to measure: {reason}; docs/gpu.md says what CUDA needs", file=sys.stderr)
        return 2
    folder = args.out or Path(os.environ.get("OUT") or ROOT / "bench" / "results")
    found = session(args.steps, folder, minutes=args.minutes, limit_s=args.limit_s)
    print(json.dumps({"bench": NAME, "steps": {name: outcome.status for name, outcome in found.items()}}))
    return 1 if any(outcome.status == "failed" for outcome in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
