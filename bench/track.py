"""How well and how fast a face is followed on the built-in head.

    python -m bench.track [CLIP ...] [--avatar A] [--pictures 40]

Without clips everything is measured on renders, whose truth is known. With clips also the reprojection: the
person is learned from the first second, and only later frames count. One JSON line last.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.avatars.library import DEFAULT_AVATAR, open_avatar
from tracking import axis_angle
from tracking.detect.detection import Detection
from tracking.detect.face_detector import FaceDetector
from tracking.fit.embedding import HEAD_LANDMARKS, LandmarkEmbedding
from tracking.fit.face_tracker import FaceTracker, Steadier, SteadySettings
from tracking.fit.fit_correction import FitCorrection
from tracking.fit.round_trip import round_trip
from tracking.making.rendered_faces import FaceStudio, combined_units

Array = NDArray[np.float64]

_NOISE_PX = 3.0
_FRAMES_OF_CLIP = 150
_WARM_UP_S = (
    2.0  # the identity comes after one second; jitter and reprojection are those of the time after it
)


def measure(
    clips: Sequence[Path] = (), avatar_name: str = DEFAULT_AVATAR, pictures: int = 40
) -> dict[str, Any]:
    """Round trip, jitter and time per frame on renders; reprojection and time on `clips`."""
    avatar = open_avatar(avatar_name)
    with FaceDetector(mode="image") as detector:
        studio = FaceStudio(avatar, detector)
        # Seeds below 100 made the correction: these pictures are new to it.
        rng = np.random.default_rng(100)
        trip = round_trip(studio, LandmarkEmbedding.load(HEAD_LANDMARKS), combined_units, pictures, rng)
        rest = studio.neutral()
        studio.close()
    assert rest is not None  # the round trip began with it
    correction = FitCorrection.load()
    result: dict[str, Any] = {
        "bench": "track",
        "avatar": avatar_name,
        "round_trip": {
            "pictures": len(trip.faces),
            "vertex_mm": _mean(trip.vertex_error_m(correction) * 1e3),
            "vertex_uncorrected_mm": _mean(trip.vertex_error_m() * 1e3),
            "vertex_at_rest_mm": _mean(trip.resting_error_m() * 1e3),
            "rotation_deg": _mean(trip.rotation_error_deg(correction)),
            "rotation_median_deg": round(float(np.median(trip.rotation_error_deg(correction))), 3),
            "rotation_uncorrected_deg": _mean(trip.rotation_error_deg()),
            "gaze_deg": _mean(trip.gaze_error_deg(correction)),
            "gaze_uncorrected_deg": _mean(trip.gaze_error_deg()),
            "depth_percent": _mean(100 * np.array(trip.depth_error)),
        },
    }
    still, _ = jitter(rest.landmarks, studio.width, studio.height, _NOISE_PX)
    raw, times = jitter(
        rest.landmarks, studio.width, studio.height, _NOISE_PX, Steadier(SteadySettings(still_share=1.0))
    )
    result["still"] = {"noise_px": _NOISE_PX, **still, "unsteadied": raw}
    result["solve"] = _percentiles(times)
    result["clips"] = [reprojection(clip) for clip in clips]
    return result


def jitter(
    landmarks: Array, width: int, height: int, noise_px: float, steadier: Steadier | None = None
) -> tuple[dict[str, float], list[float]]:
    """Movement from frame to frame of a still face whose landmarks shake, and milliseconds per frame."""
    rng = np.random.default_rng(0)
    tracker = FaceTracker(width, height, steadier=steadier)
    points, rotations, times = [], [], []
    for index in range(150):
        shaken = landmarks + rng.normal(0, noise_px, landmarks.shape)
        detection = Detection(
            landmarks=shaken.astype(np.float32),
            scores=np.zeros(52, np.float32),
            head_matrix=np.eye(4, dtype=np.float32),
            found=True,
            capture_ns=index * 33_333_333,
            index=index,
            width=width,
            height=height,
        )
        start = time.perf_counter()
        fit = tracker.update(detection)
        times.append(1e3 * (time.perf_counter() - start))
        if fit is None or detection.capture_ns < _WARM_UP_S * 1e9:
            continue
        points.append(tracker.projected(fit))
        rotations.append(fit.rotation)
    turns = [axis_angle.from_matrix(b @ a.T) for a, b in itertools.pairwise(rotations)]
    return {
        "landmark_px": _mean(np.linalg.norm(np.diff(points, axis=0), axis=2)),
        "rotation_deg": _mean(np.degrees(np.linalg.norm(turns, axis=1))),
    }, times


def reprojection(clip: Path, model: Path | None = None) -> dict[str, Any]:
    """Distance of the landmarks from the fitted head, percent of the interocular distance, and times."""
    from capture.video import VideoFile

    detections: list[Detection] = []
    errors: list[float] = []
    detect_ms: list[float] = []
    with FaceDetector(model) as detector, VideoFile(clip) as source:
        tracker = FaceTracker(*source.size)
        while len(detections) < _FRAMES_OF_CLIP and (frame := source.read()) is not None:
            start = time.perf_counter()
            detections.append(detector.detect(frame))
            detect_ms.append(1e3 * (time.perf_counter() - start))
    # Solved afterwards: live, the detector's threads run in a process of their own.
    solve_ms: list[float] = []
    for detection in detections:
        start = time.perf_counter()
        fit = tracker.update(detection)
        solve_ms.append(1e3 * (time.perf_counter() - start))
        if fit is not None and tracker.identity is not None:
            off = detection.landmarks[:, :2] - tracker.projected(fit)
            errors.append(float(np.linalg.norm(off, axis=1).mean()) / fit.interocular_px)
    return {
        "clip": clip.name,
        "frames": len(errors),
        "reprojection_percent": _mean(100 * np.array(errors)) if errors else None,
        "detect": _percentiles(detect_ms),
        "solve": _percentiles(solve_ms),
    }


def _mean(values: Any) -> float:
    return round(float(np.mean(values)), 4)


def _percentiles(ms: Sequence[float]) -> dict[str, float]:
    return {f"p{p}_ms": round(float(np.percentile(ms, p)), 3) for p in (50, 95, 99)}


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    trip, still, solve = result["round_trip"], result["still"], result["solve"]
    rows = [
        f"there and back, {trip['pictures']} renders of {result['avatar']}: face {trip['vertex_mm']:.2f} mm "
        f"(a face at rest {trip['vertex_at_rest_mm']:.2f}), rotation {trip['rotation_deg']:.2f} deg "
        f"(median {trip['rotation_median_deg']:.2f}), gaze {trip['gaze_deg']:.1f} deg, "
        f"depth {trip['depth_percent']:.1f} %",
        f"still face, landmarks shaken by {still['noise_px']:g} px: {still['landmark_px']:.3f} px and "
        f"{still['rotation_deg']:.3f} deg a frame",
        f"solve: p50 {solve['p50_ms']:.2f} ms, p95 {solve['p95_ms']:.2f} ms",
    ]
    rows += [
        f"{clip['clip']}: reprojection {clip['reprojection_percent']} % of the interocular distance over "
        f"{clip['frames']} frames, detect p50 {clip['detect']['p50_ms']:.1f} ms, "
        f"solve p50 {clip['solve']['p50_ms']:.2f} p95 {clip['solve']['p95_ms']:.2f} ms"
        for clip in result["clips"]
    ]
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--avatar", default=DEFAULT_AVATAR)
    parser.add_argument("--pictures", type=int, default=40)
    args = parser.parse_args()
    result = measure(args.clips, args.avatar, args.pictures)
    print(table(result))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
