"""The shape of a person's face and the camera's focal length, from a few frames and refined with more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking import axis_angle
from tracking.fit.embedding import LandmarkModel
from tracking.fit.face_fit import NUM_POSE, FaceFit, FaceFitter, FitSettings, Intrinsics
from tracking.gauss_newton import inner

Array = NDArray[np.float64]


@dataclass(frozen=True)
class IdentitySettings:
    """Priors of what all frames share, against residuals in hundredths of the interocular distance."""

    shape_prior: float = 0.003  # pulls identity weights (standard deviations) to the average face
    focal_prior: float = 1.0  # pulls the logarithm of the focal length to the guess
    iterations: int = 8
    num_frames: int = 16  # more say little new: 16 take about 0.2 s


@dataclass(frozen=True)
class Identity:
    """One person before one camera."""

    weights: Array  # [S] standard deviations
    intrinsics: Intrinsics
    model: LandmarkModel  # the person's landmarks


@dataclass(frozen=True)
class Observation:
    """The landmarks of one frame, and the detector's scores where they are to help."""

    landmarks: Array  # [478, 3] px
    scores: Array | None = None  # [E] in the order of the units, neutral taken out


def fit_identity(
    average: LandmarkModel,
    intrinsics: Intrinsics,
    observations: Sequence[Observation],
    settings: IdentitySettings | None = None,
    fit_settings: FitSettings | None = None,
    start: Identity | None = None,
) -> tuple[Identity, list[FaceFit]]:
    """Solve shape and focal length of all frames, and pose and units of each, together.

    Each frame's own unknowns are eliminated from the normal equations, so the cost grows with the number of
    frames only. Returns the identity and the frames' fits. Raises ValueError without observations.
    Source: B. Triggs et al., "Bundle adjustment: a modern synthesis", 2000, section 6.1.
    """
    if not observations:
        raise ValueError("identity needs at least one observation")
    settings = settings or IdentitySettings()
    num_modes = average.modes.shape[2]
    weights = np.zeros(num_modes) if start is None else start.weights.copy()
    camera = intrinsics if start is None else start.intrinsics
    fitter = FaceFitter(average.with_identity(weights), camera, fit_settings)
    fits = []
    for observation in observations:
        first = fitter.start(observation.landmarks)
        fits.append(fitter.solve(observation.landmarks, first, scores=observation.scores, iterations=4))
    for _ in range(settings.iterations):
        # Shared unknowns: identity weights, then the logarithm of the focal length.
        hessian = np.diag(np.r_[np.full(num_modes, settings.shape_prior), settings.focal_prior])
        off_guess = np.log(fitter.intrinsics.focal_px / intrinsics.focal_px)
        descent = -hessian.diagonal() * np.r_[weights, off_guess]
        frames = []
        for observation, fit in zip(observations, fits, strict=True):
            own, shared = _linearised(fitter, average, observation, fit)
            free, gain, left = own
            hessian += shared[0] / len(observations)
            descent += shared[1] / len(observations)
            frames.append((free, gain, left))
        step = np.linalg.solve(hessian, descent)
        weights = weights + step[:-1]
        ratio = float(np.exp(np.clip(step[-1], -0.2, 0.2)))
        camera = replace(fitter.intrinsics, focal_px=fitter.intrinsics.focal_px * ratio)
        fitter.intrinsics = camera
        fitter.set_model(average.with_identity(weights))
        fits = [_stepped(fitter, fit, *frame, step) for fit, frame in zip(fits, frames, strict=True)]
    return Identity(weights, camera, fitter.model), fits


_Own = tuple[NDArray[np.intp], NDArray[Any], NDArray[Any]]


def _linearised(
    fitter: FaceFitter, average: LandmarkModel, observation: Observation, fit: FaceFit
) -> tuple[_Own, tuple[Array, Array]]:
    """One frame's part of the reduced system, and what is needed to find its own step afterwards."""
    camera = fitter.intrinsics
    around = fitter.linearise(observation.landmarks, fit)
    root, own, own_descent = fitter.normal_equations(around, fit, observation.scores)
    by_shape = around.by_point @ average.modes  # [L, 2, S]
    offset = observation.landmarks[:, :2] - [camera.cx, camera.cy] - around.residual
    shared_rows = np.concatenate([by_shape, offset[..., None]], 2) * root[:, None, None]
    shared_rows = shared_rows.reshape(-1, shared_rows.shape[2])
    own_rows = (around.jacobian * root[:, None, None]).reshape(-1, around.jacobian.shape[2])
    residual = (around.residual * root[:, None]).ravel()
    value = np.r_[np.zeros(NUM_POSE), fit.units]
    held = ((value <= fitter.lower) & (own_descent < 0)) | ((value >= fitter.upper) & (own_descent > 0))
    free = np.flatnonzero(~held)
    cross = inner(own_rows[:, free], shared_rows)
    solved = np.linalg.solve(own[np.ix_(free, free)], np.c_[cross, own_descent[free]])
    gain, left = solved[:, :-1], solved[:, -1]
    both = inner(shared_rows, np.c_[shared_rows, residual])
    return (free, gain, left), (both[:, :-1] - cross.T @ gain, both[:, -1] - cross.T @ left)


def _stepped(
    fitter: FaceFitter, fit: FaceFit, free: NDArray[np.intp], gain: Array, left: Array, step: Array
) -> FaceFit:
    value = np.r_[np.zeros(NUM_POSE), fit.units]
    value[free] += left - gain @ step
    return fitter.moved(fit, np.clip(value, fitter.lower, fitter.upper))


def with_neutral(fitter: FaceFitter, landmarks: Array) -> LandmarkModel:
    """The fitter's model moved onto a resting face: what no mode explains, and the detector's habits.

    Landmarks [478, 3] px of a frontal face at rest; every point moves across the line of sight only.
    """
    stiff = FaceFitter(fitter.model, fitter.intrinsics, replace(fitter.settings, unit_prior=100.0))
    fit = stiff.solve(landmarks, stiff.start(landmarks), iterations=6)
    around = stiff.linearise(landmarks, fit)
    moves = np.linalg.pinv(around.by_point) @ around.residual[..., None]
    return replace(fitter.model, points=fitter.model.points + moves[..., 0])


class IdentityCalibrator:
    """Learns the person while they are tracked: once after the first second, again as new views come.

    Keeps a small set of frames that differ most in head pose, since the shape shows in the turning.
    """

    def __init__(
        self,
        average: LandmarkModel,
        intrinsics: Intrinsics,
        settings: IdentitySettings | None = None,
        fit_settings: FitSettings | None = None,
    ) -> None:
        self._average, self._intrinsics = average, intrinsics
        self._settings, self._fit_settings = settings or IdentitySettings(), fit_settings
        self.identity: Identity | None = None
        self._kept: list[tuple[Array, Observation]] = []  # (rotation vector, frame)
        self._first_ns: int | None = None
        self._due_s = 1.0
        self._changed = False

    def add(self, observation: Observation, fit: FaceFit, capture_ns: int) -> Identity | None:
        """Look at one tracked frame; returns a new identity when there is a better one.

        The first comes with the frame one second after the first frame, later ones at 2, 4, 8 ... seconds
        provided that the head has shown itself from a new side.
        """
        if self._first_ns is None:
            self._first_ns = capture_ns
        self._keep(axis_angle.from_matrix(fit.rotation), observation)
        if (capture_ns - self._first_ns) * 1e-9 < self._due_s or not self._changed:
            return None
        self._due_s = max(2 * self._due_s, (capture_ns - self._first_ns) * 1e-9)
        self._changed = False
        frames = [frame for _, frame in self._kept]
        self.identity, _ = fit_identity(
            self._average, self._intrinsics, frames, self._settings, self._fit_settings, self.identity
        )
        return self.identity

    def _keep(self, rotation: Array, observation: Observation) -> None:
        if len(self._kept) < self._settings.num_frames:
            self._kept.append((rotation, observation))
            self._changed = True
            return
        # Replace the frame most like its neighbours when the new one is less like any.
        poses = np.array([pose for pose, _ in self._kept])
        apart = np.linalg.norm(poses[:, None] - poses[None], axis=2) + 10 * np.eye(len(poses))
        crowded = int(apart.min(1).argmin())
        others = np.delete(poses, crowded, 0)
        if np.linalg.norm(others - rotation, axis=1).min() > 1.5 * apart[crowded].min() + 0.01:
            self._kept[crowded] = (rotation, observation)
            self._changed = True
