"""How long `visavis demo` takes from the command to the page, and to the first picture.

    python -m bench.start [--repeats 3] [--avatar A] [--save]

Cold: with an empty folder for machine code, as after an install, once. Warm: as from the second start on,
medians of `--repeats`. "page_s" is the page's first answer to a request, "picture_s" when pictures are drawn
and a viewer gets them, "cpu_s" the processor time of all processes until then and for ending. On a busy
machine look at the processor time. One JSON line last.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import on_this_machine
from bench.publish import add_save_option, publish
from render.avatars.library import DEFAULT_AVATAR

POLL_S = 0.02
PATIENCE_S = 600.0


@on_this_machine
def measure(repeats: int = 3, avatar: str = DEFAULT_AVATAR) -> dict[str, Any]:
    """`{"cold": {"page_s", "picture_s", "cpu_s"}, "warm": {..}, "help_s", ..}`."""
    with tempfile.TemporaryDirectory() as folder:
        cold = _start(avatar, Path(folder))
        warm = [_start(avatar, Path(folder)) for _ in range(repeats)]
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "engine.cli", "--help"], stdout=subprocess.DEVNULL, check=True)
    return {
        "bench": "start",
        "avatar": avatar,
        "repeats": repeats,
        "cold": cold,
        "warm": {key: round(float(np.median([run[key] for run in warm])), 2) for key in cold},
        "help_s": round(time.perf_counter() - begin, 2),
    }


def _start(avatar: str, folder: Path) -> dict[str, float]:
    busy, begin = _children_s(), time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "engine.cli", "demo", "--port", "0", "--avatar", avatar],
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if not address:
            raise RuntimeError(f"visavis demo did not start (exit code {process.wait()})")
        _ask(address)
        page_s = time.perf_counter() - begin
        # only a loop that draws has this figure
        while "render_scale" not in json.loads(_ask(f"{address}api/figures"))["live"]:
            if time.perf_counter() - begin > PATIENCE_S:
                raise RuntimeError(f"visavis demo drew nothing within {PATIENCE_S:.0f} s")
            time.sleep(POLL_S)
        picture_s = time.perf_counter() - begin
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()
    cpu_s = _children_s() - busy
    return {"page_s": round(page_s, 2), "picture_s": round(picture_s, 2), "cpu_s": round(cpu_s, 2)}


def _ask(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=60) as answer:
        content: bytes = answer.read()
        return content


def _children_s() -> float:
    """Processor time of all processes that this one started and that are gone."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    rows = [f"{'visavis demo, seconds':24}{'page':>8}{'picture':>9}{'processor':>11}"]
    for name, title in (("cold", "first start"), ("warm", "second and later")):
        run = result[name]
        rows.append(f"{title:24}{run['page_s']:8.2f}{run['picture_s']:9.2f}{run['cpu_s']:11.2f}")
    rows.append(f"visavis --help: {result['help_s']:.2f} s")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--avatar", default=DEFAULT_AVATAR)
    add_save_option(parser)
    args = parser.parse_args()
    result = measure(args.repeats, args.avatar)
    publish(result, table(result), save=args.save)


if __name__ == "__main__":
    main()
