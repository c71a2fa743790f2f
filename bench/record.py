"""How fast `visavis record` is, tracking and encoding included.

    python -m bench.record [--driver VIDEO] [--avatar A] [--seconds 12] [--backend cpu]

Without a driver a built-in avatar in the built-in motion is filmed first and drives itself.
One JSON line last.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from bench.machine import on_this_machine
from bench.publish import add_save_option, publish
from engine.backends import BACKENDS
from engine.demo_motion import demo_motion
from engine.look import DEFAULT_BACKGROUND, Look, parse_background
from engine.offline.record import record, record_motion
from render.avatars.avatar import Avatar
from render.avatars.library import DEFAULT_AVATAR, open_avatar

SIZE = 512


@on_this_machine
def measure(
    driver: str | None = None,
    avatar_name: str = DEFAULT_AVATAR,
    seconds: float = 12.0,
    backend: str = "cpu",
) -> dict[str, Any]:
    """The report of a recording at 512x512 (`visavis record --report`)."""
    avatar = open_avatar(avatar_name)
    with tempfile.TemporaryDirectory() as folder:
        filmed = driver or film_built_in_motion(Path(folder), avatar, seconds)
        report = record(filmed, Path(folder) / "out.mp4", avatar, _look(backend)).report
    report["input"] = Path(driver).name if driver else "built-in motion, filmed"
    del report["output"]
    return {"bench": "record", **report}


def film_built_in_motion(folder: Path, avatar: Avatar, seconds: float) -> str:
    """A video in `folder`, 512x512, of an avatar in the built-in motion: a driver for who names none."""
    filmed = str(folder / "driver.mp4")
    record_motion(demo_motion(seconds), filmed, avatar, _look("cpu"))
    return filmed


def _look(backend: str) -> Look:
    return Look(SIZE, SIZE, parse_background(DEFAULT_BACKGROUND, SIZE, SIZE), backend)


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    rows = [
        f"{result['input']} -> {result['avatar']}, {result['num_gaussians']} Gaussians",
        f"{result['frames']} frames in {result['seconds']} s, {result['fps']} fps, "
        f"peak memory {result['peak_memory_mb']:.0f} MB",
        f"{'stage':>10}  {'p50 ms':>7}  {'p95 ms':>7}  {'p99 ms':>7}",
    ]
    for stage, t in result["stages"].items():
        rows.append(f"{stage:>10}  {t['p50_ms']:7.2f}  {t['p95_ms']:7.2f}  {t['p99_ms']:7.2f}")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--driver")
    parser.add_argument("--avatar", default=DEFAULT_AVATAR)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--backend", default="cpu", choices=BACKENDS)
    add_save_option(parser)
    args = parser.parse_args()
    result = measure(args.driver, args.avatar, args.seconds, args.backend)
    publish(result, table(result), save=args.save)


if __name__ == "__main__":
    main()
