"""How near the tracker comes to what really moved: films whose motion is known.

    python -m bench.truth [FILM ...] [--avatar A] [--live] [--save]

Beside each film lies NAME.npz: `names` [U] and `weights` [T, U] of the built-in rig's units, `head_matrix`
[T, 3, 3] from a level head that looks along the camera's axis (x to the subject's left, y up, z out of the
face), `fps`, `regions` [R] and `region_basis` [U, R, 3], millimetres by which a unit moves a place of the
face. Without films the one in VISAVIS_TESTDATA is taken. Frames are paired by time, and places of the face
are compared by their way from rest, the first half second. One JSON line last.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.machine import on_this_machine
from bench.publish import add_save_option, publish
from bench.reenact import degrees_between
from capture.source import open_input
from render import axis_angle
from render.avatars.library import DEFAULT_AVATAR, open_avatar
from render.motion import Motion
from tracking.detect.face_detector import FaceDetectorFactory
from tracking.detect.process import DetectorProcess
from tracking.face.driver import Driver
from tracking.face.head_pose import angles_of

Array = NDArray[np.float64]

_REST_S = 0.5
_OPEN_EYES = 0.2  # weight of a blink below which the gaze is compared
_GAZE = {
    "gaze_yaw": (("eyeLookOutLeft", "eyeLookInRight"), ("eyeLookInLeft", "eyeLookOutRight")),
    "gaze_pitch": (("eyeLookUpLeft", "eyeLookUpRight"), ("eyeLookDownLeft", "eyeLookDownRight")),
}


@dataclass(frozen=True)
class Truth:
    """What moved in a film of T frames, U units and R places of the face."""

    names: tuple[str, ...]
    weights: Array  # [T, U]
    head: Array  # [T, 3, 3]
    times_s: Array  # [T]
    regions: tuple[str, ...]
    region_basis: Array  # [U, R, 3] millimetres

    @classmethod
    def load(cls, path: Path) -> Truth:
        with np.load(path, allow_pickle=False) as file:
            weights = file["weights"].astype(np.float64)
            names, regions = (tuple(str(x) for x in file[key]) for key in ("names", "regions"))
            times_s = np.arange(len(weights)) / float(file["fps"])
            head, basis = (file[key].astype(np.float64) for key in ("head_matrix", "region_basis"))
        return cls(names, weights, head, times_s, regions, basis)


@on_this_machine
def measure(
    films: Sequence[Path], avatar_name: str = DEFAULT_AVATAR, *, live: bool = False
) -> dict[str, Any]:
    """Track every film in an avatar's units and score it."""
    scores = {
        film.name: score(Truth.load(film.with_suffix(".npz")), tracked(film, avatar_name, live))
        for film in films
    }
    return {"bench": "truth", "avatar": avatar_name, "live": live, "films": scores}


def tracked(film: Path, avatar_name: str, live: bool = False) -> list[Motion]:
    """The film's motion as `visavis track` finds it, or as a live driver does."""
    with (
        Driver(open_avatar(avatar_name)) as driver,
        DetectorProcess(FaceDetectorFactory()) as detector,
        open_input(str(film)) as source,
    ):
        detections = list(detector.detect_all(iter(source.read, None)))
        if live:
            return [driver.update(detection) for detection in detections]
        return driver.solve_clip(detections, source.fps)


def score(truth: Truth, motions: Sequence[Motion]) -> dict[str, Any]:
    """Angles in degrees and millimetres between a truth and the motion of some frames of it."""
    times = np.array([m.time_ns for m in motions]) / 1e9
    nearest = np.abs(times[None] - times[0] - truth.times_s[:, None]).argmin(1)
    frame_s = float(np.diff(truth.times_s).mean())
    paired = np.abs(times[nearest] - times[0] - truth.times_s) < 0.6 * frame_s
    played = [motions[i] for i in nearest[paired]]
    rest = truth.times_s[paired] < _REST_S
    true, found = truth.weights[paired], np.array([m.weights for m in played])
    names = list(played[0].unit_names)
    return {
        "frames": [int(paired.sum()), len(truth.weights)],
        "head": _head(truth.head[paired], np.array([axis_angle.to_matrix(m.head_rotation) for m in played])),
        "gaze": _gaze(truth.names, true, names, found),
        **_places(truth, true, names, found, rest),
    }


def _head(true: Array, found: Array) -> dict[str, Any]:
    away = (angles_of(found) - angles_of(true)).mean(0)
    p50, p95 = np.percentile(degrees_between(true, found), [50, 95])
    return {"p50": _short(p50), "p95": _short(p95), "mean_offset_ypr": [_short(a) for a in away]}


def _gaze(
    true_names: Sequence[str], true: Array, names: Sequence[str], found: Array
) -> dict[str, dict[str, float]]:
    def looks(all_names: Sequence[str], weights: Array, signs: tuple[Sequence[str], Sequence[str]]) -> Array:
        plus, minus = (weights[:, [all_names.index(n) for n in some]].mean(1) for some in signs)
        return plus - minus

    blinks = [true_names.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]
    seen = true[:, blinks].max(1) < _OPEN_EYES
    return {
        key: _agreement(looks(true_names, true, signs)[seen], looks(names, found, signs)[seen])
        for key, signs in _GAZE.items()
    }


def _places(
    truth: Truth, true: Array, names: Sequence[str], found: Array, rest: NDArray[np.bool_]
) -> dict[str, Any]:
    known = [name for name in truth.names if name in names]
    rows = [truth.names.index(name) for name in known]
    basis = truth.region_basis[rows]
    moved = []
    for weights in (true[:, rows], found[:, [names.index(name) for name in known]]):
        places = np.einsum("tu,urc->trc", weights, basis)
        moved.append(places - places[rest].mean(0))
    error = np.sqrt(((moved[0] - moved[1]) ** 2).sum(-1).mean(0))
    regions = {
        name: {"error_mm": _short(error[row]), **_agreement(*(m[:, row].ravel() for m in moved))}
        for row, name in enumerate(truth.regions)
    }
    return {"mean_error_mm": _short(error.mean()), "regions": regions}


def _agreement(true: Array, found: Array) -> dict[str, float]:
    moves = found.std() > 1e-6
    gain = float(true @ found) / max(float(true @ true), 1e-9)
    correlation = np.corrcoef(true, found)[0, 1] if moves else 0.0
    return {"gain": _short(gain), "correlation": _short(correlation)}


def _short(value: float | np.floating[Any]) -> float:
    return round(float(value), 3)


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    rows = []
    for film, figures in result["films"].items():
        head, gaze = figures["head"], figures["gaze"]
        offset = " ".join(f"{a:.2f}" for a in head["mean_offset_ypr"])
        rows.append(
            f"{film} -> {result['avatar']}: head p50 {head['p50']:.2f} p95 {head['p95']:.2f} degrees, offset "
            f"{offset}; places {figures['mean_error_mm']:.2f} mm"
        )
        named = itertools.chain(gaze.items(), figures["regions"].items())
        rows += [
            f"{name:>18}  gain {v['gain']:5.2f}  correlation {v['correlation']:5.2f}" for name, v in named
        ]
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("films", nargs="*", type=Path)
    parser.add_argument("--avatar", default=DEFAULT_AVATAR)
    parser.add_argument(
        "--live", action="store_true", help="as a live driver tracks, which knows only the past"
    )
    add_save_option(parser)
    args = parser.parse_args()
    films = args.films or [Path(os.environ.get("VISAVIS_TESTDATA", "")) / "truth" / "webcam.mp4"]
    missing = next((f for film in films for f in (film, film.with_suffix(".npz")) if not f.is_file()), None)
    if missing is not None:
        parser.error(f"{missing} is not there: name a film with its truth beside it, or set VISAVIS_TESTDATA")
    result = measure(films, args.avatar, live=args.live)
    publish(result, table(result), save=args.save)


if __name__ == "__main__":
    main()
