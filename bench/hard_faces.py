"""Faces that are hard to see: what a beard, glasses, dim light, a hand before the mouth and profile cost.

    python -m bench.hard_faces CLIP ... [--avatar A] [--frames 150] [--save]

Each case is drawn over the frames of a clip (`bench.occluders`), detected, driven live and solved as a clip,
and compared with the clip as it was filmed: the median difference of the units in use, of those of the hidden
part and of the others; the 95th percentile of the head's turn between both; how far the mouth's units move in
a second while they are hidden ("flap"); and the furthest that any unit moves in one frame ("jump"). For
profile a built-in person is rendered who talks, turns to 60 degrees and back; what is played is known. One
JSON line last.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench import occluders
from bench.machine import on_this_machine
from bench.publish import add_save_option, publish
from bench.short_cuts import detected
from capture.frame import Frame
from capture.source import open_input
from engine.calibrate import ensure_calibrated
from engine.progress import Bars
from render import axis_angle
from render.avatars.avatar import Avatar
from render.avatars.library import DEFAULT_AVATAR, open_avatar
from render.motion import Motion
from tracking.detect.detection import Detection
from tracking.face.driver import Driver, DriverConfig

Array = NDArray[np.float64]

PROFILE_DEG, PROFILE_PEOPLE = 60.0, ("amara", "elias")
_MOUTH, _EYES = ("mouth", "jaw", "cheek", "nose"), ("eye",)
_COMES, _STAYS, _GOES = 0.28, 0.36, 0.64  # shares of the clip: a hand comes, rests, and is gone by .72
_IN_USE = 0.1
_SIZE = 400


@dataclass(frozen=True)
class Case:
    """One way to make a face hard to see."""

    occlude: occluders.Occlude
    hidden: tuple[str, ...] = ()  # the starts of the names of units that nobody can see
    passing: bool = False  # comes and goes


CASES = {
    "beard": Case(occluders.beard),
    "glasses": Case(occluders.glasses),
    "sunglasses": Case(occluders.sunglasses, _EYES),
    "dim light": Case(occluders.dim),
    "dark skin in dim light": Case(occluders.dark_and_dim),
    "hand over the mouth": Case(occluders.hand, _MOUTH, passing=True),
    "microphone": Case(occluders.microphone, _MOUTH, passing=True),
}


def occluded(frames: Iterable[Frame], plain: Sequence[Detection], case: Case) -> Iterator[Frame]:
    """The frames as the case has them; where no face was found, as they are."""
    for number, (frame, seen) in enumerate(zip(frames, plain, strict=True)):
        share = covered(number / len(plain)) if case.passing else 1.0
        time_s = frame.capture_ns / 1e9
        if not seen.found:
            yield frame
            continue
        picture = case.occlude(frame.rgb, seen.landmarks.astype(float), share, time_s)
        yield replace(frame, rgb=picture)


def covered(share_of_clip: float) -> float:
    """How far a passing thing is in its place, 0..1."""
    come = (share_of_clip - _COMES) / (_STAYS - _COMES)
    gone = (share_of_clip - _GOES) / (_STAYS - _COMES)
    return float(np.clip(come, 0, 1) - np.clip(gone, 0, 1))


def in_profile(name: str, num_frames: int = 150, fps: float = 30.0) -> tuple[list[Frame], list[Motion]]:
    """A built-in person who talks and turns aside and back, and what was played."""
    from render.cpu.renderer import CpuRenderer

    avatar = open_avatar(name)
    camera = avatar.default_camera(_SIZE, _SIZE)
    renderer = CpuRenderer(_SIZE, _SIZE)
    frames, motions = [], []
    for index in range(num_frames):
        motion = _turning(index / num_frames, index / fps)
        with torch.inference_mode():
            gaussians = avatar.pose(avatar.params(motion))
            picture = renderer.render_rgb8(gaussians, camera, (0.8, 0.82, 0.85))
        frames.append(
            Frame(rgb=np.ascontiguousarray(picture), capture_ns=round(index * 1e9 / fps), index=index)
        )
        motions.append(motion)
    renderer.close()
    return frames, motions


def _turning(share: float, time_s: float) -> Motion:
    aside = np.clip((share - 0.2) / 0.2, 0, 1) - np.clip((share - 0.6) / 0.2, 0, 1)
    yaw = np.radians(PROFILE_DEG) * aside * aside * (3 - 2 * aside)
    talk = 0.25 * (1 - np.cos(4 * np.pi * time_s)) * (0.5 + 0.5 * np.sin(2 * time_s + 1))
    smile = 0.2 + 0.2 * np.sin(1.5 * time_s)
    weights = {"jawOpen": talk, "mouthSmileLeft": smile, "mouthSmileRight": smile}
    return replace(Motion.of(weights), head_rotation=np.array([0.0, yaw, 0.0]))


@on_this_machine
def measure(
    clips: Sequence[Path], avatar_name: str = DEFAULT_AVATAR, num_frames: int = 150
) -> dict[str, Any]:
    """All cases of all clips, and profile."""
    with Bars() as bars:
        avatar = ensure_calibrated(open_avatar(avatar_name), bars)
    rows = []
    with Driver(avatar, DriverConfig(refine=None)) as driver:
        for clip in clips:
            with open_input(str(clip)) as source:
                frames = list(itertools.islice(iter(source.read, None), num_frames))
            plain = detected(frames)
            as_filmed = played(driver, plain, source.fps)
            for name, case in CASES.items():
                seen = detected(occluded(frames, plain, case))
                shown = played(driver, seen, source.fps)
                found = round(float(np.mean([d.found for d in seen])), 3)
                for how, motions in shown.items():
                    figures = compared(motions, as_filmed[how], case)
                    rows.append({"case": name, "clip": clip.name, "how": how, "found": found, **figures})
        for person in PROFILE_PEOPLE:
            rows += _profile_rows(driver, avatar, person)
    return {"bench": "hard_faces", "avatar": avatar_name, "rows": rows}


def played(driver: Driver, detections: list[Detection], fps: float) -> dict[str, list[Motion]]:
    """What the avatar does, driven live and solved as a clip."""
    driver.restart()
    live = [driver.update(detection) for detection in detections]
    return {"live": live, "clip": driver.solve_clip(detections, fps)}


def compared(motions: Sequence[Motion], plain: Sequence[Motion], case: Case) -> dict[str, float]:
    """The figures of one case against the same frames without it."""
    names = motions[0].unit_names
    weights, filmed = (np.array([m.weights for m in some]) for some in (motions, plain))
    hidden = np.array([name.startswith(case.hidden) for name in names])  # none starts with one of ()
    share = np.array([covered(i / len(weights)) for i in range(len(weights))])
    covers = share == 1 if case.passing else np.ones(len(weights), bool)
    after = np.arange(len(weights)) > 0.8 * len(weights) if case.passing else covers
    mouth = np.array([name.startswith(_MOUTH) for name in names])
    turns = [
        np.linalg.norm(axis_angle.difference(a.head_rotation, b.head_rotation))
        for a, b in zip(motions, plain, strict=True)
    ]
    return {
        "others": _median_difference(weights[covers][:, ~hidden], filmed[covers][:, ~hidden]),
        "after": _median_difference(weights[after], filmed[after]),
        "head_p95_deg": round(float(np.degrees(np.percentile(turns, 95))), 2),
        "flap": _way(weights[covers][:, mouth]),
        "flap_filmed": _way(filmed[covers][:, mouth]),
        "jump": round(float(np.abs(np.diff(weights, axis=0)).max()), 3),
        "jump_filmed": round(float(np.abs(np.diff(filmed, axis=0)).max()), 3),
    }


def _profile_rows(driver: Driver, avatar: Avatar, person: str) -> list[dict[str, Any]]:
    frames, truth = in_profile(person)
    seen = detected(frames)
    rows = []
    known = [replace(m, unit_names=avatar.rig.unit_names, weights=avatar.weights(m)) for m in truth]
    for how, motions in played(driver, seen, 30.0).items():
        figures = compared(motions, known, Case(occluders.hand))
        found = round(float(np.mean([d.found for d in seen])), 3)
        rows.append({"case": "profile and back", "clip": person, "how": how, "found": found, **figures})
    return rows


def _median_difference(some: Array, others: Array) -> float:
    in_use = np.maximum(np.abs(some), np.abs(others)).max(0) > _IN_USE
    return round(float(np.median(np.abs(some - others)[:, in_use])), 3) if in_use.any() else 0.0


def _way(weights: Array, fps: float = 30.0) -> float:
    """How far the units move together in a second, up and down alike."""
    return round(float(np.abs(np.diff(weights, axis=0)).sum(1).mean() * fps), 2)


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    rows = [
        f"{'case':<24}{'of':<14}{'':<6}{'found':>6}{'others':>8}{'after':>8}{'head p95':>10}"
        f"{'flap (filmed)':>16}{'jump (filmed)':>16}"
    ]
    rows += [
        f"{r['case']:<24}{r['clip']:<14}{r['how']:<6}{r['found']:>6.2f}{r['others']:>8.3f}{r['after']:>8.3f}"
        f"{r['head_p95_deg']:>10.1f}{r['flap']:>8.2f} ({r['flap_filmed']:.2f}){r['jump']:>9.2f} "
        f"({r['jump_filmed']:.2f})"
        for r in result["rows"]
    ]
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--avatar", default=DEFAULT_AVATAR)
    parser.add_argument("--frames", type=int, default=150)
    add_save_option(parser)
    args = parser.parse_args()
    result = measure(args.clips, args.avatar, args.frames)
    publish(result, table(result), save=args.save)


if __name__ == "__main__":
    main()
