"""Follows one face through a video on the built-in head: pose, units, identity; at rest when it rests."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from render.rigs.head import load_head
from tracking import axis_angle
from tracking.detect.detection import Detection
from tracking.fit.embedding import HEAD_LANDMARKS, LandmarkEmbedding, landmark_model
from tracking.fit.face_fit import NUM_POSE, FaceFit, FaceFitter, FitSettings, Intrinsics
from tracking.fit.identity import Identity, IdentityCalibrator, IdentitySettings, Observation

Array = NDArray[np.float64]

_FIRST_ITERATIONS, _ITERATIONS = 8, 2


@dataclass(frozen=True)
class SteadySettings:
    """When a change is taken for noise; changes are in standard deviations of the measured noise."""

    still_share: float = 0.04  # of a change within the noise that is followed
    trend_share: float = 0.3  # memory of the trend: noise averages out in it, motion does not
    noise: float = 1.2  # a trend up to this is noise (three standard deviations of the trend) ...
    motion: float = 2.4  # ... and from this on it is motion, and followed whole
    noise_memory: float = 0.1  # share of a frame in the estimate of the landmarks' noise


class Steadier:
    """Holds a fit still within the landmarks' noise and lets motion pass.

    The noise is measured: what the model leaves unexplained differs from frame to frame by the landmarks'
    noise alone, since habits of the detector and errors of the shape stay. Through the normal equations it
    tells how much each parameter may shake. So a calm detector is hardly filtered, a noisy one strongly.
    """

    def __init__(self, settings: SteadySettings | None = None) -> None:
        self.settings = settings or SteadySettings()
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next fit passes unchanged."""
        self._held: FaceFit | None = None
        self._residual: Array | None = None
        self._noise_px = 0.0
        self._trend = np.zeros(0)

    @property
    def noise_px(self) -> float:
        """Estimated standard deviation of a landmark's coordinate from frame to frame."""
        return self._noise_px

    def __call__(self, fit: FaceFit, deviation: Array) -> FaceFit:
        """The steadied fit; `deviation` [6 + E] is each parameter's standard deviation per pixel of noise."""
        settings = self.settings
        if self._held is None or self._residual is None:
            self._held, self._residual = fit, fit.residual
            self._trend = np.zeros(len(deviation))
            return fit
        change = np.median(np.abs(fit.residual - self._residual)) * 1.4826 / np.sqrt(2)
        share = settings.noise_memory if self._noise_px else 1.0
        self._noise_px += share * (float(change) - self._noise_px)
        self._residual = fit.residual
        held = self._held
        step = np.r_[
            axis_angle.from_matrix(fit.rotation @ held.rotation.T),
            fit.translation - held.translation,
            fit.units - held.units,
        ]
        in_noise = step / np.maximum(deviation * self._noise_px, 1e-12)
        self._trend += settings.trend_share * (in_noise - self._trend)
        moving = (np.abs(self._trend) - settings.noise) / (settings.motion - settings.noise)
        step *= np.clip(moving, settings.still_share, 1.0)
        self._held = replace(
            fit,
            rotation=axis_angle.to_matrix(step[:3]) @ held.rotation,
            translation=held.translation + step[3:NUM_POSE],
            units=held.units + step[NUM_POSE:],
        )
        return self._held


class FaceTracker:
    """Fits every frame of one video from the one before, and learns the person on the way.

    A frame takes 1.5 ms; the one that completes the first second, and the few that refine the person later,
    take 0.2 s more.
    """

    def __init__(
        self,
        width: int,
        height: int,
        *,
        intrinsics: Intrinsics | None = None,
        fit_settings: FitSettings | None = None,
        identity_settings: IdentitySettings | None = None,
        steadier: Steadier | None = None,
    ) -> None:
        average = landmark_model(load_head(), LandmarkEmbedding.load(HEAD_LANDMARKS))
        camera = intrinsics or Intrinsics.guess(width, height)
        self.fitter = FaceFitter(average, camera, fit_settings)
        self._calibrator = IdentityCalibrator(average, camera, identity_settings, fit_settings)
        self._steadier = steadier or Steadier()
        self._last: FaceFit | None = None
        self._deviation = np.zeros(0)
        self._count = 0

    def update(self, detection: Detection) -> FaceFit | None:
        """The fit of one frame, or None without a face; the next one starts afresh."""
        if not detection.found:
            self._last = None
            return None
        landmarks = detection.landmarks.astype(float)
        if self._last is None:
            fit = self.fitter.solve(landmarks, self.fitter.start(landmarks), iterations=_FIRST_ITERATIONS)
            self._steadier.reset()
            self._count = 0
        else:
            fit = self.fitter.solve(landmarks, self._last, iterations=_ITERATIONS)
        if self._count % 32 == 0:  # it changes with the distance and the turn, which is slow against this
            self._deviation = self._deviations(landmarks, fit)
        self._count += 1
        self._last = fit
        identity = self._calibrator.add(Observation(landmarks), fit, detection.capture_ns)
        if identity is not None:
            self.fitter.intrinsics = identity.intrinsics
            self.fitter.set_model(identity.model)
            self._last = self.fitter.solve(landmarks, fit, iterations=_FIRST_ITERATIONS)
            self._steadier.reset()
            fit = self._last
        return self._steadier(fit, self._deviation)

    @property
    def identity(self) -> Identity | None:
        """The person as known so far; None during the first second."""
        return self._calibrator.identity

    def projected(self, fit: FaceFit) -> Array:
        """Where the model's landmarks [478, 2] lie in the picture under a fit, px."""
        return -self.fitter.linearise(np.zeros((len(fit.residual), 2)), fit, derivatives=False).residual

    def _deviations(self, landmarks: Array, fit: FaceFit) -> Array:
        """Standard deviation of every parameter [6 + E] when landmarks shake by one pixel."""
        around = self.fitter.linearise(landmarks, fit)
        root, hessian, _ = self.fitter.normal_equations(around, fit, None)
        unit_length = 0.01 * fit.interocular_px
        weight = (root * unit_length) ** 2  # sums to 1
        return np.sqrt(np.linalg.inv(hessian).diagonal() * (weight**2).sum()) / unit_length
