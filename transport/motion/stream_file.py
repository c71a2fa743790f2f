"""A motion stream as it was sent, kept in a file: each message behind its length."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from render.motion import Motion, MotionClip, blend
from render.whole_file import whole_file
from transport.motion.wire import JOINTS, MOST_BYTES, MotionReader, MotionSender

SUFFIX = ".motion"
_BEGINS = b"visavis motion stream\n"
_LENGTH_BYTES = 2


def write_stream(path: Path, messages: Iterable[bytes]) -> None:
    """Write messages in the order in which they came. Raises OSError."""
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write(_BEGINS)
        for message in messages:
            file.write(len(message).to_bytes(_LENGTH_BYTES, "big") + message)


def read_stream(path: Path) -> list[bytes]:
    """The messages of a file; what a writer that was cut off left half is left out.

    Raises OSError, and ValueError for a file of another kind.
    """
    data = path.read_bytes()
    if not data.startswith(_BEGINS):
        raise ValueError("it is no motion stream")
    messages, at = [], len(_BEGINS)
    while at + _LENGTH_BYTES <= len(data):
        length = int.from_bytes(data[at : at + _LENGTH_BYTES], "big")
        at += _LENGTH_BYTES
        if not 0 < length <= MOST_BYTES:
            raise ValueError(f"a message of {length} bytes")
        if at + length > len(data):
            break
        messages.append(data[at : at + length])
        at += length
    return messages


def messages_of(clip: MotionClip) -> list[bytes]:
    """What a sender makes of a clip."""
    sender = MotionSender(clip.fps)
    return [message for motion in clip for message in sender.messages(motion)]


def clip_of(messages: Iterable[bytes]) -> MotionClip:
    """What messages tell, in the order of time: a moment a face, with the joints of that time.

    Raises ValueError when they tell of no face, or of faces of different units.
    """
    reader = MotionReader()
    faces: dict[int, Motion] = {}
    joints: dict[int, Motion] = {}
    fps = 30.0
    for message in messages:
        told = reader.read(message)
        if told is not None:
            fps = told.fps
            (joints if told.kind == JOINTS else faces)[told.motion.time_ns] = told.motion
    moments = [faces[time] for time in sorted(faces)]
    if not moments:
        raise ValueError("it holds no frame")
    if any(moment.unit_names != moments[0].unit_names for moment in moments):
        raise ValueError("its units change on the way")
    if joints:
        told_of = [joints[time] for time in sorted(joints)]
        if any(moment.joints.keys() != told_of[0].joints.keys() for moment in told_of):
            raise ValueError("its joints change on the way")
        times = [moment.time_ns for moment in told_of]
        moments = [replace(face, joints=_joints_at(told_of, times, face.time_ns).joints) for face in moments]
    return MotionClip.of(moments, fps)


def _joints_at(moments: list[Motion], times: list[int], at_ns: int) -> Motion:
    row = bisect_right(times, at_ns)
    if row in (0, len(times)):
        return moments[min(row, len(times) - 1)]
    before, after = moments[row - 1], moments[row]
    return blend(before, after, (at_ns - before.time_ns) / (after.time_ns - before.time_ns))
