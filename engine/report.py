"""How long each stage took, as percentiles, and the JSON report made of them."""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from render.whole_file import whole_file
from transport.errors import OutputError
from transport.files.mp4_writer import check_writable

PERCENTILES = (50, 95, 99)


class StageTimes:
    """Milliseconds per frame of named stages. One thread may add to a stage at a time."""

    def __init__(self) -> None:
        self._ms: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time the block takes."""
        start = time.perf_counter()
        yield
        self._ms[stage].append((time.perf_counter() - start) * 1e3)

    def add(self, stage: str, ms: Iterable[float]) -> None:
        """Add times measured elsewhere."""
        self._ms[stage].extend(ms)

    def summary(self) -> dict[str, dict[str, float]]:
        """`{stage: {"p50_ms": .., "p95_ms": .., "p99_ms": ..}}` of every stage that ran."""
        return {
            stage: {f"p{p}_ms": round(float(np.percentile(ms, p)), 3) for p in PERCENTILES}
            for stage, ms in self._ms.items()
            if ms
        }


def make_report(frames: int, seconds: float, times: StageTimes, **facts: Any) -> dict[str, Any]:
    """Frames, wall-clock seconds, frames per second and stages, then any other facts."""
    return {
        "frames": frames,
        "seconds": round(seconds, 3),
        "fps": round(frames / seconds, 2) if seconds > 0 else 0.0,
        "stages": times.summary(),
        **facts,
    }


def write_json(path: str | Path, report: dict[str, Any]) -> None:
    """Write a report under a temporary name, then rename. Raises OutputError."""
    check_writable(path)
    try:
        with whole_file(Path(path)) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n")
    except OSError as error:
        raise OutputError(f"cannot write {str(path)!r}: {error.strerror}; choose another place") from error


def peak_memory_mb() -> float:
    """Largest resident memory so far of this process plus that of its largest ended child, MB."""
    import resource

    scale = 1 / 2**20 if sys.platform == "darwin" else 1 / 2**10  # macOS counts bytes, Linux KiB
    usage = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return round(sum(usage) * scale, 1)
