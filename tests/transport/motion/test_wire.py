"""Messages of a motion: what comes back of them, how few bytes they take, and what hostile ones do."""

from __future__ import annotations

import json
import math
import zlib

import numpy as np
import pytest

from render import axis_angle
from render.motion import FACE as FACE_PART
from render.motion import Motion
from transport.motion import wire
from transport.motion.bits import BitReader, BitWriter
from transport.motion.wire import FACE, JOINTS, LAYOUT, MotionMessageError, MotionReader, MotionSender

UNITS = tuple(f"unit{k}" for k in range(52))
FRAME_NS = 33_333_333


def motion(seed: int, joints: int = 0, time_ns: int = 0, wide: bool = False) -> Motion:
    """A face with two thirds of its units at work, anywhere before the camera."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0, 1.7, len(UNITS)) * (rng.random(len(UNITS)) < 0.65)
    if wide:
        weights[:3] = -4.25, 5.5, -0.01
    turns = rng.normal(size=(joints + 1, 3))
    turns *= rng.uniform(0, math.pi, (joints + 1, 1)) / np.linalg.norm(turns, axis=1, keepdims=True)
    return Motion(
        UNITS,
        weights,
        turns[0],
        rng.uniform(-1.5, 1.5, 3),
        time_ns,
        {FACE_PART: float(rng.random())},
        {f"joint{k}": turn for k, turn in enumerate(turns[1:])},
    )


def kinds(messages: list[bytes]) -> list[int]:
    return [message[0] & 15 for message in messages]


def read_all(reader: MotionReader, messages: list[bytes]) -> list[wire.Told]:
    return [told for message in messages if (told := reader.read(message)) is not None]


def test_numbers_of_any_width_come_back() -> None:
    rng = np.random.default_rng(0)
    widths = rng.integers(1, 41, 200).tolist()
    numbers = [int(rng.integers(0, 1 << width)) for width in widths]
    bits = BitWriter()
    for number, width in zip(numbers, widths, strict=True):
        bits.put(number, width)
    reader = BitReader(bits.to_bytes())
    assert [reader.take(width) for width in widths] == numbers
    reader.finish()
    with pytest.raises(ValueError, match="too early"):
        reader.take(8)


@pytest.mark.parametrize("wide", [False, True])
def test_a_face_comes_back_within_its_steps(wide: bool) -> None:
    sender, reader = MotionSender(), MotionReader()
    for seed in range(40):
        sent = motion(seed, time_ns=7_000_000_123 + seed * FRAME_NS, wide=wide)
        (told,) = read_all(reader, sender.messages(sent))
        got = told.motion
        assert told.kind == FACE
        assert told.sequence == seed
        assert got.unit_names == UNITS
        assert np.abs(got.weights - sent.weights).max() <= 1 / 1024 + 1e-9
        assert np.linalg.norm(axis_angle.difference(got.head_rotation, sent.head_rotation)) < 1e-3
        assert np.abs(got.head_translation - sent.head_translation).max() <= 0.5001e-4
        assert abs(got.time_ns - seed * FRAME_NS) <= 500
        assert got.confidence[FACE_PART] == pytest.approx(sent.confidence[FACE_PART], abs=1 / 255)
        assert not got.joints


def test_joints_come_back_and_are_told_twenty_times_a_second() -> None:
    sender, reader = MotionSender(), MotionReader()
    moments = [motion(seed, joints=51, time_ns=seed * FRAME_NS) for seed in range(60)]
    messages = [sender.messages(moment) for moment in moments]
    assert sum(kinds(sent).count(JOINTS) for sent in messages) == 30, "every second of 30 a second"
    for moment, sent in zip(moments, messages, strict=True):
        for told in read_all(reader, sent):
            if told.kind == JOINTS:
                assert told.motion.joints.keys() == moment.joints.keys()
                for name, turn in told.motion.joints.items():
                    assert np.linalg.norm(axis_angle.difference(turn, moment.joints[name])) < 4e-3


def test_a_turn_beyond_half_a_circle_is_the_same_turn() -> None:
    sent = Motion((), np.zeros(0), np.array([0.0, 4.5, 0.0]), np.zeros(3))
    (told,) = read_all(MotionReader(), MotionSender().messages(sent))
    np.testing.assert_allclose(
        axis_angle.to_matrix(told.motion.head_rotation), axis_angle.to_matrix(sent.head_rotation), atol=1e-3
    )


def test_what_was_not_seen_stays_not_seen() -> None:
    """A confidence of 0 says so, and nothing else does."""
    for confidence, seen in ((0.0, False), (1e-4, True), (1.0, True)):
        sent = Motion((), np.zeros(0), np.zeros(3), np.zeros(3), 0, {FACE_PART: confidence})
        (told,) = read_all(MotionReader(), MotionSender().messages(sent))
        assert told.motion.face_seen is seen


@pytest.mark.parametrize(("joints", "most_kbit_s"), [(0, 20.0), (51, 60.0)])
def test_bits_a_second(joints: int, most_kbit_s: float) -> None:
    """Thirty moments a second, every joint turned and two thirds of the units at work, layouts among them."""
    sender = MotionSender()
    sent = [m for k in range(300) for m in sender.messages(motion(k, joints, time_ns=k * FRAME_NS))]
    assert 8e-3 * sum(map(len, sent)) / 10 < most_kbit_s


def test_a_layout_comes_again_and_whoever_joins_later_understands() -> None:
    sender = MotionSender()
    sent = [sender.messages(motion(k, time_ns=k * FRAME_NS)) for k in range(130)]
    assert [k for k, messages in enumerate(sent) if LAYOUT in kinds(messages)] == [0, 61, 122]
    late = MotionReader()
    assert not read_all(late, sent[30]), "without a layout numbers say nothing"
    late.read(sender.layout_message())
    assert len(read_all(late, sent[31])) == 1


def test_units_that_change_and_units_that_grow_get_another_layout() -> None:
    sender, reader = MotionSender(), MotionReader()
    assert kinds(sender.messages(motion(0))) == [LAYOUT, FACE]
    assert kinds(sender.messages(motion(1, wide=True))) == [LAYOUT, FACE]
    assert kinds(sender.messages(motion(2))) == [FACE], "what was wide stays so"
    other = Motion(("jawOpen",), np.ones(1), np.zeros(3), np.zeros(3))
    messages = sender.messages(other)
    assert kinds(messages) == [LAYOUT, FACE]
    (told,) = read_all(reader, messages)
    assert told.motion.unit_names == ("jawOpen",)


def test_messages_that_overtake_a_change_of_layout_are_understood() -> None:
    sender, reader = MotionSender(), MotionReader()
    first, second = sender.messages(motion(0)), sender.messages(motion(1, wide=True))
    for message in (first[0], second[0], second[1], first[1]):
        reader.read(message)
    assert reader.read(first[1]) is not None


def test_nothing_was_sent_so_there_is_no_layout() -> None:
    with pytest.raises(ValueError, match="nothing was sent"):
        MotionSender().layout_message()


def layout(about: object) -> bytes:
    return bytes([wire.VERSION << 4 | LAYOUT, 0, 0]) + zlib.compress(json.dumps(about).encode())


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b"", "ends too early"),
        (b"\x11\x00", "ends too early"),
        (b"\x21\x00\x00", "version 2, this program reads version 1"),
        (b"\x1f\x00\x00", "its kind is 15"),
        (bytes([16]) + bytes(wire.MOST_BYTES), "more than 16384"),
        (b"\x10\x00\x00garbage", "cannot be read"),
        (layout([]), "unknown fields"),
        (layout({"units": ["a"], "colour": 1}), "unknown fields"),
        (layout({"units": ["a", "a"]}), "names"),
        (layout({"units": ["a" * 65]}), "names"),
        (layout({"units": [["a"]]}), "names"),
        (layout({"units": [f"u{k}" for k in range(513)]}), "names"),
        (layout({"wide": ["a"]}), "wide"),
        (layout({"fps": 0}), "frame rate"),
        (layout({"fps": float("nan")}), "frame rate"),
        (layout({"units": []})[:-3], "another length"),
        (layout({"units": []}) + b"more", "another length"),
        (layout({"units": ["a" * 10_000_000]}), "another length"),
    ],
)
def test_bad_messages_are_refused_by_name(message: bytes, said: str) -> None:
    with pytest.raises(MotionMessageError, match=said):
        MotionReader().read(message)


def test_moments_that_are_cut_or_longer_than_they_say_are_refused() -> None:
    reader = MotionReader()
    about, face, turned = MotionSender().messages(motion(0, joints=4))
    reader.read(about)
    for message in (face, turned):
        assert reader.read(message) is not None
        with pytest.raises(MotionMessageError, match="ends too early"):
            reader.read(message[:-2])
        with pytest.raises(MotionMessageError, match="more follows"):
            reader.read(message + b"\0")


def test_no_message_does_anything_but_tell_or_be_refused() -> None:
    """Bytes at random and real messages with bytes changed: what is told is finite and of the layout."""
    rng = np.random.default_rng(0)
    sender, reader = MotionSender(), MotionReader()
    real = sender.messages(motion(0, joints=8, wide=True))
    told_of = 0
    for _ in range(4000):
        message = bytearray(real[int(rng.integers(len(real)))] if rng.random() < 0.8 else rng.bytes(90))
        for _ in range(int(rng.integers(0, 4))):
            message[int(rng.integers(len(message)))] = int(rng.integers(256))
        try:
            told = reader.read(bytes(message))
        except MotionMessageError:
            continue
        if told is not None:
            told_of += 1
            assert np.isfinite(told.motion.weights).all()
            assert np.isfinite(told.motion.head_rotation).all()
            assert len(told.motion.weights) == len(told.motion.unit_names)
    assert told_of > 500
