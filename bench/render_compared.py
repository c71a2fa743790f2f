"""What posing and splatting cost in two checkouts, and how much their pictures differ.

    git worktree add --detach /tmp/before 0cac285
    python -m bench.render_compared /tmp/before . [--avatar NAME_OR_PATH ...] [--frames 100] [--save]

Each checkout works in a process of its own, both pinned to one core and strictly in turn, a few frames each:
a ratio of one run holds on a busy machine, and what counts is processor time. Avatars play the built-in
motion at 512x512 on one core, straight to YUV 4:2:0. NUMBA_CPU_NAME=haswell measures AVX2. The PSNR is that
of RGB pictures in several poses and views, every avatar by itself. One JSON line last.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.machine import on_this_machine
from bench.publish import add_save_option, publish
from bench.render_checkout import STAGES

_WORKER = Path(__file__).with_name("render_checkout.py").resolve()
WARM_UP = 20  # frames of each version before the clock counts
IN_TURN = 5  # frames


@on_this_machine
def measure(before: Path, after: Path, avatars: Sequence[str], frames: int) -> dict[str, Any]:
    """`{"scenes": {avatar: {"before": {stage: [least, median]}, "after": .., "ratios": .., "psnr_db"}}}`."""
    scenes = {}
    for avatar in avatars:
        with tempfile.TemporaryDirectory() as folder:
            workers = {
                name: _Checkout(path, avatar, Path(folder) / f"{name}.npy")
                for name, path in (("before", before), ("after", after))
            }
            times = _in_turn(workers, frames)
            pictures = [np.load(worker.pictures) for worker in workers.values()]
            for worker in workers.values():
                worker.close()
        figures = {name: _figures(rows) for name, rows in times.items()}
        scenes[Path(avatar).stem] = {
            **figures,
            "ratios": _ratios(times["before"], times["after"]),
            "psnr_db": round(min(psnr_db(a, b) for a, b in zip(*pictures, strict=True)), 1),
        }
    return {
        "bench": "render_compared",
        "before": _commit(before),
        "after": _commit(after),
        "processor": os.environ.get("NUMBA_CPU_NAME", "host"),
        "frames": frames,
        "scenes": scenes,
    }


def psnr_db(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Of two pictures; 99 when they are the same."""
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return 99.0 if error == 0 else 10 * math.log10(255**2 / error)


class _Checkout:
    """One version at work: draws frames when asked and tells their processor times."""

    def __init__(self, path: Path, avatar: str, pictures: Path) -> None:
        self.pictures = pictures
        command = [sys.executable, str(_WORKER), avatar, str(pictures)]
        environment = {**os.environ, "PYTHONPATH": str(path.resolve())}
        self._process = subprocess.Popen(
            command, cwd=path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def draw(self, first: int, count: int) -> list[list[float]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(first, count, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a version ended early; its error stands above")
        return json.loads(line)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _in_turn(workers: dict[str, _Checkout], frames: int) -> dict[str, NDArray[np.float64]]:
    """Processor times of each version, [frames, STAGES], ms."""
    rows: dict[str, list[list[float]]] = {name: [] for name in workers}
    for worker in workers.values():
        worker.draw(0, WARM_UP)
    for first in range(0, frames, IN_TURN):
        for name, worker in workers.items():
            rows[name] += worker.draw(first, IN_TURN)
    return {name: np.array(times) * 1e3 for name, times in rows.items()}


def _figures(times: NDArray[np.float64]) -> dict[str, list[float]]:
    return {
        stage: [round(float(column.min()), 3), round(float(np.median(column)), 3)]
        for stage, column in zip(STAGES, times.T, strict=True)
    }


def _ratios(before: NDArray[np.float64], after: NDArray[np.float64]) -> dict[str, list[float]]:
    """After over before, of the least and of the median: frames differ, so each frame with itself."""
    pairs = after / before
    least = after.min(0) / before.min(0)
    return {
        stage: [round(float(least[i]), 3), round(float(np.median(pairs[:, i])), 3)]
        for i, stage in enumerate(STAGES)
    }


def _commit(path: Path) -> str:
    command = ["git", "-C", str(path), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    rows = [f"{'least / median, ms':24}" + "".join(f"{stage:>16}" for stage in STAGES)]
    for name, scene in result["scenes"].items():
        rows.append(f"{name}, PSNR {scene['psnr_db']} dB")
        for version in ("before", "after", "ratios"):
            cells = [f"{least:.3f} / {median:.3f}" for least, median in scene[version].values()]
            rows.append(f"  {version:22}" + "".join(f"{cell:>16}" for cell in cells))
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--avatar", nargs="+", default=["vera"], metavar="NAME_OR_PATH")
    parser.add_argument("--frames", type=int, default=100)
    add_save_option(parser)
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    result = measure(args.before, args.after, args.avatar, args.frames)
    publish(result, table(result), save=args.save)


if __name__ == "__main__":
    main()
