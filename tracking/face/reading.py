"""What a face does, read from all that the detector says of it: landmarks, scores and angles together.

The detector's landmarks move less far than a face does, by another share for every unit, and its scores know
things that the landmarks hardly show: cheeks, brows, the gaze up and down. A ridge regression weighs both. It
is learned from random identities of the built-in head, whose weights are known in every picture
(`tracking.making.make_reading`), and used for avatars whose units are those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tracking.asset_file import opened_asset
from tracking.errors import TrackingError
from tracking.face.head_pose import pose_terms
from tracking.face.signals import POINTS_NOTE, FaceTrack, rows_of

Array = NDArray[np.float64]

READING = Path(__file__).parents[1] / "assets" / "reading.safetensors"
_LEAST_SHARE = 0.8  # of the units known here, in a rig that it is used for
_UNSURE_DEG = (32.0, 25.0)  # yaw and pitch from which less than half is trusted: few such were learned from
_POSE_SIZE = 0.3  # of the pose's terms beside rows and scores


@dataclass(frozen=True, slots=True)
class Read:
    """What was read of T frames."""

    weights: Array  # [T, U], unbounded
    trust: Array  # [T] 1 for a face that looks at the camera, near 0 in profile

    def __getitem__(self, frame: int) -> Read:
        return Read(self.weights[frame], self.trust[frame])


@dataclass(frozen=True)
class FaceReading:
    """The regression; U units, R rows of `signals.rows_of`, 52 scores."""

    names: tuple[str, ...]  # [U]
    units: Array  # [R + 52 + 9, U] from how far a frame is from rest to weights
    scores: Array  # [U, 52] the scores that it moves

    @classmethod
    def load(cls, path: Path = READING) -> FaceReading:
        """Raises TrackingError when the file is missing, damaged, or made for other points."""
        with opened_asset(path, "reading of faces") as file:
            notes = file.metadata() or {}
            if notes["points"] != POINTS_NOTE:
                raise TrackingError(f"{path}: made for other points of the face; install visavis again")
            arrays = {f.name: file.get_tensor(f.name).astype(np.float64) for f in fields(cls)[1:]}
            return cls(tuple(notes["names"].split()), **arrays)

    def save(self, path: Path) -> None:
        from safetensors.numpy import save_file

        half = {f.name: np.ascontiguousarray(getattr(self, f.name), np.float16) for f in fields(self)[1:]}
        save_file(half, str(path), {"points": POINTS_NOTE, "names": " ".join(self.names)})

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which units it reads [U]."""
        return np.asarray((self.units != 0).any(0))

    def of_units(self, names: Sequence[str]) -> FaceReading | None:
        """The reading of a rig's units, in its order, 0 where nothing is known of one.

        None where the rig has too few of those that are known: it makes its faces of others.
        """
        if sum(name in names for name in self.names) < _LEAST_SHARE * len(self.names):
            return None
        order = [self.names.index(name) if name in self.names else -1 for name in names]
        known = np.array(order) >= 0
        return FaceReading(tuple(names), self.units[:, order] * known, self.scores[order] * known[:, None])

    def read(self, track: FaceTrack, rest_points: Array, rest_scores: Array, rest_angles: Array) -> Read:
        """What a person does who rests so: points [P, 3], scores [52], angles [3]."""
        turned = ((track.angles[:, :2] / _UNSURE_DEG) ** 4).sum(1)
        return Read(features(track, rest_points, rest_scores, rest_angles) @ self.units, 1 / (1 + turned))

    def rest_scores(self, track: FaceTrack, weights: Array) -> Array:
        """The scores [52] of a face at rest, from what units did that are known roughly [T, U]."""
        return np.clip(np.median(track.scores - weights @ self.scores, 0), 0.0, 1.0)


def features(track: FaceTrack, rest_points: Array, rest_scores: Array, rest_angles: Array) -> Array:
    """How far the frames of `track` are from rest [T, R + 52 + 9], in all that the detector says."""
    return np.concatenate(
        [
            rows_of(track.points) - rows_of(rest_points),
            track.scores - rest_scores,
            _POSE_SIZE * (pose_terms(track.angles) - pose_terms(rest_angles)),
        ],
        1,
    )


@cache
def face_reading() -> FaceReading:
    """The reading that is installed. Raises TrackingError."""
    return FaceReading.load()
