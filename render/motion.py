"""What a person does, before any rig: what drivers give, files hold, and avatars play.

Units are named, so that a motion plays on every avatar: see `render.avatars.avatar.Avatar.params`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render import axis_angle

Array = NDArray[np.float64]

FACE = "face"  # the part every driver so far tells of


@dataclass(frozen=True, slots=True)
class Motion:
    """One moment of a person.

    `joints` holds what is known beyond units and head: rotations of the body's and the hands' joints, or of
    the face's, where they are known themselves; they count instead of what units say of the same joint.
    """

    unit_names: tuple[str, ...]  # U; ARKit's where they mean that, else those of the rig it was solved in
    weights: Array  # [U]
    head_rotation: Array  # [3] axis-angle, world axes (y up, z out of the face), radians
    head_translation: Array  # [3] metres
    time_ns: int = 0  # when it was: capture time of the frame it was seen in
    confidence: Mapping[str, float] = field(default_factory=dict)  # by part, 0..1; 0: not seen, 1: measured
    joints: Mapping[str, Array] = field(default_factory=dict)  # SMPL-X's names: [3] axis-angle, to the parent

    @classmethod
    def neutral(cls, unit_names: Sequence[str] = ()) -> Motion:
        """A face at rest that looks ahead."""
        return cls(tuple(unit_names), np.zeros(len(unit_names)), np.zeros(3), np.zeros(3))

    @classmethod
    def of(cls, units: Mapping[str, float], head_rotation: Sequence[float] = (0, 0, 0)) -> Motion:
        """An expression by the weights of its units; what is not named rests."""
        return replace(
            cls.neutral(tuple(units)),
            weights=np.array(list(units.values()), np.float64),
            head_rotation=np.array(head_rotation, np.float64),
        )

    @property
    def face_seen(self) -> bool:
        """Whether the face was seen, not guessed."""
        return self.confidence.get(FACE, 0.0) > 0


@dataclass(frozen=True)
class MotionClip:
    """The moments of a film or a piece of acting: T frames, U units."""

    unit_names: tuple[str, ...]
    weights: NDArray[np.float32]  # [T, U]
    head_rotation: NDArray[np.float32]  # [T, 3] axis-angle, world axes, radians
    head_translation: NDArray[np.float32]  # [T, 3] metres
    times_ns: NDArray[np.int64]  # [T] presentation times, rising
    fps: float  # nominal
    confidence: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)  # part: [T] 0..1
    joints: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)  # joint: [T, 3] axis-angle
    avatar_name: str = ""  # whose rig it was solved in
    rig_fingerprint: str = ""
    # What units of a rig's own mean in ARKit's: weights of `arkit_names` per weight, upwards and downwards.
    arkit_names: tuple[str, ...] = ()  # A
    in_arkit: NDArray[np.float32] | None = None  # [2, U, A]

    def __len__(self) -> int:
        return len(self.times_ns)

    def __getitem__(self, frame: int) -> Motion:
        return Motion(
            self.unit_names,
            self.weights[frame].astype(np.float64),
            self.head_rotation[frame].astype(np.float64),
            self.head_translation[frame].astype(np.float64),
            int(self.times_ns[frame]),
            {part: float(values[frame]) for part, values in self.confidence.items()},
            {joint: values[frame].astype(np.float64) for joint, values in self.joints.items()},
        )

    def __iter__(self) -> Iterator[Motion]:
        return (self[frame] for frame in range(len(self)))

    @property
    def duration_s(self) -> float:
        """From the first frame's time to the end of the last frame."""
        return float(self.times_ns[-1] - self.times_ns[0]) / 1e9 + 1 / self.fps

    @property
    def face_seen(self) -> NDArray[np.bool_]:
        """Frames [T] in which the face was seen; the others still play."""
        return self.confidence[FACE] > 0 if FACE in self.confidence else np.zeros(len(self), bool)

    @classmethod
    def of(cls, moments: Sequence[Motion], fps: float, **about: Any) -> MotionClip:
        """Moments of the same units, parts and joints in their order; `about` is the clip's other fields.

        Raises ValueError when there are none.
        """
        if not moments:
            raise ValueError("a motion needs at least one frame")
        first = moments[0]
        return cls(
            unit_names=first.unit_names,
            weights=np.stack([m.weights for m in moments]).astype(np.float32),
            head_rotation=np.stack([m.head_rotation for m in moments]).astype(np.float32),
            head_translation=np.stack([m.head_translation for m in moments]).astype(np.float32),
            times_ns=np.array([m.time_ns for m in moments], np.int64),
            fps=fps,
            confidence={
                p: np.array([m.confidence[p] for m in moments], np.float32) for p in first.confidence
            },
            joints={j: np.stack([m.joints[j] for m in moments]).astype(np.float32) for j in first.joints},
            **about,
        )

    def in_units(self, names: Sequence[str]) -> MotionClip:
        """This clip for a rig of the units `names`: another rig's own become ARKit's, where that is known."""
        if self.in_arkit is None or set(self.unit_names) <= set(names):
            return self
        up, down = self.in_arkit
        arkit = np.maximum(self.weights, 0) @ up + np.maximum(-self.weights, 0) @ down
        return replace(
            self, unit_names=self.arkit_names, weights=arkit.astype(np.float32), arkit_names=(), in_arkit=None
        )


def blend(start: Motion, end: Motion, share: float) -> Motion:
    """The motion a share (0..1, or past them) of the way from `start` to `end`; all turns the shortest way.

    Both are of the same units; time and confidence are those of `end`, and joints that `start` does not tell.
    """
    return replace(
        end,
        weights=start.weights + share * (end.weights - start.weights),
        head_rotation=axis_angle.interpolate(start.head_rotation, end.head_rotation, share),
        head_translation=start.head_translation + share * (end.head_translation - start.head_translation),
        joints={
            joint: axis_angle.interpolate(start.joints[joint], rotation, share)
            if joint in start.joints
            else rotation
            for joint, rotation in end.joints.items()
        },
    )


def shifted(motion: Motion, start: Motion, end: Motion, share: float) -> Motion:
    """`motion` with a share of the way from `start` to `end` added to it; all three are of the same units."""

    def turned(rotation: Array, before: Array, after: Array) -> Array:
        return axis_angle.compose(rotation, share * axis_angle.difference(before, after))

    return replace(
        motion,
        weights=motion.weights + share * (end.weights - start.weights),
        head_rotation=turned(motion.head_rotation, start.head_rotation, end.head_rotation),
        head_translation=motion.head_translation + share * (end.head_translation - start.head_translation),
        joints={
            joint: turned(rotation, start.joints[joint], end.joints[joint])
            if joint in start.joints and joint in end.joints
            else rotation
            for joint, rotation in motion.joints.items()
        },
    )
