"""How faithfully an avatar does what a person does: record a video, then look at driver and result alike.

    python -m bench.reenact CLIP_OR_FOLDER ... [--avatar A ...] [--keep FOLDER] [--save]

Both videos are detected frame by frame in video mode and paired by time. A signal's correlation says whether
it moves with the driver's, its ratio of standard deviations whether it moves as far. Only signals that the
driver moves more than the detector's noise count in `main_mean`. Both hide a constant error: `head_deg` is
the angle between the driver's head and the avatar's, and `head_offset_ypr` its mean, against the line of
sight of either picture as `tracking.face.head_pose` has it. One JSON line last.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.machine import on_this_machine, print_machine
from capture.source import open_input
from engine.look import DEFAULT_BACKGROUND, Look, parse_background
from engine.offline.record import record
from render.avatars.library import DEFAULT_AVATAR, open_avatar
from tracking.detect.detection import Detection
from tracking.detect.face_detector import FaceDetectorFactory
from tracking.detect.process import DetectorProcess
from tracking.face.head_pose import angles_of, rotation_of_angles
from tracking.face.signals import rotations_of, track_of_detections

SIZE = 512
RESULTS = Path(__file__).parent / "results"
VIDEOS = (".mp4", ".mkv", ".mov", ".mpg", ".webm", ".avi")
PAIR_MS = 25.0  # frames further apart in time are not compared
OPEN_LIPS = 0.05  # eye units

# The least standard deviation at which a driver's signal counts.
FLOORS = {
    "mouthGap": 0.02,
    "mouthWide": 0.02,
    "cornerLift": 0.01,
    "eyeOpen": 0.01,
    "browHeight": 0.012,
    "yaw": 1.0,
    "pitch": 1.0,
    "roll": 1.0,
    "lookX": 0.1,
}

Array = NDArray[np.float64]


@on_this_machine
def measure(clips: Sequence[Path], avatar_name: str, folder: Path) -> dict[str, Any]:
    """Record every clip with one avatar into `folder` and score it: `{"clips": {name: score}, ...}`."""
    avatar = open_avatar(avatar_name)
    look = Look(SIZE, SIZE, parse_background(DEFAULT_BACKGROUND, SIZE, SIZE))
    scores: dict[str, Any] = {}
    for clip in clips:
        output = folder / f"{clip.stem}_{avatar.name}.mp4"
        report = record(clip, output, avatar, look).report
        scores[clip.name] = {**score(signals(clip), signals(output)), "record_fps": report["fps"]}
        print(_row(clip.name, scores[clip.name]), file=sys.stderr)
    means = [s["main_mean"] for s in scores.values() if s.get("main_mean") is not None]
    return {
        "avatar": avatar.name,
        "main_mean": round(float(np.mean(means)), 3) if means else None,
        "main_mean_least": min(means, default=None),
        "clips": scores,
    }


def signals(video: Path) -> dict[str, Array]:
    """Signals of every frame, NaN where no face was found, and their times: `{"time_ms": [T], name: [T]}`.

    `head` [T, 3] are yaw, pitch, roll against the line of sight, degrees.
    """
    with open_input(str(video)) as source, DetectorProcess(FaceDetectorFactory()) as detector:
        detections = list(detector.detect_all(iter(source.read, None)))
    rows = [_signals_of(d) for d in detections]
    values = {name: np.array([row[name] for row in rows]) for name in FLOORS}
    turns = np.full((len(detections), 3), np.nan)
    found = [i for i, d in enumerate(detections) if d.found]
    if found:
        turns[found] = track_of_detections([detections[i] for i in found]).sight
    return {"time_ms": np.array([d.capture_ns for d in detections]) / 1e6, "head": turns, **values}


def _signals_of(detection: Detection) -> dict[str, float]:
    if not detection.found:
        return dict.fromkeys(FLOORS, float("nan"))
    rotation = rotations_of([detection])[0]
    points = (detection.landmarks * (1.0, -1.0, -1.0)) @ rotation
    points /= np.linalg.norm(points[33] - points[263])
    yaw, pitch, roll = angles_of(rotation)

    def distance(a: int, b: int) -> float:
        return float(np.linalg.norm(points[a] - points[b]))

    corners, lips = points[[61, 291], 1].mean(), points[[13, 14], 1].mean()
    brows = points[[70, 63, 105, 66, 107, 300, 293, 334, 296, 336], 1].mean()
    return {
        "mouthGap": distance(13, 14),
        "mouthWide": distance(61, 291),
        "cornerLift": float(corners - lips),
        "eyeOpen": (distance(159, 145) + distance(386, 374)) / 2,
        "browHeight": float(brows - points[[33, 133, 362, 263], 1].mean()),
        "yaw": float(yaw),
        "pitch": float(pitch),
        "roll": float(roll),
        "lookX": (detection.score("eyeLookOutLeft") + detection.score("eyeLookInRight")) / 2,
    }


def score(driver: dict[str, Array], result: dict[str, Array]) -> dict[str, Any]:
    """Compare two videos' signals; `main_mean` is None where too few faces were found in both."""
    times, others = driver["time_ms"], result["time_ms"]
    nearest = np.clip(np.searchsorted(others, times - 1), 0, len(others) - 1)
    found, seen = np.isfinite(driver["yaw"]), np.isfinite(result["yaw"])
    paired = (np.abs(others[nearest] - times) <= PAIR_MS) & found & seen[nearest]
    out: dict[str, Any] = {
        "frames": [len(times), len(others)],
        "found": [round(float(found.mean()), 4), round(float(seen.mean()), 4)],
        "main_mean": None,
    }
    if paired.sum() < 10:
        return out
    correlations, ratios, main = {}, {}, []
    for name, floor in FLOORS.items():
        x, y = driver[name][paired], result[name][nearest[paired]]
        if x.std() < 1e-4:
            continue
        correlations[name] = round(float(np.corrcoef(x, y)[0, 1]) if y.std() > 1e-6 else 0.0, 3)
        ratios[name] = round(float(y.std() / x.std()), 3)
        if x.std() >= floor:
            main.append(name)
    gaps = driver["mouthGap"][paired] > OPEN_LIPS, result["mouthGap"][nearest[paired]] > OPEN_LIPS
    turns = driver["head"][paired], result["head"][nearest[paired]]
    degrees = degrees_between(*(rotation_of_angles(angles) for angles in turns))
    out |= {
        "head_deg": {f"p{p}": round(float(np.percentile(degrees, p)), 2) for p in (50, 95)},
        "head_offset_ypr": [round(float(a), 2) for a in (turns[1] - turns[0]).mean(0)],
        "main_mean": round(float(np.mean([correlations[name] for name in main])), 3) if main else None,
        "lips_agree": round(float((gaps[0] == gaps[1]).mean()), 3),
        "main": main,
        "correlation": correlations,
        "amplitude": ratios,
    }
    return out


def degrees_between(a: Array, b: Array) -> Array:
    """The angles [T] of the rotations that lead from rotations [T, 3, 3] to others."""
    gap = a.swapaxes(1, 2) @ b
    return np.asarray(np.degrees(np.arccos(np.clip((np.trace(gap, axis1=1, axis2=2) - 1) / 2, -1, 1))))


def _row(name: str, s: dict[str, Any]) -> str:
    if s["main_mean"] is None:
        return f"{name:<22} found {s['found'][0]:.2f} {s['found'][1]:.2f}, too little to compare"
    parts = [f"{k} {s['correlation'][k]:.2f}({s['amplitude'][k]:.2f})" for k in s["main"]]
    return (
        f"{name:<22} {s['main_mean']:.3f}  lips {s['lips_agree']:.2f}  found {s['found'][1]:.3f}  "
        f"{s['record_fps']:5.1f} fps  {' '.join(parts)}  head {s['head_deg']['p50']:.1f} off "
        f"{' '.join(f'{a:.1f}' for a in s['head_offset_ypr'])}"
    )


def clips_in(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        inside = sorted(p for p in path.glob("*") if p.suffix in VIDEOS) if path.is_dir() else [path]
        found += inside
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--avatar", action="append", help=f"repeatable ({DEFAULT_AVATAR})")
    parser.add_argument("--keep", type=Path, help="folder that keeps the recordings")
    parser.add_argument("--save", action="store_true", help="write bench/results/reenact_AVATAR.json")
    args = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in args.avatar or [DEFAULT_AVATAR]:
            print(f"avatar {name}: correlation(amplitude) of the signals that count", file=sys.stderr)
            results.append(measure(clips_in(args.clips), name, args.keep or Path(temporary)))
            print(f"{'mean':<22} {results[-1]['main_mean']}", file=sys.stderr)
            print_machine(results[-1])
            if args.save:
                target = RESULTS / f"reenact_{results[-1]['avatar']}.json"
                target.write_text(json.dumps(results[-1], indent=1) + "\n")
    print(json.dumps({"bench": "reenact", "avatars": results}))


if __name__ == "__main__":
    main()
