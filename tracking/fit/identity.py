"""The shape of a person's face and the camera's focal length, from a few frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.fit.embedding import LandmarkModel
from tracking.fit.face_fit import NUM_POSE, FaceFit, FaceFitter, Intrinsics
from tracking.gauss_newton import inner

Array = NDArray[np.float64]


@dataclass(frozen=True)
class IdentitySettings:
    """Priors of what all frames share, against residuals in hundredths of the interocular distance."""

    shape_prior: float = 0.003  # pulls identity weights (standard deviations) to the average face
    focal_prior: float = 1.0  # pulls the logarithm of the focal length to the guess
    iterations: int = 8


@dataclass(frozen=True)
class Identity:
    """One person before one camera."""

    weights: Array  # [S] standard deviations
    intrinsics: Intrinsics
    model: LandmarkModel  # the person's landmarks


def fit_identity(
    average: LandmarkModel,
    intrinsics: Intrinsics,
    observations: Sequence[Array],
    settings: IdentitySettings | None = None,
) -> tuple[Identity, list[FaceFit]]:
    """Solve shape and focal length of all frames, and pose and units of each, together.

    An observation is one frame's landmarks [478, 3] px. Each frame's own unknowns are eliminated from the
    normal equations, so the cost grows with the number of frames only. Returns the identity and the frames'
    fits. Raises ValueError without observations.
    Source: B. Triggs et al., "Bundle adjustment: a modern synthesis", 2000, section 6.1.
    """
    if not observations:
        raise ValueError("identity needs at least one observation")
    settings = settings or IdentitySettings()
    num_modes = average.modes.shape[2]
    weights, camera = np.zeros(num_modes), intrinsics
    fitter = FaceFitter(average.with_identity(weights), camera)
    fits = [fitter.solve(seen, fitter.start(seen), iterations=4) for seen in observations]
    for _ in range(settings.iterations):
        # Shared unknowns: identity weights, then the logarithm of the focal length.
        hessian = np.diag(np.r_[np.full(num_modes, settings.shape_prior), settings.focal_prior])
        off_guess = np.log(fitter.intrinsics.focal_px / intrinsics.focal_px)
        descent = -hessian.diagonal() * np.r_[weights, off_guess]
        frames = []
        for seen, fit in zip(observations, fits, strict=True):
            own, shared = _linearised(fitter, average, seen, fit)
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
    fitter: FaceFitter, average: LandmarkModel, landmarks: Array, fit: FaceFit
) -> tuple[_Own, tuple[Array, Array]]:
    """One frame's part of the reduced system, and what is needed to find its own step afterwards."""
    camera = fitter.intrinsics
    around = fitter.linearise(landmarks, fit)
    root, own, own_descent = fitter.normal_equations(around, fit)
    by_shape = around.by_point @ average.modes  # [L, 2, S]
    offset = landmarks[:, :2] - [camera.cx, camera.cy] - around.residual
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
