"""Drives an avatar with a person's face: from detections to the avatar's own rig parameters.

`Driver.update` is for live use and knows only the past; `Driver.solve_clip` sees the whole clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from render.avatar import Avatar
from tracking import axis_angle
from tracking.avatar_view import AvatarView, params_of
from tracking.calibration import calibrate_avatar, response_of, signature_of
from tracking.detection import Detection
from tracking.face_motion import FaceMotion
from tracking.face_signals import (
    POINTS,
    FaceTrack,
    rotation_of_angles,
    rotations_of,
    track_of,
    track_of_detections,
)
from tracking.filters import FaceFilter
from tracking.neutral import estimate_neutral
from tracking.presence import Presence
from tracking.refine import (
    ClipCoordinates,
    Discrepancy,
    RefineConfig,
    measured_differences,
    sampled_frames,
)
from tracking.response import DetectorResponse
from tracking.result import TrackingResult
from tracking.solver import ExpressionSolver
from tracking.units import unit_limits
from tracking.unsmooth import turned, unsmoothed

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DriverConfig:
    """How the head may move in the picture, and when a live driver measures the person's neutral face."""

    shift_share: float = 0.4  # of the person's own shift, in units of the face's size
    max_shift: float = 0.25  # eye units, reached softly
    refine: RefineConfig | None = RefineConfig()  # None: a clip is solved without looking at the avatar
    neutral_at_frames: tuple[int, ...] = (1, 8, 30, 90, 300)  # when the live neutral is measured again
    neutral_window: int = 300  # frames it is measured from
    live_rounds: int = 2


class Driver:
    """One person driving one avatar.

    An avatar without a valid calibration is calibrated first, which takes up to a minute (`visavis avatar import`
    does it once and for all). Raises TrackingError when the detector cannot see the avatar's face. Close it, or use
    it as a context manager, after `solve_clip`.
    """

    def __init__(self, avatar: Avatar, config: DriverConfig | None = None, model: Path | None = None) -> None:
        self.avatar = avatar
        self._config = config if config is not None else DriverConfig()
        self._model = model
        self._view: AvatarView | None = None
        names = tuple(avatar.rig.expression_names)
        self.response = self._calibrated_response(names)
        self._jaw = names.index("jawOpen") if "jawOpen" in names else None
        lids = np.array([name.startswith(("eyeBlink", "eyeSquint")) for name in names], np.float64)
        self.solver = ExpressionSolver(self.response, unit_limits(names), lids)
        self._eye_lever = _eye_lever(avatar)
        self.restart()

    def restart(self) -> None:
        """Forget the person: the next frame is the first of another."""
        self._filter = FaceFilter()
        self._presence = Presence(self.avatar.rig.expression_names)
        self._seen: list[FaceTrack] = []
        self._num_seen = 0
        self._rest_position: Array | None = None

    def remeasure_neutral(self) -> None:
        """Take the person's face at rest anew from the frames that follow (for a button in the page)."""
        self._seen, self._num_seen = [], 0

    def close(self) -> None:
        """End what `solve_clip` started; closing twice does no harm."""
        view, self._view = self._view, None
        if view is not None:
            view.close()

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def prepare_clip(self) -> None:
        """Start what `solve_clip` needs, so that it loads while the clip is still being detected."""
        if self._config.refine is not None and self._has_units and self._view is None:
            self._view = AvatarView(self.avatar, self._model)

    @property
    def _has_units(self) -> bool:
        return bool(np.any(self.response.unit_points))

    # Live

    def update(self, detection: Detection) -> TrackingResult:
        """The avatar's parameters for the newest frame."""
        time_s = detection.capture_ns / 1e9
        motion = None
        if detection.found:
            track = track_of_detections([detection])
            self._learn_neutral(track)
            weights = self.solver.solve(self.solver.rows(track.points[0], track.angles[0]))
            motion = self._filter(self._motions(weights[None], track.angles, track.position)[0], time_s)
        else:
            self._filter.reset()
        return self._result(self._presence.update(motion, time_s), detection)

    def _learn_neutral(self, track: FaceTrack) -> None:
        self._seen = [*self._seen[-self._config.neutral_window + 1 :], track]
        self._num_seen += 1
        if self._num_seen in self._config.neutral_at_frames:
            past = _joined(self._seen)
            estimate_neutral(self.solver, past, self._jaw, self._config.live_rounds, max_frames=24)
            self._rest_position = np.median(past.position, 0)

    # A whole clip

    def solve_clip(self, detections: Sequence[Detection], fps: float) -> list[TrackingResult]:
        """The avatar's parameters for every frame of a clip, from all of it. `fps` is the clip's nominal rate."""
        self.restart()
        found = [i for i, d in enumerate(detections) if d.found]
        motions: list[FaceMotion | None] = [None] * len(detections)
        if found:
            seen = [detections[i] for i in found]
            for place, motion in zip(found, self._solved_clip(seen, fps), strict=True):
                motions[place] = motion
        shown = [
            self._presence.update(m, d.capture_ns / 1e9) for m, d in zip(motions, detections, strict=True)
        ]
        return [self._result(m, d) for m, d in zip(shown, detections, strict=True)]

    def _solved_clip(self, detections: list[Detection], fps: float) -> list[FaceMotion]:
        track = _unsmoothed_track(detections, fps)
        if not self._has_units:
            self._rest_position = np.median(track.position, 0)
            return self._motions(np.zeros((len(track), len(self.solver.unit_rows))), track.angles, track.position)
        estimate_neutral(self.solver, track, self._jaw)
        self._rest_position = np.median(track.position, 0)
        rows = self.solver.rows(track.points, track.angles)
        weights = self.solver.solve_many(rows)
        motions = self._motions(weights, track.angles, track.position)
        if self._config.refine is not None:
            motions = self._refined(self._config.refine, track, rows, motions)
        return motions

    def _refined(
        self, config: RefineConfig, track: FaceTrack, rows: Array, motions: list[FaceMotion]
    ) -> list[FaceMotion]:
        self.prepare_clip()
        assert self._view is not None
        unit_rows = self.solver.unit_rows
        weights = np.array([m.weights for m in motions])
        coordinates = ClipCoordinates(weights @ unit_rows, _angles(motions))
        of_rows, of_angles = Discrepancy(config), Discrepancy(config)
        for number in range(config.rounds):
            frames = sampled_frames(len(motions), config, number)
            played = [motions[i] for i in frames]
            found, row_error, angle_error = measured_differences(
                self.response, unit_rows, played, _angles(played), list(self._view.detect(played))
            )
            if not len(found):
                return motions
            sampled = weights[frames[found]]
            inputs = coordinates(sampled @ unit_rows, _angles(played)[found])
            of_rows.add(inputs, row_error)
            of_angles.add(inputs, angle_error)
            for _ in range(2):  # the correction depends on the weights that it changes
                where = coordinates(weights @ unit_rows, _angles(motions))
                weights = self.solver.solve_many(rows - of_rows(where))
                motions = self._motions(weights, track.angles - of_angles(where), track.position)
        return motions

    # Both

    def _motions(self, weights: Array, angles: Array, position: Array) -> list[FaceMotion]:
        """Face motions of T frames whose detected head angles and positions are given."""
        assert self._rest_position is not None
        moved = self._config.max_shift * np.tanh(
            self._config.shift_share * (position - self._rest_position) / self._config.max_shift
        )
        moved[:, 2] *= 0  # closeness stays: the avatar keeps its size in the picture
        shifts = moved * float(self.response.eye_distance)
        motions = []
        for w, wanted, shift in zip(weights, angles, shifts, strict=True):
            rotation = rotation_of_angles(self.response.angles_for(wanted, w, shift))
            # Turning about the neck moves the eyes by itself: only the rest is shifted.
            motions.append(FaceMotion(w, axis_angle.from_matrix(rotation), shift))
        return motions

    def _result(self, motion: FaceMotion, detection: Detection) -> TrackingResult:
        return TrackingResult(
            params=params_of(self.avatar, motion),
            confidence=1.0 if detection.found else 0.0,
            found=detection.found,
            capture_ns=detection.capture_ns,
            index=detection.index,
        )

    def _calibrated_response(self, names: tuple[str, ...]) -> DetectorResponse:
        if not names:
            return DetectorResponse.without_units(0, signature_of(self.avatar))
        response = response_of(self.avatar)
        if response is None:
            response = response_of(calibrate_avatar(self.avatar, self._model))
            assert response is not None
        return response


def _eye_lever(avatar: Avatar) -> Array:
    return np.zeros(3)


def _angles(motions: Sequence[FaceMotion]) -> Array:
    from tracking.face_signals import angles_of

    return np.array([angles_of(axis_angle.to_matrix(m.rotation)) for m in motions])


def _joined(tracks: Sequence[FaceTrack]) -> FaceTrack:
    return FaceTrack(
        np.concatenate([t.points for t in tracks]),
        np.concatenate([t.angles for t in tracks]),
        np.concatenate([t.scores for t in tracks]),
        np.concatenate([t.position for t in tracks]),
    )


def _unsmoothed_track(detections: list[Detection], fps: float) -> FaceTrack:
    """The track of found frames without the detector's smoothing, run by run of consecutive frames."""
    index = np.array([d.index for d in detections])
    runs = np.split(np.arange(len(detections)), np.flatnonzero(np.diff(index) != 1) + 1)
    tracks = []
    for run in runs:
        some = [detections[i] for i in run]
        landmarks = np.array([d.landmarks[list(POINTS)] for d in some], np.float64)
        times_s = np.array([d.capture_ns for d in some]) / 1e9
        step = np.maximum(np.diff(times_s, prepend=times_s[0] - 1 / fps), 1e-3)
        raw = unsmoothed(landmarks, np.cumsum(step))
        rotations = rotations_of(some)
        mirror = np.array([1.0, -1.0, -1.0])
        rotations = turned(landmarks * mirror, raw * mirror) @ rotations
        sizes = np.array([(d.width, d.height) for d in some], np.float64)
        tracks.append(track_of(raw, rotations, np.array([d.scores for d in some], np.float64), sizes))
    return _joined(tracks)
