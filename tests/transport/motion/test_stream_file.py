"""A stream that was kept: read back, cut off, of another kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from render.motion import Motion, MotionClip
from transport.motion.stream_file import clip_of, messages_of, read_stream, write_stream
from transport.motion.wire import MotionSender

FRAME_NS = 33_333_333


def clip(joints: bool = False, frames: int = 40) -> MotionClip:
    rng = np.random.default_rng(0)
    moments = [
        Motion(
            ("jawOpen", "mouthPucker"),
            rng.uniform(0, 1, 2),
            rng.normal(size=3) * 0.2,
            rng.normal(size=3) * 0.05,
            5_000_000_000 + k * FRAME_NS,
            {"face": 1.0},
            {"left_elbow": np.array([0.0, 0.0, 0.01 * k])} if joints else {},
        )
        for k in range(frames)
    ]
    return MotionClip.of(moments, 30.0)


def test_a_clip_survives_the_wire_and_the_file(tmp_path: Path) -> None:
    sent = clip(joints=True)
    write_stream(tmp_path / "a.motion", messages_of(sent))
    got = clip_of(read_stream(tmp_path / "a.motion"))
    assert len(got) == len(sent)
    assert got.fps == 30
    assert np.abs(got.weights - sent.weights).max() < 1e-3
    assert np.abs(np.diff(got.times_ns) - FRAME_NS).max() <= 1000
    assert got.times_ns[0] == 0
    assert got.confidence["face"].min() == 1
    # Joints are told less often than faces: what lies between is on the way.
    assert np.abs(got.joints["left_elbow"] - sent.joints["left_elbow"])[:-2].max() < 4e-3


def test_lost_doubled_and_disordered_messages_leave_a_clip() -> None:
    messages = messages_of(clip())
    got = clip_of([messages[0], *messages[:0:-1], *messages[5:9]])
    assert len(got) == 40
    assert (np.diff(got.times_ns) > 0).all()
    assert len(clip_of([messages[0], *messages[1::2]])) < 40


def test_a_file_that_was_cut_off_gives_what_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.motion"
    write_stream(path, messages_of(clip()))
    path.write_bytes(path.read_bytes()[:-5])
    assert len(clip_of(read_stream(path))) == 39


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: b"RIFF" + data, "no motion stream"),
        (lambda data: data + b"\xff\xff", "a message of 65535 bytes"),
        (lambda data: data + b"\0\0", "a message of 0 bytes"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, change, said: str) -> None:
    path = tmp_path / "a.motion"
    write_stream(path, messages_of(clip()))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=said):
        read_stream(path)


def test_messages_without_a_face_or_of_two_rigs_are_no_clip() -> None:
    with pytest.raises(ValueError, match="no frame"):
        clip_of(messages_of(clip())[:1])
    sender = MotionSender()
    two = [Motion((name,), np.ones(1), np.zeros(3), np.zeros(3), k * FRAME_NS) for k, name in enumerate("ab")]
    with pytest.raises(ValueError, match="units change"):
        clip_of([sent for motion in two for sent in sender.messages(motion)])
