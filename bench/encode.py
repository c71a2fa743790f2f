"""How long the recorder takes per picture, how large the file gets, and how close to the original it stays.

    python -m bench.encode [--frames 150]

Pictures: a built-in avatar in the built-in motion, 512x512 and 1280x720. One JSON line last.
"""

from __future__ import annotations

import argparse
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.machine import on_this_machine
from bench.publish import add_save_option, publish
from capture.media import open_media
from engine.demo_motion import demo_motion
from engine.look import Look
from engine.offline.play import pictures
from engine.report import StageTimes
from render.avatars.library import DEFAULT_AVATAR, open_avatar
from transport.files.mp4_writer import Mp4Writer

SIZES = ((512, 512), (1280, 720))
FPS = 30


@on_this_machine
def measure(num_frames: int = 150) -> dict[str, Any]:
    """Encode at every size; `{"sizes": {"512x512": {"p50_ms", .., "kbit_per_s", "psnr_db"}}, ..}`."""
    motion = demo_motion(num_frames / FPS, FPS)
    avatar = open_avatar(DEFAULT_AVATAR)
    sizes = {}
    for width, height in SIZES:
        look = Look(width, height, (0.85, 0.86, 0.89))
        drawn = [picture.copy() for picture in pictures(motion, avatar, look, StageTimes())]
        sizes[f"{width}x{height}"] = _encode(drawn, width, height)
    return {"bench": "encode", "frames": num_frames, "sizes": sizes}


def _encode(drawn: list[NDArray[np.uint8]], width: int, height: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.mp4"
        with Mp4Writer(path, width=width, height=height, frame_rate=Fraction(FPS)) as recorder:
            for i, picture in enumerate(drawn):
                recorder.write(picture, round(i * 1e9 / FPS))
        with open_media(path) as container:
            decoded = [frame.to_ndarray()[:height] for frame in container.decode(video=0)]
        kbit = path.stat().st_size * 8 / 1e3
    squares = [np.mean((a.astype(np.float32) - b[:height]) ** 2) for a, b in zip(decoded, drawn, strict=True)]
    times = StageTimes()
    times.add("encode", recorder.encode_ms)
    return {
        **times.summary()["encode"],
        "kbit_per_s": round(kbit / (len(drawn) / FPS), 1),
        "psnr_db": round(float(10 * np.log10(255**2 / np.mean(squares))), 2),
    }


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    rows = [f"{'size':>10}  {'p50 ms':>7}  {'p95 ms':>7}  {'kbit/s':>7}  {'PSNR dB':>7}"]
    for size, r in result["sizes"].items():
        rows.append(
            f"{size:>10}  {r['p50_ms']:7.2f}  {r['p95_ms']:7.2f}  {r['kbit_per_s']:7.0f}  {r['psnr_db']:7.2f}"
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=150)
    add_save_option(parser)
    args = parser.parse_args()
    result = measure(args.frames)
    publish(result, table(result), save=args.save)


if __name__ == "__main__":
    main()
