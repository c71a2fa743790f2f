"""Measures how the detector answers to an avatar, once per avatar; the avatar's file keeps the result.

Random faces at random head poses are rendered in the avatar's usual view and detected; a ridge regression
from their parameters to what was detected gives the `DetectorResponse`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from render import axis_angle
from render.avatars.avatar import Avatar
from render.motion import Motion
from render.rigs.units import Unit
from tracking.calibration.meanings import measured_meanings
from tracking.calibration.stored import signature_of
from tracking.calibration.view import AvatarView
from tracking.detect.detection import Detection
from tracking.errors import TrackingError
from tracking.face.head_pose import angles_of, pose_terms, rotation_of_angles
from tracking.face.response import NUM_POSE_TERMS, DetectorResponse
from tracking.face.signals import NUM_POINTS, rows_of, track_of_detections
from tracking.face.units import UnitLimits, joint_units, unit_limits

Array = NDArray[np.float64]
Progress = Callable[[Iterable[Detection], int], Iterable[Detection]]

NUM_FACES = 1200
_MIN_SHARE_FOUND = 0.5
_POSE_SPREAD_DEG = (9.0, 7.0, 5.0)  # standard deviations of yaw, pitch, roll
_SHIFT_SPREAD_M = 0.012
_MAX_ACTIVE_GROUPS = 10
_ACTIVE_MODES = 0.3  # share of a face model's components that are not at rest
_SWEEP_LEVELS = 6
_SWEEP_NOISE = 0.05  # rows: what moves less is not told from the detector's noise
_OUTER_EYE_UNITS_M = 0.09  # of a head of usual size, where the camera cannot tell


def calibrate_avatar(
    avatar: Avatar, progress: Progress | None = None, *, num_faces: int = NUM_FACES
) -> Avatar:
    """The avatar with its `DetectorResponse` in `extras`; takes 15-40 s on two cores.

    `progress(detections, total)` may watch the detections go by. Raises TrackingError when the detector finds
    no face on most of the pictures: that avatar cannot be driven by a face.
    """
    units = avatar.rig.units
    limits = unit_limits(units)
    sweep = _Sweep(units, limits)
    motions: list[Motion] = []

    def faces() -> Iterator[Motion]:
        yield from sweep.motions
        motions.extend(random_faces(units, limits.within(sweep.reach()), num_faces))
        yield from motions

    with AvatarView(avatar) as view:
        seen: Iterable[Detection] = sweep.taking(view.detect(faces()))
        total = len(sweep.motions) + num_faces
        detections = list(seen if progress is None else progress(seen, total))[len(sweep.motions) :]
    found = [i for i, detection in enumerate(detections) if detection.found]
    if len(found) < _MIN_SHARE_FOUND * num_faces:
        raise TrackingError(
            f"the detector finds a face on {len(found)} of {num_faces} pictures of {avatar.name}: it cannot "
            f"be driven; look at it with `visavis avatar preview`, or import it without calibration"
        )
    response = fit_response(
        avatar, [motions[i] for i in found], [detections[i] for i in found], sweep.reach()
    )
    extras = {**avatar.extras, **response.extras()}
    meta = {**avatar.extras_meta, **response.extras_meta()}
    meanings = measured_meanings(avatar, response)
    if meanings is not None:
        extras |= meanings.extras()
        meta |= meanings.extras_meta()
    return avatar.replace(extras=extras, extras_meta=meta)


class _Sweep:
    """Each unit alone, in steps up to its limit: how far does the detector follow? Components of a face model
    are left out: within their limits they are faces."""

    def __init__(self, units: Sequence[Unit], limits: UnitLimits) -> None:
        self._names = names = tuple(unit.name for unit in units)
        self._limits = limits
        self._groups = _blendshape_groups(units, limits)
        self.motions = [Motion.neutral(names)]
        for group in self._groups:
            for level in range(1, _SWEEP_LEVELS + 1):
                motion = Motion.neutral(names)
                motion.weights[list(group)] = limits.upper[list(group)] * level / _SWEEP_LEVELS
                self.motions.append(motion)
        self._seen: list[Detection] = []

    def taking(self, detections: Iterable[Detection]) -> Iterator[Detection]:
        """Pass the detections on; the first ones are those of `motions`."""
        for detection in detections:
            if len(self._seen) < len(self.motions):
                self._seen.append(detection)
            yield detection

    def reach(self) -> Array:
        """The largest useful weight [E] of each unit. Call it when the sweep's detections were taken.

        Unmeasured units keep their limits.
        """
        reach = np.maximum(np.abs(self._limits.lower), np.abs(self._limits.upper))
        if not all(d.found for d in self._seen[:1]):
            return reach
        for number, group in enumerate(self._groups):
            first = 1 + number * _SWEEP_LEVELS
            seen = self._seen[first : first + _SWEEP_LEVELS]
            levels = _useful_levels(self._seen[0], seen)
            # Shut lids look the same however firmly they are shut.
            if not self._names[group[0]].startswith("eyeBlink"):
                reach[list(group)] *= levels / _SWEEP_LEVELS
        return reach


def _useful_levels(rest: Detection, seen: list[Detection]) -> int:
    """How many of the rising levels move the face further and not back; all, where little moves."""
    lost = next((i for i, d in enumerate(seen) if not d.found), len(seen))
    if lost < 3:
        return max(lost, 1)
    rows = rows_of(track_of_detections([rest, *seen[:lost]]).points)
    moved = rows[1:] - rows[0]
    direction = moved[1]
    size = float(direction @ direction)
    if size < _SWEEP_NOISE**2:
        return len(seen) if lost == len(seen) else lost
    steps = np.diff(moved @ direction / size)
    stuck = next((i for i, step in enumerate(steps) if step < 0), len(steps))
    return max(stuck + 1, 2)


def _blendshape_groups(units: Sequence[Unit], limits: UnitLimits) -> list[tuple[int, ...]]:
    """The units in use that are no components of a face model, those that move together in one group."""
    groups = joint_units([unit.name for unit in units])
    return [g for g in groups if limits.used[list(g)].all() and not units[g[0]].signed]


def random_faces(units: Sequence[Unit], limits: UnitLimits, num_faces: int) -> list[Motion]:
    """Faces of a few units each, mostly symmetric, in poses of a person who talks; the same every time."""
    rng = np.random.default_rng(0)
    names = tuple(unit.name for unit in units)
    faces = []
    for weights in _random_weights(units, limits, num_faces, rng):
        angles = rng.normal(size=3) * _POSE_SPREAD_DEG
        rotation = axis_angle.from_matrix(rotation_of_angles(angles))
        faces.append(Motion(names, weights, rotation, rng.normal(size=3) * _SHIFT_SPREAD_M))
    return faces


def _random_weights(
    units: Sequence[Unit], limits: UnitLimits, num: int, rng: np.random.Generator
) -> Iterator[Array]:
    names = [unit.name for unit in units]
    signed = np.array([unit.signed for unit in units])
    groups = _blendshape_groups(units, limits)
    jaw = names.index("jawOpen") if "jawOpen" in names else None
    most = min(_MAX_ACTIVE_GROUPS, len(groups))
    for _ in range(num):
        weights = np.zeros(len(names))
        active = rng.permutation(len(groups))[: rng.integers(min(2, most), most + 1)]
        for group in (groups[i] for i in active):
            weights[list(group)] = rng.uniform(0, 1.2)
            if len(group) == 2 and rng.random() < 0.3:
                weights[group[1]] *= rng.random()
        if jaw is not None and rng.random() < 0.4:
            weights[jaw] = rng.uniform(0, 0.9)
        if signed.any():
            drawn = rng.normal(size=len(names)) * (rng.random(len(names)) < _ACTIVE_MODES)
            weights = np.where(signed, drawn, weights)
        yield np.clip(weights, limits.lower, limits.upper)


def fit_response(
    avatar: Avatar, motions: list[Motion], detections: list[Detection], reach: Array
) -> DetectorResponse:
    """Ridge regression from parameters to detections that were all found."""
    track = track_of_detections(detections)
    weights = np.array([m.weights for m in motions])
    shifts = np.array([m.head_translation for m in motions])
    angles = np.array([_angles(m.head_rotation) for m in motions])
    num, num_units = weights.shape
    one = np.ones((num, 1))
    strength = (
        2e-4 * num
    )  # of the ridge: a unit that moved in a few percent of the faces keeps most of its effect
    small = np.r_[1e-6, np.full(num_units, strength), np.full(NUM_POSE_TERMS, strength)]
    terms = np.concatenate([one, weights, pose_terms(track.angles)], 1)
    points = ridge(terms, track.points.reshape(num, -1), small)
    # Translations are in hundredths of a metre in the fit, so that one strength suits all terms.
    pose = np.concatenate([one, weights, pose_terms(angles), shifts * 100], 1)
    turned = ridge(pose, track.angles, np.r_[small, np.full(3, strength)])
    units, poses = slice(1, 1 + num_units), slice(1 + num_units, 1 + num_units + NUM_POSE_TERMS)
    return DetectorResponse(
        neutral_points=points[0].reshape(NUM_POINTS, 3),
        unit_points=points[units].reshape(num_units, NUM_POINTS, 3),
        unit_reach=reach,
        pose_points=points[poses].reshape(NUM_POSE_TERMS, NUM_POINTS, 3),
        neutral_angles=turned[0],
        unit_angles=turned[units],
        pose_angles=turned[poses],
        shift_angles=turned[-3:] * 100,
        eye_distance=np.array(_eye_distance(avatar, detections)),
        signature=signature_of(avatar),
    )


def _eye_distance(avatar: Avatar, detections: list[Detection]) -> float:
    """Metres between the outer corners of the eyes, from their median distance in the pictures."""
    camera = avatar.default_camera(detections[0].width, detections[0].height)
    pixels = np.array([np.linalg.norm(d.landmarks[33] - d.landmarks[263]) for d in detections])
    depth_m = float(camera.world_to_camera[2, 3])  # of the world's origin, which lies in the head
    metres = float(np.median(pixels)) * depth_m / camera.fx
    return metres if 0.03 < metres < 0.3 else _OUTER_EYE_UNITS_M


def _angles(rotation: Array) -> Array:
    return angles_of(axis_angle.to_matrix(rotation))


def ridge(terms: Array, values: Array, strengths: float | Array) -> Array:
    """The regression [F, V] from terms [N, F] to values [N, V], each term held to 0 so strongly [F]."""
    normal = terms.T @ terms + strengths * np.eye(terms.shape[1])
    return np.linalg.solve(normal, terms.T @ values).astype(np.float64)
