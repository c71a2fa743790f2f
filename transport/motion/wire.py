"""Motion as messages of some seventy bytes, each whole in itself: any may be lost, or come late or twice.

docs/motion-stream.md has them bit by bit. Of three kinds, LAYOUT says what is numbered, FACE and JOINTS hold
one moment each. A head at 30 moments a second takes 17 kbit/s, body and hands 28 more.
"""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.motion import Motion
from transport.motion.bits import BitReader, BitWriter

VERSION = 1
LAYOUT, FACE, JOINTS = range(3)
LAYOUT_S = 2.0  # a layout comes again that often, for those who missed it
JOINTS_S = 1 / 20  # joints change more slowly, and are told at most that often
MOST_BYTES = 16_384  # of a message; a longer one is refused
MOST_NAMES, MOST_NAME_CHARS = 512, 64
_MOST_LAYOUT_BYTES = 4 * MOST_NAMES * MOST_NAME_CHARS  # unpacked

_ID_BITS, _SEQUENCE_BITS, _TIME_BITS, _CONFIDENCE_BITS = 16, 16, 40, 8
_UNIT_BITS, _UNIT_STEP = 10, 2 / 1024  # 0 to 2: an avatar that moves little is driven further than 1
_WIDE_BITS, _WIDE_STEP = 14, 1 / 1024  # -8 to 8: components of a face model
_HEAD_BITS, _JOINT_BITS = 13, 11  # of an axis-angle's three numbers from -pi to pi
_PLACE_BITS, _PLACE_STEP_M = 15, 1e-4  # -1.6 m to 1.6 m


class MotionMessageError(ValueError):
    """A message that cannot be read."""


@dataclass(frozen=True)
class Layout:
    """What the numbers of a stream's messages stand for."""

    units: tuple[str, ...] = ()
    wide: tuple[str, ...] = ()  # those of the units that go below 0 or above 2
    joints: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()  # whose confidence is told
    fps: float = 30.0  # nominal

    def packed(self) -> bytes:
        about = {
            name: value
            for name, value in vars(self).items()
            if value != Layout.__dataclass_fields__[name].default
        }
        return zlib.compress(json.dumps(about, separators=(",", ":")).encode(), 9)

    @classmethod
    def unpacked(cls, data: bytes) -> Layout:
        """Raises ValueError."""
        unzip = zlib.decompressobj()
        try:
            text = unzip.decompress(data, _MOST_LAYOUT_BYTES)
            if unzip.unconsumed_tail or unzip.unused_data or not unzip.eof:
                raise ValueError("its layout is of another length")
            about = json.loads(text)
        except (zlib.error, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise ValueError("its layout cannot be read") from error
        if not isinstance(about, dict) or not about.keys() <= vars(cls()).keys():
            raise ValueError("its layout has unknown fields")
        fps = about.get("fps", 30.0)
        if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps <= 1000:
            raise ValueError("its frame rate is none")
        layout = cls(
            fps=float(fps),
            **{key: _names(about.get(key, [])) for key in ("units", "wide", "joints", "parts")},
        )
        if not set(layout.wide) <= set(layout.units):
            raise ValueError("its wide units are none of its units")
        return layout


def _names(value: Any) -> tuple[str, ...]:
    if (
        not isinstance(value, list)
        or len(value) > MOST_NAMES
        or len({name for name in value if isinstance(name, str) and 0 < len(name) <= MOST_NAME_CHARS})
        < len(value)
    ):
        raise ValueError("its names are none")
    return tuple(value)


class MotionSender:
    """Makes one person's messages; times count from the first moment."""

    def __init__(self, fps: float = 30.0) -> None:
        self._fps = fps
        self._layout: Layout | None = None
        self._packed, self._id = b"", 0
        self._sequence = 0
        self._began_ns: int | None = None
        self._layout_ns = self._joints_ns = 0

    def messages(self, motion: Motion) -> list[bytes]:
        """What to send for this moment: its face, and at times the joints or the layout."""
        if self._began_ns is None:
            self._began_ns = motion.time_ns
        known = self._layout
        layout = self._layout_for(motion)
        made = []
        if layout is not known or motion.time_ns - self._layout_ns >= LAYOUT_S * 1e9:
            self._layout_ns = motion.time_ns
            made.append(self.layout_message())
        made.append(self._face(motion, layout))
        if layout.joints and (
            layout is not known or motion.time_ns - self._joints_ns >= (JOINTS_S - 1e-3) * 1e9
        ):
            self._joints_ns = motion.time_ns
            made.append(self._joints(motion, layout))
        return made

    def layout_message(self) -> bytes:
        """For somebody who joins. Raises ValueError before the first moment."""
        if self._layout is None:
            raise ValueError("nothing was sent yet")
        return bytes([VERSION << 4 | LAYOUT]) + self._id.to_bytes(2, "big") + self._packed

    def _layout_for(self, motion: Motion) -> Layout:
        """The present layout, or another one where it does not hold this moment."""
        present = self._layout
        units, joints, parts = motion.unit_names, tuple(motion.joints), tuple(motion.confidence)
        steps = np.round(motion.weights / _UNIT_STEP)
        beyond = (steps < 0) | (steps >= 1 << _UNIT_BITS)
        wide = tuple(units[row] for row in np.flatnonzero(beyond))
        if present is not None and present.units == units:
            if (present.joints, present.parts) == (joints, parts) and set(wide) <= set(present.wide):
                return present
            wide = tuple(name for name in units if name in wide or name in present.wide)
        self._layout = Layout(units, wide, joints, parts, self._fps)
        self._packed = self._layout.packed()
        self._id = zlib.crc32(self._packed) & 0xFFFF
        return self._layout

    def _begin(self, kind: int, motion: Motion) -> BitWriter:
        assert self._began_ns is not None
        bits = BitWriter()
        bits.put(VERSION << 4 | kind, 8)
        bits.put(self._id, _ID_BITS)
        bits.put(self._sequence, _SEQUENCE_BITS)
        bits.put(max(0, round((motion.time_ns - self._began_ns) / 1000)) & (1 << _TIME_BITS) - 1, _TIME_BITS)
        self._sequence = self._sequence + 1 & (1 << _SEQUENCE_BITS) - 1
        return bits

    def _face(self, motion: Motion, layout: Layout) -> bytes:
        bits = self._begin(FACE, motion)
        for part in layout.parts:
            share = motion.confidence[part]
            # 0 means not seen, and nothing else does.
            bits.put(0 if share <= 0 else max(1, min(255, round(255 * share))), _CONFIDENCE_BITS)
        _put_rotation(bits, motion.head_rotation, _HEAD_BITS)
        for metres in motion.head_translation.tolist():
            _put_signed(bits, metres / _PLACE_STEP_M, _PLACE_BITS)
        wide = set(layout.wide)
        steps = [
            round(weight / (_WIDE_STEP if name in wide else _UNIT_STEP))
            for name, weight in zip(layout.units, motion.weights.tolist(), strict=True)
        ]
        for step in steps:
            bits.put(step != 0, 1)
        for name, step in zip(layout.units, steps, strict=True):
            if step and name in wide:
                _put_signed(bits, step, _WIDE_BITS)
            elif step:
                bits.put(step, _UNIT_BITS)
        return bits.to_bytes()

    def _joints(self, motion: Motion, layout: Layout) -> bytes:
        bits = self._begin(JOINTS, motion)
        turned = [
            name for name in layout.joints if np.abs(motion.joints[name]).max() > math.pi / (1 << _JOINT_BITS)
        ]
        for name in layout.joints:
            bits.put(name in turned, 1)
        for name in turned:
            _put_rotation(bits, motion.joints[name], _JOINT_BITS)
        return bits.to_bytes()


@dataclass(frozen=True, slots=True)
class Told:
    """A message that was understood."""

    kind: int  # FACE or JOINTS
    sequence: int  # of 16 bits, over both kinds
    motion: Motion  # joints alone, or all but the joints; times count from the stream's first moment
    fps: float


class MotionReader:
    """Understands one person's messages, in whatever order they come."""

    _KEPT = 4  # layouts: messages of a former one may come late

    def __init__(self) -> None:
        self._layouts: dict[int, Layout] = {}

    def read(self, message: bytes) -> Told | None:
        """None for a layout, and for what refers to one that has not come.

        Raises MotionMessageError.
        """
        try:
            if len(message) > MOST_BYTES:
                raise ValueError(f"it has {len(message)} bytes, more than {MOST_BYTES}")
            if len(message) < 3:
                raise ValueError("it ends too early")
            version, kind = message[0] >> 4, message[0] & 15
            if version != VERSION:
                raise ValueError(f"version {version}, this program reads version {VERSION}")
            number = int.from_bytes(message[1:3], "big")
            if kind == LAYOUT:
                self._keep(number, Layout.unpacked(message[3:]))
                return None
            if kind not in (FACE, JOINTS):
                raise ValueError(f"its kind is {kind}")
            layout = self._layouts.get(number)
            return None if layout is None else _moment(kind, BitReader(message[3:]), layout)
        except ValueError as error:
            raise MotionMessageError(f"a motion message cannot be read: {error}") from error

    def _keep(self, number: int, layout: Layout) -> None:
        self._layouts.pop(number, None)
        self._layouts[number] = layout
        while len(self._layouts) > self._KEPT:
            del self._layouts[next(iter(self._layouts))]


def _moment(kind: int, bits: BitReader, layout: Layout) -> Told:
    sequence = bits.take(_SEQUENCE_BITS)
    time_ns = 1000 * bits.take(_TIME_BITS)
    if kind == JOINTS:
        turned = [name for name in layout.joints if bits.take(1)]
        rotations = {name: _rotation(bits, _JOINT_BITS) for name in turned}
        joints = {name: rotations.get(name, np.zeros(3)) for name in layout.joints}
        motion = Motion((), np.zeros(0), np.zeros(3), np.zeros(3), time_ns, {}, joints)
    else:
        confidence = {part: bits.take(_CONFIDENCE_BITS) / 255 for part in layout.parts}
        rotation = _rotation(bits, _HEAD_BITS)
        place = np.array([_PLACE_STEP_M * _signed(bits, _PLACE_BITS) for _ in range(3)])
        told = [bool(bits.take(1)) for _ in layout.units]
        wide = set(layout.wide)
        weights = np.zeros(len(told))
        for row in np.flatnonzero(told).tolist():
            if layout.units[row] in wide:
                weights[row] = _WIDE_STEP * _signed(bits, _WIDE_BITS)
            else:
                weights[row] = _UNIT_STEP * bits.take(_UNIT_BITS)
        motion = Motion(layout.units, weights, rotation, place, time_ns, confidence)
    bits.finish()
    return Told(kind, sequence, motion, layout.fps)


def _put_signed(bits: BitWriter, steps: float, width: int) -> None:
    most = (1 << width - 1) - 1
    bits.put(max(-most, min(most, round(steps))) + most, width)


def _signed(bits: BitReader, width: int) -> int:
    return bits.take(width) - ((1 << width - 1) - 1)


def _put_rotation(bits: BitWriter, rotation: NDArray[np.float64], width: int) -> None:
    """The shortest axis-angle vector of that rotation."""
    angle = math.sqrt(float(rotation @ rotation))
    if angle > math.pi:
        rotation = rotation * (math.remainder(angle, 2 * math.pi) / angle)
    scale = ((1 << width - 1) - 1) / math.pi
    for number in rotation.tolist():
        _put_signed(bits, number * scale, width)


def _rotation(bits: BitReader, width: int) -> NDArray[np.float64]:
    step = math.pi / ((1 << width - 1) - 1)
    return np.array([step * _signed(bits, width) for _ in range(3)])
