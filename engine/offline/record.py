"""Offline reenactment: a video's face or a motion file plays an avatar into an mp4; no frame is dropped.

Pass 1 (`engine.offline.track`) detects every frame, then solves the clip as a whole. Pass 2 poses, renders
and encodes in three threads. Frames are never kept: memory does not grow with the pictures of a clip.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capture.source import open_input
from capture.video import VideoFile
from engine.backends import open_backend
from engine.encoding import choose_h264
from engine.look import Look
from engine.model_fetch import ensure_model
from engine.motion_file import is_motion, load_motion
from engine.offline.play import pictures, played_by
from engine.person import Sightings
from engine.progress import Bars
from engine.report import StageTimes, make_report, peak_memory_mb
from render.avatars.avatar import Avatar
from render.motion import MotionClip
from transport.files.mp4_writer import Mp4Writer

if TYPE_CHECKING:
    from tracking.detect.person_choice import PersonChoice

# A first picture that comes this little after time 0 of its file keeps its offset, so that a frame of the
# recording has the presentation time of the frame that drove it; larger ones are the file's own clock.
KEPT_OFFSET_S = 0.25


@dataclass(frozen=True)
class Recording:
    """What was done, in figures, and what the user should know."""

    report: dict[str, Any]
    warnings: tuple[str, ...] = ()

    def summary(self) -> str:
        """One line for the user."""
        r = self.report
        width, height = r["size"]
        return (
            f"{r['output']}: {r['frames']} frames, {r['duration_s']:.2f} s, {width}x{height}, avatar "
            f"{r['avatar']}, {r['backend']} back end, done in {r['seconds']:.1f} s ({r['fps']:.1f} fps)"
        )


def record(
    source: str | Path,
    output: str | Path,
    avatar: Avatar,
    look: Look,
    person: PersonChoice | None = None,
) -> Recording:
    """Drive `avatar` with a video, a folder of pictures or a motion file, and write the mp4 `output`.

    `person` is whom to follow of several in the pictures.
    Raises SourceError, UsageError, TrackingError or OutputError; nothing half-written stays then.
    """
    start = time.perf_counter()
    if is_motion(source):
        Mp4Writer.check(output, [source])
        return record_motion(load_motion(source), output, avatar, look, source=str(source))
    from engine.offline.track import track_source  # a motion file plays without the tracker

    times = StageTimes()
    warnings: list[str] = []
    with ExitStack() as stack:
        driver = stack.enter_context(open_input(source))
        ensure_model("face_landmarker")
        start_s = driver.start_s if isinstance(driver, VideoFile) else 0.0
        offset_s = start_s if 0 < start_s <= KEPT_OFFSET_S else 0.0
        sound = source if isinstance(driver, VideoFile) else None
        recorder = stack.enter_context(
            _open_recorder(output, look, driver.fps, sound_from=sound, sound_origin_s=start_s - offset_s)
        )
        bars = stack.enter_context(Bars())
        sightings = Sightings(str(source), person)
        motion = track_source(driver, avatar, times, bars, sightings=sightings, person=person)
        warnings += [*driver.notes, *sightings.notes]
        _write(motion, avatar, look, recorder, times, bars, offset_s=offset_s)
    if recorder.sound_note:
        warnings.append(recorder.sound_note)
    if recorder.sound_broken:
        warnings.append(f"the sound of {source} is damaged ({recorder.sound_broken})")
    if not motion.face_seen.any():
        warnings.append(f"no face was found in {source}: the avatar rests in {output}")
    seconds = time.perf_counter() - start
    return Recording(_report(motion, avatar, look, times, seconds, source, output), tuple(warnings))


def record_motion(
    motion: MotionClip, output: str | Path, avatar: Avatar, look: Look, *, source: str = "built-in motion"
) -> Recording:
    """Play `motion` with `avatar` into the mp4 `output`, without sound. Raises OutputError."""
    start = time.perf_counter()
    times = StageTimes()
    motion, lost = played_by(motion, avatar)
    with _open_recorder(output, look, motion.fps) as recorder, Bars() as bars:
        _write(motion, avatar, look, recorder, times, bars)
    report = _report(motion, avatar, look, times, time.perf_counter() - start, source, output)
    return Recording(report, (lost,) if lost else ())


def _open_recorder(
    output: str | Path,
    look: Look,
    fps: float,
    *,
    sound_from: str | Path | None = None,
    sound_origin_s: float = 0.0,
) -> Mp4Writer:
    return Mp4Writer(
        output,
        width=look.width,
        height=look.height,
        # the standard rates are whole numbers over 1 or 1001; a slide show may be slower than that can say
        frame_rate=max(Fraction(fps).limit_denominator(1001), Fraction(1, 1001)),
        sound_from=sound_from,
        sound_origin_s=sound_origin_s,
        encoder=choose_h264(look),  # says what was chosen, before minutes of tracking
    )


def _write(
    motion: MotionClip,
    avatar: Avatar,
    look: Look,
    recorder: Mp4Writer,
    times: StageTimes,
    bars: Bars,
    *,
    offset_s: float = 0.0,
) -> None:
    offset_ns = round(offset_s * 1e9)
    with closing(pictures(motion, avatar, look, times)) as drawn:
        counted = bars.over(drawn, "rendering", len(motion))
        for time_ns, picture in zip(motion.times_ns, counted, strict=True):
            recorder.write(picture, int(time_ns) + offset_ns)
    recorder.close()
    times.add("encode", recorder.encode_ms)


def _report(
    motion: MotionClip,
    avatar: Avatar,
    look: Look,
    times: StageTimes,
    seconds: float,
    source: str | Path,
    output: str | Path,
) -> dict[str, Any]:
    return make_report(
        len(motion),
        seconds,
        times,
        input=str(source),
        output=str(output),
        avatar=avatar.name,
        num_gaussians=avatar.gaussians.num_gaussians,
        size=[look.width, look.height],
        backend=open_backend(look.backend).name,
        encoder=choose_h264(look),
        found=round(float(motion.face_seen.mean()), 4),
        duration_s=round(motion.duration_s, 3),
        peak_memory_mb=peak_memory_mb(),
    )
