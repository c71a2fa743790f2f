"""What a motion costs on the wire, what it loses there, and how it looks when messages are lost or late.

    python -m bench.motion_stream [TALK.npz ...] [--save]

Takes motion files of `visavis track`; without, films of VISAVIS_TESTDATA are tracked first. A network of our
own loses a share of the messages and delays each by a time drawn evenly up to the jitter, so that they
overtake each other; 60 pictures a second are asked for. Errors are against the motion that was sent, at the
moment that is shown; a step is the way of the units (root mean square) from picture to picture, the greatest
over the sent motion's. One JSON line last.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.machine import on_this_machine
from bench.publish import add_save_option, publish
from engine.motion_file import load_motion
from render import axis_angle
from render.motion import Motion, MotionClip
from transport.motion.playout import Playout
from transport.motion.stream_file import clip_of, messages_of
from transport.motion.wire import LAYOUT_S, MotionReader, MotionSender

_FILMS = ("lp_d10.mp4", "lp_d14.mp4", "lp_d20.mp4")
_NETWORKS = ((0.0, 0.0), (0.05, 0.0), (0.2, 0.0), (0.0, 0.2), (0.05, 0.2))  # loss, jitter in seconds
_PICTURES_PER_S = 60
_BEGIN_S = 1.0  # after which a stream is looked at: it has its layout and its delay


def noise_of(values: NDArray[np.float32]) -> float:
    """What a tracker's numbers [T, K] shake by, from second differences: motion hardly moves their median."""
    shakes = np.abs(np.diff(values.astype(np.float64), 2, axis=0))
    still = np.median(shakes, 0) / 0.6745 / np.sqrt(6)
    return float(np.median(still[still > 0])) if (still > 0).any() else 0.0


def over_the_wire(clip: MotionClip) -> dict[str, float]:
    """Bits and errors of a clip that arrives whole."""
    messages = messages_of(clip)
    got = clip_of(messages)
    return {
        "kbit_s": round(8e-3 * sum(map(len, messages)) / clip.duration_s, 2),
        "most_bytes": max(len(message) for message in messages),
        "unit_error": _rms(got.weights - clip.weights),
        "unit_noise": round(noise_of(clip.weights), 5),
        "head_error_deg": round(float(np.degrees(_rms(got.head_rotation - clip.head_rotation))), 4),
        "head_noise_deg": round(float(np.degrees(noise_of(clip.head_rotation))), 4),
        "place_error_mm": round(1e3 * _rms(got.head_translation - clip.head_translation), 4),
        "place_noise_mm": round(1e3 * noise_of(clip.head_translation), 4),
    }


def shown(clip: MotionClip, loss: float, jitter_s: float, seed: int = 0) -> Iterator[tuple[Motion, float]]:
    """What a viewer sees over such a network: what is shown and the delay in seconds."""
    rng = np.random.default_rng(seed)
    sender, reader, playout = MotionSender(clip.fps), MotionReader(), Playout()
    coming: list[tuple[int, bytes]] = []
    for motion in clip:
        for message in sender.messages(motion):
            late = int(1e9 * jitter_s * rng.random())
            if rng.random() >= loss:
                coming.append((motion.time_ns + late, message))
    coming.sort(key=lambda arrival: arrival[0])
    begin = int(clip.times_ns[0] + 1e9 * _BEGIN_S)
    place = 0
    for now in range(int(clip.times_ns[0]), int(clip.times_ns[-1]), int(1e9 / _PICTURES_PER_S)):
        while place < len(coming) and coming[place][0] <= now:
            told = reader.read(coming[place][1])
            if told is not None:
                playout.put(told, coming[place][0])
            place += 1
        seen = playout.at(now)
        if seen is not None and now >= begin:
            yield seen, playout.delay_s


def over_a_network(clip: MotionClip, loss: float, jitter_s: float) -> dict[str, float]:
    """How far what is shown is from what was sent, and how far it steps."""
    pictures = list(shown(clip, loss, jitter_s))
    times = np.array([motion.time_ns for motion, _ in pictures]) + clip.times_ns[0]
    weights = np.array([motion.weights for motion, _ in pictures])
    truth = np.stack([np.interp(times, clip.times_ns, row) for row in clip.weights.T], 1)
    turns = [
        np.linalg.norm(axis_angle.difference(_turn_at(clip, time), motion.head_rotation))
        for time, (motion, _) in zip(times, pictures, strict=True)
    ]
    return {
        "loss": loss,
        "jitter_ms": 1e3 * jitter_s,
        "delay_ms": round(1e3 * float(np.median([delay for _, delay in pictures])), 1),
        "unit_error": _rms(weights - truth),
        "unit_error_p99": round(float(np.percentile(np.sqrt(((weights - truth) ** 2).mean(1)), 99)), 4),
        "head_error_deg": round(float(np.degrees(np.mean(turns))), 3),
        "step_ratio": round(_steps(weights) / _steps(truth), 3),
    }


def _steps(weights: NDArray[np.float64]) -> float:
    return float(np.sqrt((np.diff(weights, axis=0) ** 2).mean(1)).max())


def _turn_at(clip: MotionClip, time_ns: float) -> NDArray[np.float64]:
    row = int(np.clip(np.searchsorted(clip.times_ns, time_ns), 1, len(clip) - 1))
    before, after = clip.times_ns[row - 1 : row + 1]
    share = float(np.clip((time_ns - before) / (after - before), 0, 1))
    rotations = clip.head_rotation[row - 1 : row + 1].astype(np.float64)
    return axis_angle.interpolate(rotations[0], rotations[1], share)


def _rms(values: NDArray[Any]) -> float:
    return round(float(np.sqrt((values.astype(np.float64) ** 2).mean())), 6)


@on_this_machine
def measure(clips: dict[str, MotionClip]) -> dict[str, Any]:
    """All figures of all clips."""
    return {
        "bench": "motion_stream",
        "layout_every_s": LAYOUT_S,
        "wire": {name: over_the_wire(clip) for name, clip in clips.items()},
        "network": {
            name: [over_a_network(clip, loss, jitter) for loss, jitter in _NETWORKS]
            for name, clip in clips.items()
        },
    }


def table(result: dict[str, Any]) -> str:
    lines = ["clip            kbit/s   units rms (noise)    head deg (noise)    place mm (noise)"]
    lines += [
        f"{name:14} {row['kbit_s']:7.1f}   {row['unit_error']:.5f} ({row['unit_noise']:.5f})   "
        f"{row['head_error_deg']:.4f} ({row['head_noise_deg']:.4f})   "
        f"{row['place_error_mm']:.4f} ({row['place_noise_mm']:.4f})"
        for name, row in result["wire"].items()
    ]
    lines.append("clip            loss  jitter  delay ms  units rms      p99  head deg  greatest step")
    lines += [
        f"{name:14} {row['loss']:5.0%} {row['jitter_ms']:7.0f} {row['delay_ms']:9.0f}"
        f" {row['unit_error']:10.4f} {row['unit_error_p99']:8.4f} {row['head_error_deg']:9.3f}"
        f" {row['step_ratio']:14.2f}"
        for name, rows in result["network"].items()
        for row in rows
    ]
    return "\n".join(lines)


def _tracked(film: Path) -> MotionClip:
    from capture.source import open_input
    from engine.offline.track import track_source
    from engine.person import Sightings
    from engine.progress import Bars
    from engine.report import StageTimes
    from render.avatars.library import DEFAULT_AVATAR, open_avatar

    with open_input(str(film)) as source, Bars() as bars:
        return track_source(
            source, open_avatar(DEFAULT_AVATAR), StageTimes(), bars, sightings=Sightings(str(film), None)
        )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.motion_stream", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "motions", nargs="*", type=Path, metavar="TALK.npz", help="motion files of visavis track"
    )
    add_save_option(parser)
    args = parser.parse_args(argv)
    if args.motions:
        clips = {path.name: load_motion(path) for path in args.motions}
    elif folder := os.environ.get("VISAVIS_TESTDATA"):
        clips = {name: _tracked(Path(folder) / "videos" / name) for name in _FILMS}
    else:
        parser.error("name motion files, or set VISAVIS_TESTDATA")
    result = measure(clips)
    publish(result, table(result), save=args.save)


if __name__ == "__main__":
    main()
