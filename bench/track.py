"""How fast and how calmly a face drives an avatar: the detector and the driver that users get.

    python -m bench.track [CLIP ...] [--avatar A] [--frames 300]

The detector runs in its own process and the driver solves each of its answers at once, as live; then it
solves the clip as a whole, as `visavis record` does. A still face whose landmarks shake says how much of the
noise is seen. Without clips an avatar is filmed in the built-in motion. One JSON line last.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.machine import on_this_machine
from bench.publish import add_save_option, publish
from bench.record import SIZE, film_built_in_motion
from capture.source import open_input
from engine.calibrate import ensure_calibrated
from engine.progress import Bars
from engine.report import StageTimes
from render import axis_angle
from render.avatars.avatar import Avatar
from render.avatars.library import DEFAULT_AVATAR, open_avatar
from render.motion import Motion
from tracking.detect.detection import Detection
from tracking.detect.face_finder import FaceFinderFactory
from tracking.detect.process import DetectorProcess
from tracking.face.driver import Driver

_NOISE_PX = 1.0  # of every landmark; the detector's own is below that on a sharp picture
_STILL_FRAMES, _WARM_UP_FRAMES = 150, 60
_FRAME_NS = 33_333_333


@on_this_machine
def measure(
    clips: Sequence[Path] = (), avatar_name: str = DEFAULT_AVATAR, frames: int = 300
) -> dict[str, Any]:
    """Times per frame of the first `frames` of each clip, and the jitter of a still face."""
    with Bars() as bars:
        avatar = ensure_calibrated(open_avatar(avatar_name), bars)
    result: dict[str, Any] = {"bench": "track", "avatar": avatar_name, "clips": []}
    with tempfile.TemporaryDirectory() as folder, Driver(avatar) as driver:
        for clip in clips or [Path(film_built_in_motion(Path(folder), avatar, frames / 30))]:
            name = clip.name if clips else "built-in motion, filmed"
            figures, detections = _follow(clip, driver, frames)
            result["clips"].append({"clip": name, **figures})
            rest = next((d for d in detections if d.found), None)
            if rest is not None and "still" not in result:
                result["still"] = jitter(driver, rest)
    return result


def _follow(clip: Path, driver: Driver, frames: int) -> tuple[dict[str, Any], list[Detection]]:
    times = StageTimes()
    detections: list[Detection] = []
    driver.restart()
    with open_input(str(clip)) as source, DetectorProcess(FaceFinderFactory()) as detector:
        detector.wait_ready()
        for frame in itertools.islice(iter(source.read, None), frames):
            with times.timed("both"):
                with times.timed("detect"):
                    detections.append(detector.detect(frame))
                with times.timed("solve"):
                    driver.update(detections[-1])
    motions = driver.solve_clip(detections, source.fps)
    return {
        "frames": len(detections),
        "found": round(float(np.mean([d.found for d in detections])), 4),
        "live": times.summary(),
        "clip_ms_per_frame": {
            "solve": round(1e3 * driver.solve_s / len(motions), 3),
            "refine": round(1e3 * driver.refine_s / len(motions), 3),
        },
    }, detections


def jitter(driver: Driver, rest: Detection, noise_px: float = _NOISE_PX) -> dict[str, float]:
    """What a still face whose landmarks shake by `noise_px` moves from frame to frame, driven live.

    `point_px` is the mean way of the avatar's vertices in its picture of 512x512, `shaken_px` that of the
    landmarks it was solved from; `turn_deg` is the head's turn.
    """
    rng = np.random.default_rng(0)
    shaken = [
        replace(
            rest,
            landmarks=(rest.landmarks + rng.normal(0, noise_px, rest.landmarks.shape)).astype(np.float32),
            capture_ns=index * _FRAME_NS,
            index=index,
        )
        for index in range(_STILL_FRAMES)
    ]
    driver.restart()
    motions = [driver.update(detection) for detection in shaken][_WARM_UP_FRAMES:]
    turns = [
        np.linalg.norm(axis_angle.difference(before.head_rotation, after.head_rotation))
        for before, after in itertools.pairwise(motions)
    ]
    landmarks = np.array([d.landmarks[:, :2] for d in shaken])
    return {
        "noise_px": noise_px,
        "shaken_px": _mean_way(landmarks),
        "point_px": _mean_way(np.array([_points(driver.avatar, motion) for motion in motions])),
        "turn_deg": round(float(np.degrees(np.mean(turns))), 4),
    }


def _points(avatar: Avatar, motion: Motion) -> np.ndarray:
    with torch.inference_mode():
        vertices = avatar.rig(avatar.params(motion)).vertices.double()
    return avatar.default_camera(SIZE, SIZE).project(vertices)[:, :2].numpy()


def _mean_way(points: np.ndarray) -> float:
    """Mean distance of points [T, N, 2] from one frame to the next."""
    return round(float(np.linalg.norm(np.diff(points, axis=0), axis=2).mean()), 4)


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    rows = []
    for clip in result["clips"]:
        rows.append(
            f"{clip['clip']} -> {result['avatar']}: {clip['frames']} frames, face in {clip['found']:.0%}"
        )
        rows += [
            f"{stage:>18}  p50 {t['p50_ms']:6.2f}  p95 {t['p95_ms']:6.2f}  p99 {t['p99_ms']:6.2f} ms"
            for stage, t in clip["live"].items()
        ]
        whole = clip["clip_ms_per_frame"]
        rows.append(
            f"the clip as a whole: solve {whole['solve']:.2f}, refine {whole['refine']:.2f} ms a frame"
        )
    if still := result.get("still"):
        rows.append(
            f"still face whose landmarks shake by {still['shaken_px']:.2f} px a frame: "
            f"the avatar moves {still['point_px']:.2f} px and {still['turn_deg']:.3f} deg a frame"
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--avatar", default=DEFAULT_AVATAR)
    parser.add_argument("--frames", type=int, default=300)
    add_save_option(parser)
    args = parser.parse_args()
    result = measure(args.clips, args.avatar, args.frames)
    publish(result, table(result), save=args.save)


if __name__ == "__main__":
    main()
