"""Clips for the live benchmark: one face at the frame rate and in the container that a run needs."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from capture.source import frames
from capture.video import VideoFile
from engine.demo_motion import demo_motion
from engine.look import DEFAULT_BACKGROUND, Look, parse_background
from engine.offline.record import record_motion
from render.avatars.library import open_avatar
from transport.files.mp4_writer import Mp4Writer
from transport.webrtc.encoders import to_i420

SIZE = 480  # of the filmed avatar, pixels a side


def film(path: Path, avatar_name: str, seconds: float) -> None:
    """The built-in motion, filmed at 30 frames a second, for those who give no clip of their own."""
    look = Look(SIZE, SIZE, parse_background(DEFAULT_BACKGROUND, SIZE, SIZE))
    record_motion(demo_motion(seconds), path, open_avatar(avatar_name), look)


def retimed(clip: Path, path: Path, fps: int, seconds: float) -> None:
    """The frames of a clip at another rate (30 -> 60 plays twice as fast), forth and back: loops have no cut.

    Raises SourceError or OutputError.
    """
    pictures = _forth_and_back(clip, round(fps * seconds))
    first = next(pictures)
    height, width = first.shape[:2]
    with Mp4Writer(path, width=width, height=height, frame_rate=Fraction(fps)) as recorder:
        recorder.write(first, 0)
        for number, picture in enumerate(pictures, start=1):
            recorder.write(picture, round(number * 1e9 / fps))


def as_camera_file(clip: Path, path: Path) -> None:
    """A clip as the raw y4m file that Chromium's fake camera plays. Raises SourceError."""
    with VideoFile(clip) as source, path.open("wb") as file:
        width, height = (side // 2 * 2 for side in source.size)
        file.write(f"YUV4MPEG2 W{width} H{height} F{round(source.fps)}:1 Ip A1:1 C420jpeg\n".encode())
        for frame in frames(source):
            file.write(b"FRAME\n")
            file.write(to_i420(np.ascontiguousarray(frame.rgb[:height, :width])).tobytes())


def _forth_and_back(clip: Path, num_frames: int) -> Iterator[NDArray[np.uint8]]:
    kept: list[NDArray[np.uint8]] = []
    with VideoFile(clip) as source:
        width, height = (side // 2 * 2 for side in source.size)
        for frame in frames(source):
            kept.append(np.ascontiguousarray(frame.rgb[:height, :width]))
            if len(kept) > num_frames // 2:
                break
    there_and_back = kept + kept[-2:0:-1]
    for number in range(num_frames):
        yield there_and_back[number % len(there_and_back)]
