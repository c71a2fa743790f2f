"""Whether a short cut of a clip gives the weights that the same frames have inside the whole clip.

    python -m bench.short_cuts CLIP_OR_FOLDER ... [--avatar A] [--places 8] [--unrefined] [--save]

Each clip is cut at eight places to 1, 2 and 3 seconds in turn. A cut is detected and solved by itself, as
`visavis record` would, and driven live from its first frame. What counts are the units in use in a cut: above
0.1 in some frame, there or in the whole; of each, the median over frames of the difference. One JSON line
last.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.machine import on_this_machine
from bench.publish import add_save_option, publish
from bench.reenact import clips_in
from capture.frame import Frame
from capture.source import open_input
from engine.calibrate import ensure_calibrated
from engine.progress import Bars
from render.avatars.library import DEFAULT_AVATAR, open_avatar
from render.motion import Motion
from tracking.detect.detection import Detection
from tracking.detect.face_detector import FaceDetectorFactory
from tracking.detect.process import DetectorProcess
from tracking.face.driver import Driver, DriverConfig

Array = NDArray[np.float64]

SECONDS = (1.0, 2.0, 3.0)
WITHIN = 0.1  # of a weight
_IN_USE = 0.1
_MOST_FRAMES = 900


def cuts(num_frames: int, fps: float, num_places: int) -> Iterator[slice]:
    """The frames of each cut, from the clip's first to its last."""
    for place in range(num_places):
        length = min(num_frames, round(SECONDS[place % len(SECONDS)] * fps))
        first = round(place * (num_frames - length) / max(num_places - 1, 1))
        yield slice(first, first + length)


def unit_differences(cut: Array, whole: Array) -> Array:
    """The median over frames of each unit's difference, [U]; NaN where a unit is not in use. Both [T, U]."""
    in_use = np.maximum(np.abs(cut), np.abs(whole)).max(0) > _IN_USE
    return np.where(in_use, np.median(np.abs(cut - whole), 0), np.nan)


@on_this_machine
def measure(
    clips: Sequence[Path], avatar_name: str = DEFAULT_AVATAR, num_places: int = 8, *, refined: bool = True
) -> dict[str, Any]:
    """The differences of every clip's cuts, solved as a clip and driven live."""
    with Bars() as bars:
        avatar = ensure_calibrated(open_avatar(avatar_name), bars)
    names = avatar.rig.unit_names
    config = DriverConfig() if refined else DriverConfig(refine=None)
    rows: list[dict[str, Any]] = []
    differences: dict[str, list[Array]] = {"clip": [], "live": []}
    with Driver(avatar, config) as driver:
        for clip in clips:
            with open_input(str(clip)) as source:
                frames = list(itertools.islice(iter(source.read, None), _MOST_FRAMES))
            whole = _weights(driver.solve_clip(detected(frames), source.fps))
            for part in cuts(len(frames), source.fps, num_places):
                seen = detected(frames[part])
                row: dict[str, Any] = {"clip": clip.name, "first": part.start, "frames": len(seen)}
                solved = {"clip": _weights(driver.solve_clip(seen, source.fps))}
                driver.restart()
                solved["live"] = _weights([driver.update(d) for d in seen])
                for how, weights in solved.items():
                    found = unit_differences(weights, whole[part])
                    differences[how].append(found)
                    row[how] = _of_cut(found, names)
                rows.append(row)
    figures = {how: _of_all(np.array(found), names) for how, found in differences.items()}
    return {"bench": "short_cuts", "avatar": avatar_name, "refined": refined, **figures, "cuts": rows}


def detected(frames: Iterable[Frame]) -> list[Detection]:
    """What the tracker sees in frames of one film."""
    with DetectorProcess(FaceDetectorFactory()) as detector:
        return list(detector.detect_all(iter(frames)))


def _weights(motions: Sequence[Motion]) -> Array:
    return np.array([motion.weights for motion in motions])


def _of_cut(differences: Array, names: Sequence[str]) -> dict[str, Any]:
    if np.isnan(differences).all():
        return {"median": 0.0, "worst": 0.0, "unit": ""}
    worst = int(np.nanargmax(differences))
    return {
        "median": round(float(np.nanmedian(differences)), 4),
        "worst": round(float(differences[worst]), 4),
        "unit": names[worst],
    }


def _of_all(differences: Array, names: Sequence[str]) -> dict[str, Any]:
    """Figures of differences [cuts, U]."""
    used = ~np.isnan(differences)
    of_cuts = [float(np.median(row[use])) for row, use in zip(differences, used, strict=True) if use.any()]
    by_unit = {
        name: round(float(np.median(differences[used[:, u], u])), 4)
        for u, name in enumerate(names)
        if used[:, u].any()
    }
    return {
        "median_of_cuts": round(float(np.median(of_cuts)), 4),
        "worst_cut": round(max(of_cuts), 4),
        "worst_unit": max(by_unit.items(), key=lambda item: item[1]),
        "units_within": round(float((differences[used] <= WITHIN).mean()), 4),
        "worst_unit_of_a_cut": round(float(np.max(differences[used])), 4),
        "by_unit": by_unit,
    }


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    rows = [f"{'cut':<28}{'solved: median worst':>40}{'live: median worst':>40}"]
    for cut in result["cuts"]:
        name = f"{cut['clip']} {cut['first']}+{cut['frames']}"
        parts = "".join(
            f"{cut[how]['median']:>16.3f} {cut[how]['worst']:.3f} {cut[how]['unit']:<17}"
            for how in ("clip", "live")
        )
        rows.append(f"{name:<28}{parts}")
    for how, words in (("clip", "solved as a clip"), ("live", "driven live")):
        r = result[how]
        rows.append(
            f"{words}: median of a cut {r['median_of_cuts']:.3f}, worst {r['worst_cut']:.3f}; units of a cut "
            f"within {WITHIN}: {r['units_within']:.1%}, worst {r['worst_unit_of_a_cut']:.2f}; "
            f"worst unit over all cuts {r['worst_unit'][0]} {r['worst_unit'][1]:.3f}"
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--avatar", default=DEFAULT_AVATAR)
    parser.add_argument("--places", type=int, default=8)
    parser.add_argument("--unrefined", action="store_true", help="solve without looking at the avatar")
    add_save_option(parser)
    args = parser.parse_args()
    result = measure(clips_in(args.clips), args.avatar, args.places, refined=not args.unrefined)
    publish(result, table(result), save=args.save)


if __name__ == "__main__":
    main()
