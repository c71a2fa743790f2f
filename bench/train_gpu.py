"""A head avatar trained on the card by the command that users have, and what it scores on held-out pictures.

    python -m bench.train_gpu [--data FOLDER] [--minutes 5] [--size 512] [--seed 1]

FOLDER is what `visavis train prepare` made (default: $VISAVIS_TESTDATA/lp_d9.data where there is one; else a
SYNTHETIC clip of engine/train/synthetic is rendered, the last fifth held out: that needs MakeHuman's assets
and, the first time, Blender, see docs/people.md). One JSON line last.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.machine import on_this_machine, print_machine

FRAMES = 150  # of the synthetic clip
PREPARED = "lp_d9.data"  # in $VISAVIS_TESTDATA


def prepared_data() -> Path | None:
    """The real clip's dataset, where somebody put it."""
    folder = Path(os.environ.get("VISAVIS_TESTDATA", "")) / PREPARED
    return folder if "VISAVIS_TESTDATA" in os.environ and folder.is_dir() else None


@on_this_machine
def measure(data: Path | None, minutes: float, size: int, seed: int) -> dict[str, Any]:
    """Train within `minutes` and read the report. Raises CalledProcessError when training fails."""
    with tempfile.TemporaryDirectory() as place:
        kind, start = "real", time.perf_counter()
        if data is None:
            from engine.train.data.dataset import write_dataset
            from engine.train.synthetic.capture import make_clip

            kind, data = "SYNTHETIC", Path(place) / "clip.data"
            write_dataset(make_clip(seed, num_frames=FRAMES, size=size, supersampling=2), data)
        data_s = time.perf_counter() - start
        avatar = Path(place) / "trained.avatar"
        command = [sys.executable, "-m", "engine.cli", "train", "sage", str(data), "-o", str(avatar)]
        command += ["--regime", "monocular", "--device", "cuda", "--budget", f"{minutes:g}", "--no-calibrate"]
        command += ["--consent", "a measurement, deleted at its end"]
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=sys.stderr)
        seconds = time.perf_counter() - start
        report = json.loads(avatar.with_suffix(".report.json").read_text())
    kept = ("dataset", "trained", "played", "measured_views", "gaussians", "device", "steps", "seconds")
    return {
        "bench": "train_gpu",
        "data": kind,
        "minutes": minutes,
        "data_s": round(data_s, 1),
        "wall_s": round(seconds, 1),
        **{key: report[key] for key in kept},
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="a prepared dataset")
    parser.add_argument("--minutes", type=float, default=5.0, help="of the training (%(default)s)")
    parser.add_argument("--size", type=int, default=512, help="of the synthetic clip, pixels (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the synthetic person (%(default)s)")
    args = parser.parse_args()
    try:
        found = measure(args.data or prepared_data(), args.minutes, args.size, args.seed)
    except subprocess.CalledProcessError as error:
        return int(error.returncode) or 1
    print_machine(found)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
