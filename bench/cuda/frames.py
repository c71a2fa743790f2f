"""Frames of the CUDA back end without a clock: for compute-sanitizer, for the time of a start, for leaks.

    python -m bench.cuda.frames [--frames 2]      every layout, kind and batch, small; then it ends
    python -m bench.cuda.frames --minutes 30      the built-in avatars in turn; the device's memory

One JSON line last.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from itertools import product
from typing import TYPE_CHECKING, Any

from engine.errors import UsageError

if TYPE_CHECKING:
    from render.avatars.avatar import Avatar
    from render.cuda.frame import Layout

SIZE = (96, 80)
LAYOUTS: tuple[Layout, ...] = ("rgb8", "yuv420", "nv12", "float")
LONG_SIZES = ((512, 512), (640, 480))
SAMPLE_S = 1.0  # between looks at the device's memory
CAPTURE_EVERY = 2000  # frames between two avatars and sizes: each is a new graph


def every_kind(frames: int) -> dict[str, Any]:
    """Draw `frames` pictures of every combination: `{"frames", "overflows", "seconds"}`."""
    import numpy as np

    from bench.cuda.rigged_scenes import random_poses, rigged_head
    from render.cuda.avatar_renderer import AvatarRenderer

    start = time.perf_counter()
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (SIZE[1], SIZE[0], 3)).astype(np.uint8)
    drawn = overflows = 0
    for surfel, batch in product((False, True), (1, 3)):
        avatar = rigged_head(800, surfel=surfel)
        cameras = [avatar.default_camera(*SIZE, yaw_deg=20.0 * i) for i in range(batch)]
        poses = random_poses(avatar.rig, batch)
        for layout in LAYOUTS:
            background: Any = picture if layout in ("yuv420", "nv12") else (0.2, 0.5, 0.9)
            renderer = AvatarRenderer(avatar, *SIZE, batch=batch, layout=layout, capacity=256)  # has to grow
            for _ in range(frames):
                renderer.draw(poses, cameras, background)
                renderer.launch(poses, cameras, background)
                drawn += 2 * batch
            renderer.draw(poses, cameras, background)
            overflows += renderer.statistics.overflows
            renderer.close()
    return {"frames": drawn, "overflows": overflows, "seconds": round(time.perf_counter() - start, 2)}


def long_run(
    minutes: float,
    *,
    avatars: list[Avatar] | None = None,
    used_mb: Callable[[], float] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Draw for so long; `{"frames", "captures", "seconds", "device_mb": {..}, "growth_mb"}`.

    "growth_mb" is the device memory in use in the last quarter of the time over that in the second, medians:
    the first quarter fills caches.
    """
    import numpy as np

    from bench.cuda.agreement import BACKGROUND, motion
    from render.cuda.avatar_renderer import AvatarRenderer

    if avatars is None:
        from render.avatars.library import builtin_names, open_avatar

        avatars = [open_avatar(name) for name in builtin_names()]
    if used_mb is None:
        from bench.cuda.timing import used_device_mb

        used_mb = used_device_mb
    begin, samples, frames, captures = clock(), [used_mb()], 0, 0
    sampled = begin
    while clock() - begin < 60 * minutes:
        avatar = avatars[captures % len(avatars)]
        width, height = LONG_SIZES[captures // len(avatars) % 2]
        camera, poses = avatar.default_camera(width, height), list(motion(avatar))
        renderer = AvatarRenderer(avatar, width, height, layout="yuv420")
        try:
            for i in range(CAPTURE_EVERY):
                renderer.draw([poses[i % len(poses)]], [camera], BACKGROUND)
                frames += 1
                now = clock()
                if now - sampled >= SAMPLE_S:
                    samples.append(used_mb())
                    sampled = now
                if now - begin >= 60 * minutes:
                    break
            captures += renderer.statistics.captures
        finally:
            renderer.close()
    quarters = np.array_split(np.array(samples), 4)
    growth = float(np.median(quarters[3]) - np.median(quarters[1])) if len(samples) >= 8 else 0.0
    return {
        "frames": frames,
        "captures": captures,
        "seconds": round(clock() - begin, 1),
        "device_mb": {"first": samples[0], "least": min(samples), "most": max(samples), "last": samples[-1]},
        "growth_mb": round(growth, 2),
        "samples": len(samples),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=0.0)
    args = parser.parse_args()
    from engine.backends import open_backend

    try:
        open_backend("cuda")
    except UsageError as error:
        print(f"visavis: {error}", file=sys.stderr)
        sys.exit(2)
    result = long_run(args.minutes) if args.minutes > 0 else every_kind(args.frames)
    print(json.dumps({"bench": "cuda_frames", **result}))


if __name__ == "__main__":
    main()
