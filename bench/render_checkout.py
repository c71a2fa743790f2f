"""One checkout's process of `bench.render_compared`, which runs this file by its path.

It imports nothing of `bench`: what counts is the checkout it is started in, which may be older.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIZE = 512
BACKGROUND = (0.85, 0.86, 0.89)
STAGES = ("pose", "project", "raster", "splat", "both")
# Degrees around the head and what the face does.
LOOKS: tuple[tuple[float, dict[str, float]], ...] = (
    (0.0, {}),
    (45.0, {}),
    (-30.0, {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}),
    (0.0, {"jawOpen": 0.7}),
    (20.0, {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "jawOpen": 0.2}),
)


def work(avatar_name: str, pictures: Path) -> None:
    """A version's own process: its pictures first, then frames as standard input asks for them."""
    import torch

    from engine.demo_motion import demo_motion
    from render.avatars.library import open_avatar
    from render.cpu.renderer import CpuRenderer
    from render.importers.lam import import_lam
    from render.motion import Motion

    torch.set_num_threads(1)
    avatar = import_lam(Path(avatar_name)) if Path(avatar_name).is_dir() else open_avatar(avatar_name)
    renderer = CpuRenderer(SIZE, SIZE, num_threads=1)
    with torch.inference_mode():
        looks = []
        for yaw_deg, face in LOOKS:
            camera = avatar.default_camera(SIZE, SIZE, yaw_deg=yaw_deg)
            posed = avatar.pose(avatar.params(Motion.of(face)))
            looks.append(renderer.render_rgb8(posed, camera, BACKGROUND))
        np.save(pictures, np.array(looks))
        motion = [avatar.params(moment) for moment in demo_motion(4.0)]
        camera = avatar.default_camera(SIZE, SIZE)
        out = np.empty((SIZE * 3 // 2, SIZE), np.uint8)
        kernels = _timed(renderer)
        for line in sys.stdin:
            first, count = map(int, line.split())
            rows = []
            for i in range(first, first + count):
                kernels.clear()
                start = time.thread_time()
                posed = avatar.pose(motion[i % len(motion)])
                middle = time.thread_time()
                renderer.render_yuv420(posed, camera, BACKGROUND, out)
                end = time.thread_time()
                rows.append([middle - start, *kernels, end - middle, end - start])
            print(json.dumps(rows), flush=True)
    renderer.close()


def _timed(renderer: Any) -> list[float]:
    """What gets the processor time of each of the two kernels of a frame."""
    times: list[float] = []
    inner = renderer._on_all_threads

    def timed(job: Callable[[Any], Any]) -> None:
        start = time.thread_time()
        inner(job)
        times.append(time.thread_time() - start)

    renderer._on_all_threads = timed
    return times


if __name__ == "__main__":
    sys.path.pop(0)  # this file's folder
    work(sys.argv[1], Path(sys.argv[2]))
