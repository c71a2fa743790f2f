"""Drives an avatar with a person's face: from detections to the avatar's own rig parameters.

`Driver.update` is for live use and knows only the past; `Driver.solve_clip` sees the whole clip.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from render import axis_angle
from render.avatars.avatar import Avatar
from render.motion import FACE, Motion
from tracking.calibration.stored import response_of
from tracking.calibration.view import AvatarView
from tracking.detect.detection import Detection
from tracking.errors import TrackingError
from tracking.face.filters import FaceFilter
from tracking.face.head_pose import angles_of, rigid_turns, rotation_of_angles
from tracking.face.level import Level, SlowCorrection, slowly
from tracking.face.neutral import LiveNeutral, LiveNeutralConfig, estimate_neutral
from tracking.face.presence import Presence
from tracking.face.reading import Read
from tracking.face.refine import (
    ClipCoordinates,
    Discrepancy,
    RefineConfig,
    measured_differences,
    sampled_frames,
)
from tracking.face.signals import (
    LIP_GAP_ROWS,
    MOUTH_PLACES,
    POINTS,
    STEADY_PLACES,
    FaceTrack,
    lip_gap,
    rotations_of,
    scores_and_sizes,
    track_of,
    track_of_detections,
)
from tracking.face.solver import ExpressionSolver
from tracking.face.units import unit_limits
from tracking.face.unsmooth import unsmoothed_clip

Array = NDArray[np.float64]

_EYES_FROM_HEAD_JOINT = (0.0, 0.35, 1.0)  # eye units, for rigs whose eyes are no joints
_PARTING_LIPS = (0.03, 0.12)  # eye units
_OPEN_LIPS = 0.05  # eye units
_LEAST_SHARE_OPEN = 0.1  # of the frames of a person who talks
_LEVEL_GAIN = 0.7  # of what is missing, each time the clip is solved again
# Of what was read, once the avatar is looked at: more of it takes avatar and person further apart for the
# detector, measured on three clips.
_REFINED_TRUST = 0.3
_REFINE = RefineConfig()
_LIVE_NEUTRAL = LiveNeutralConfig()


@dataclass(frozen=True, slots=True)
class DriverConfig:
    """How the head may move in the picture, and when a live driver measures the person's neutral face."""

    shift_share: float = 0.4  # of the person's own shift, in units of the face's size
    max_shift: float = 0.25  # eye units, reached softly
    refine: RefineConfig | None = _REFINE  # None: a clip is solved without looking at the avatar
    neutral: LiveNeutralConfig = _LIVE_NEUTRAL


class Driver:
    """One person driving one avatar.

    Raises TrackingError when the avatar is not calibrated (see `engine.calibrate`). Close it, or use it as a
    context manager, after `solve_clip`.
    """

    def __init__(self, avatar: Avatar, config: DriverConfig | None = None) -> None:
        self.avatar = avatar
        self._config = config if config is not None else DriverConfig()
        self._view: AvatarView | None = None
        self.solve_s, self.refine_s = 0.0, 0.0  # seconds that the last clip took
        names = avatar.rig.unit_names
        response = response_of(avatar)
        if response is None:
            raise TrackingError(
                f"{avatar.name} is not calibrated to the face detector; `visavis avatar import`, without "
                "--no-calibrate, does that"
            )
        self.response = response
        self._jaw = names.index("jawOpen") if "jawOpen" in names else None
        limits = unit_limits(avatar.rig.units).within(self.response.unit_reach)
        self.solver = ExpressionSolver(self.response, limits, avatar.rig.units)
        self.solver.solve(np.zeros(self.solver.unit_rows.shape[1]))  # loads the kernels now
        self._neutral = LiveNeutral(self.solver, self._jaw, self._config.neutral)
        self._eye_lever = _eye_lever(avatar, float(self.response.eye_distance))
        self.restart()

    def restart(self) -> None:
        """Forget the person: the next frame is the first of another."""
        self._person: int | None = None
        self._filter = FaceFilter()
        blink = self.avatar.weights(Motion.of({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}))
        self._presence = Presence(self.avatar.rig.unit_names, blink)
        self._neutral.restart()
        self._rest_position: Array | None = None
        self._rest_angles = np.zeros(3)
        self._level: Level | None = None
        self._correction = SlowCorrection()

    def remeasure_neutral(self) -> None:
        """Take the person's face at rest anew from the frames that follow (for a button in the page)."""
        self._neutral.remeasure()

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
            self._view = AvatarView(self.avatar)

    @property
    def _has_units(self) -> bool:
        return bool(np.any(self.response.unit_points))

    # Live

    def update(self, detection: Detection) -> Motion:
        """What the person does in the newest frame, in the avatar's units."""
        time_s = detection.capture_ns / 1e9
        motion = None
        if detection.found:
            if self._person not in (None, detection.person):
                self._filter.reset()
                self.remeasure_neutral()
            self._person = detection.person
            track = track_of_detections([detection])
            measured = self._neutral.update(track, time_s)
            if measured is not None:
                self._rest(measured)
            rows = self.solver.rows(track.points[0], track.angles[0])
            read = self.solver.read(track)
            weights = self.solver.solve(rows, None if read is None else read[0])
            turns = track.angles + self._correction(self._unlevelled(track)[0], time_s)
            motion = self._filter(self._motions(weights[None], track, turns)[0], time_s)
        else:
            self._filter.reset()
        return _stamped(self._presence.update(motion, time_s), detection)

    # A whole clip

    def solve_clip(self, detections: Sequence[Detection], fps: float) -> list[Motion]:
        """What the person does in every frame of a clip, from all of it; `fps` is its nominal rate."""
        self.restart()
        start = time.perf_counter()
        self.refine_s = 0.0
        motions: list[Motion | None] = [None] * len(detections)
        for person in sorted({d.person for d in detections if d.found}):  # each with a neutral of their own
            found = [i for i, d in enumerate(detections) if d.found and d.person == person]
            seen = [detections[i] for i in found]
            for place, motion in zip(found, self._solved_clip(seen, fps), strict=True):
                motions[place] = motion
        shown = [
            self._presence.update(m, d.capture_ns / 1e9) for m, d in zip(motions, detections, strict=True)
        ]
        results = [_stamped(m, d) for m, d in zip(shown, detections, strict=True)]
        self.solve_s = time.perf_counter() - start - self.refine_s
        return results

    def _solved_clip(self, detections: list[Detection], fps: float) -> list[Motion]:
        track = _unsmoothed_track(detections, fps)
        if self._has_units:
            estimate_neutral(self.solver, track, self._jaw, len(track) / fps)
        self._rest(track)
        turns = track.angles + slowly(self._unlevelled(track), fps)
        if not self._has_units:
            return self._motions(np.zeros((len(track), len(self.solver.unit_rows))), track, turns)
        rows, read = self.solver.rows(track.points, track.angles), self.solver.read(track)
        weights = self.solver.solve_many(rows, read)
        motions = self._motions(weights, track, turns)
        if self._config.refine is not None:
            start = time.perf_counter()
            motions = self._refined(self._config.refine, track, rows, read, turns, motions)
            self.refine_s = time.perf_counter() - start
        return motions

    def _refined(
        self,
        config: RefineConfig,
        track: FaceTrack,
        rows: Array,
        read: Read | None,
        turns: Array,
        motions: list[Motion],
    ) -> list[Motion]:
        self.prepare_clip()
        assert self._view is not None
        unit_rows = self.solver.unit_rows
        weights = np.array([m.weights for m in motions])
        coordinates = ClipCoordinates(weights @ unit_rows, _angles(motions))
        discrepancy = Discrepancy(config)
        # A compromise of all rows leaves lips that just part a little too close or too far apart, always the
        # same way; whether a mouth is open shows more than by how much.
        gap = lip_gap(track.points)
        parting = (gap > _PARTING_LIPS[0]) & (gap < _PARTING_LIPS[1])
        opens = np.mean(gap > _OPEN_LIPS) > _LEAST_SHARE_OPEN  # else the mouth rests, and may
        level = np.zeros(LIP_GAP_ROWS.stop - LIP_GAP_ROWS.start)
        for number in range(config.rounds):
            frames = sampled_frames(len(motions), config, number)
            played = [motions[i] for i in frames]
            found, errors = measured_differences(
                self.response, unit_rows, played, _angles(played), list(self._view.detect(played))
            )
            if not len(found):
                return motions
            discrepancy.add(coordinates(weights[frames[found]] @ unit_rows, _angles(played)[found]), errors)
            # The correction depends on the weights that it changes; the next round looks again by itself.
            for _ in range(2 if number == config.rounds - 1 else 1):
                expected = discrepancy(coordinates(weights @ unit_rows, _angles(motions)))
                wanted = rows - expected[:, :-3]
                if opens and parting.any():
                    missing = (wanted - weights @ unit_rows)[parting, LIP_GAP_ROWS].mean(0)
                    level += _LEVEL_GAIN * missing
                wanted[:, LIP_GAP_ROWS] += level
                weights = self.solver.solve_many(wanted, read, _REFINED_TRUST)
                motions = self._motions(weights, track, turns - expected[:, -3:])
        return motions

    # Both

    def _rest(self, track: FaceTrack) -> None:
        """Where the head rests: the middle of where it has been."""
        self._rest_position = np.median(track.position, 0)
        self._rest_angles = np.median(track.angles, 0)
        towards = np.median(track.towards, 0)
        self._level = Level.of_rest(np.median(track.sight, 0), towards / np.linalg.norm(towards))

    def _unlevelled(self, track: FaceTrack) -> Array:
        """What the detector's angles are short of those of a head that is level where it rests [T, 3]."""
        assert self._level is not None
        at_rest, unmoved = np.zeros((len(track), len(self.solver.unit_rows))), np.zeros((len(track), 3))
        turned = self._level.angles(track.sight, track.towards)
        return self.response.detected_angles(at_rest, turned, unmoved) - track.angles

    def _motions(self, weights: Array, track: FaceTrack, turns: Array) -> list[Motion]:
        """Face motions of the T frames of `track`, whose heads are to be detected so turned [T, 3]."""
        shifts = self._shifts(track.angles, track.position)
        turned_to = self.response.angles_for(turns, weights, shifts)
        return [
            Motion(self.avatar.rig.unit_names, w, axis_angle.from_matrix(rotation_of_angles(a)), shift)
            for w, a, shift in zip(weights, turned_to, shifts, strict=True)
        ]

    def _shifts(self, angles: Array, position: Array) -> Array:
        """Head translations [T, 3] metres: a share of the person's, softly bounded: the head stays in view.

        The avatar keeps its size in the picture: closeness is not played.
        """
        assert self._rest_position is not None
        # Turning about the neck moves the eyes by itself; only the rest is shifted.
        rest = rotation_of_angles(self._rest_angles) @ self._eye_lever
        by_turning = rotation_of_angles(angles) @ self._eye_lever - rest
        moved = (position - self._rest_position - by_turning)[:, :2]
        limit = self._config.max_shift
        shifts = np.zeros((len(angles), 3))
        shifts[:, :2] = limit * np.tanh(self._config.shift_share * moved / limit)
        return shifts * float(self.response.eye_distance)


def _eye_lever(avatar: Avatar, eye_distance: float) -> Array:
    """From what the head turns about to between the eyes, in eye units [3]."""
    rig = avatar.rig
    places = rig.joints_template.double().cpu().numpy()
    joints = dict(zip(rig.joint_names, places, strict=True))
    turning = [joint for joint, _ in rig.head_joints]
    if turning == [0]:
        return np.zeros(3)
    if "left_eye" in joints and "right_eye" in joints:
        eyes = 0.5 * (joints["left_eye"] + joints["right_eye"])
    else:
        eyes = places[turning[-1]] + np.array(_EYES_FROM_HEAD_JOINT) * eye_distance
    return (eyes - places[turning].mean(0)) / eye_distance


def _stamped(motion: Motion, detection: Detection) -> Motion:
    """The motion of the frame that was looked at."""
    return replace(motion, time_ns=detection.capture_ns, confidence={FACE: float(detection.found)})


def _angles(motions: Sequence[Motion]) -> Array:
    return np.array([angles_of(axis_angle.to_matrix(m.head_rotation)) for m in motions])


def _unsmoothed_track(detections: list[Detection], fps: float) -> FaceTrack:
    """The track of found frames without the detector's smoothing."""
    filtered = np.array([d.landmarks[list(POINTS)] for d in detections], np.float64)
    raw = unsmoothed_clip(detections, fps, POINTS, MOUTH_PLACES, STEADY_PLACES)
    mirror = np.array([1.0, -1.0, -1.0])
    rotations = rigid_turns(filtered * mirror, raw * mirror) @ rotations_of(detections)
    return track_of(raw, rotations, *scores_and_sizes(detections))
