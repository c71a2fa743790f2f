"""What faces at rest look like: a prior for a person of whom little has been seen.

It is learned from the built-in people's rig: random identities, at rest and making faces, rendered and
detected (`tracking.making.make_resting_faces`). A linear regression takes the expression out of a frame, with
the help of what expression hardly changes (the bones) and of the detector's scores. How far it errs from
person to person, and how far expressions move the same points, decides how much of a measured neutral is
believed: a neutral that no person has, though an expression explains it, is an expression.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tracking.asset_file import opened_asset
from tracking.errors import TrackingError
from tracking.face.head_pose import rigid_turns
from tracking.face.signals import (
    BROWS,
    CHEEKS,
    EYES,
    IRISES,
    JAW,
    LIPS,
    NOSE,
    NUM_POINTS,
    POINTS_NOTE,
    FaceTrack,
    places,
)

Array = NDArray[np.float64]

RESTING_FACES = Path(__file__).parents[1] / "assets" / "resting_faces.safetensors"
# Parts that may be at rest while others move; each is judged by itself.
PARTS: Mapping[str, NDArray[np.intp]] = {
    "mouth": np.sort(places(LIPS + JAW + CHEEKS + NOSE)),
    "brows": np.sort(places(BROWS)),
    "lids": np.sort(places(EYES)),
    "gaze": np.sort(places(IRISES)),
}
# Landmarks that expression hardly moves: the nose, the corners of the eyes, the forehead and temples.
_BONES = places(
    (
        1, 4, 5, 195, 197, 6, 168, 33, 133, 362, 263, 10, 151, 9, 8, 127, 356, 162, 389,
        21, 251, 54, 284, 103, 332, 67, 297, 109, 338, 234, 454,
    )
)  # fmt: skip
_DEPTH, _SCORES, _ANGLES, _SQUARES, _ONE = 0.35, 0.15, 0.05, 0.02, 0.3  # sizes of the regression's inputs
_CALM = 0.015  # eye units: expressions below this are all equally calm
_FRONTAL_DEG = 25.0
_NOBODYS = 0.25  # eye units from the mean face; the longest of real faces are at 0.1
# Shares of the usual spread of expressions that a neutral's error may have. What was seen for a while, and
# differed, has been seen at rest.
_SHARES = np.r_[0.0, np.logspace(-3, 0, 25)]
_HALF_BELIEVED_S = 3.0  # of a face that moves as much as faces do
# Nats by which an error must be likelier than none, for every second seen: a neutral of much footage is not
# bent by what the prior merely finds a little likelier.
_DOUBT_PER_S = 0.3
_STILL = 0.1  # what a second of a still face is worth in seconds of a moving one


@dataclass(frozen=True)
class PartModes:
    """Directions in which a part's expressions stand out from the differences between people.

    A difference d from the expected rest has coordinates `into` @ d. Among people at rest they have variance
    1, and `spread` under the usual expressions; `out` @ coordinates is the difference again.
    """

    spread: Array  # [K]
    into: Array  # [K, n * 3]
    out: Array  # [n * 3, K]


@dataclass(frozen=True)
class RestingFaces:
    """The prior; P points in the head's frame, eye units."""

    mean: Array  # [P, 3]
    down: Array  # [F, r] from a frame's features ...
    up: Array  # [r, P * 3] ... to how far expression has moved its points
    parts: Mapping[str, PartModes]

    @classmethod
    def load(cls, path: Path = RESTING_FACES) -> RestingFaces:
        """Raises TrackingError when the file is missing, damaged, or made for other points."""
        with opened_asset(path, "resting faces") as file:
            stored = {name: file.get_tensor(name).astype(np.float64) for name in file.keys()}  # noqa: SIM118
            if (file.metadata() or {})["points"] != POINTS_NOTE:
                raise TrackingError(f"{path}: made for other points of the face; install visavis again")
            parts = {
                name: PartModes(*(stored[f"{name}.{kind}"] for kind in ("spread", "into", "out")))
                for name in PARTS
            }
            return cls(stored["mean"], stored["down"], stored["up"], parts)

    def save(self, path: Path) -> None:
        from safetensors.numpy import save_file

        tensors = {"mean": self.mean, "down": self.down, "up": self.up}
        for name, part in self.parts.items():
            tensors |= {f"{name}.spread": part.spread, f"{name}.into": part.into, f"{name}.out": part.out}
        half = {name: np.ascontiguousarray(array, np.float16) for name, array in tensors.items()}
        half["mean"] = self.mean.astype(np.float32)
        save_file(half, path, {"points": POINTS_NOTE})

    def upright(self, track: FaceTrack) -> tuple[FaceTrack, Array]:
        """The track turned so that its bones lie as the mean face's do, and the rotation [3, 3] that did it:
        points @ rotation. What is upright for a head is a convention; here it is the prior's."""
        bones = track.points[:, _BONES]
        middle = np.median(bones, 0)
        rotation = rigid_turns(middle[None], self.mean[None, _BONES])[0].T
        return replace(track, points=track.points @ rotation), rotation

    def expressions(self, track: FaceTrack) -> Array:
        """How far expression has moved the points of each frame of an upright track, [T, P, 3]."""
        return (features(track, self.mean) @ self.down @ self.up).reshape(len(track), NUM_POINTS, 3)

    def expected(self, track: FaceTrack, expressions: Array) -> Array:
        """The person's points at rest [P, 3] from all frames; calm and frontal ones count most."""
        size = (expressions[..., :2] ** 2).mean((1, 2)) / _CALM**2
        weights = 1 / (1 + size + 4 * ((track.angles[:, :2] / _FRONTAL_DEG) ** 2).sum(1))
        return np.average(track.points - expressions, axis=0, weights=weights)

    def believed(self, measured: Array, expected: Array, expressions: Array, seconds: float) -> Array:
        """The posterior mean [P, 3] of a resting face that was measured, as `measured` [P, 3], in frames.

        `expressions` [T, P, 3] of these frames, which were seen for `seconds`. In each part the error of the
        measurement is taken for a share of the usual expressions, the likeliest given how far it is from
        `expected`, and at most what that much variety may leave. A face that is shaped like nobody's (a
        drawing, a mask) is left as it was measured.
        """
        if float(np.sqrt(((measured - self.mean)[:, :2] ** 2).mean())) > _NOBODYS:
            return measured
        points = measured.reshape(-1).copy()
        difference = points - expected.reshape(-1)
        for name, part in self.parts.items():
            rows = _rows(PARTS[name])
            coordinates = part.into @ difference[rows]
            moving_s = self._moving_seconds(part, expressions, rows, seconds)
            most = 1 / (1 + moving_s / _HALF_BELIEVED_S)
            variances = 1 + _SHARES[:, None] * part.spread
            likelihood = -0.5 * (np.log(variances) + coordinates**2 / variances).sum(1)
            likelihood[1:] -= _DOUBT_PER_S * moving_s
            share = min(float(_SHARES[likelihood.argmax()]), most)
            points[rows] -= part.out @ (coordinates * share * part.spread / (1 + share * part.spread))
        return points.reshape(measured.shape)

    def _moving_seconds(
        self, part: PartModes, expressions: Array, rows: NDArray[np.intp], seconds: float
    ) -> float:
        """The time a part was seen, each second worth as much as the part moved, of what it usually does."""
        coordinates = expressions.reshape(len(expressions), -1)[:, rows] @ part.into.T
        moved = min(float(coordinates.var(0).sum() / part.spread.sum()), 1.0)
        return seconds * max(_STILL, float(np.sqrt(moved)))


def features(track: FaceTrack, mean: Array) -> Array:
    """The regression's inputs [T, F] of each frame."""
    num = len(track)
    points = (track.points - mean) * (1.0, 1.0, _DEPTH)
    angles = track.angles / 10
    scores = _SCORES * track.scores[:, 1:]  # the first one is "_neutral"
    one = np.full((num, 1), _ONE)
    return np.concatenate([points.reshape(num, -1), scores, _ANGLES * angles, _SQUARES * angles**2, one], 1)


@cache
def resting_faces() -> RestingFaces:
    """The prior that is installed, loaded once."""
    return RestingFaces.load()


def _rows(part: NDArray[np.intp]) -> NDArray[np.intp]:
    return (part[:, None] * 3 + np.arange(3)).ravel()
