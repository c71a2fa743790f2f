"""Head pose, face units and gaze from 478 landmarks, solved in picture space through a perspective camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from render import axis_angle
from render.rigs.units import eye_pose_from_units
from tracking.fit.embedding import LEFT_OUTER_CORNER, RIGHT_OUTER_CORNER, LandmarkModel
from tracking.gauss_newton import bounded_step, huber_weights, inner

Array = NDArray[np.float64]

NUM_POSE = 6  # rotation, then translation

# Pairs of MediaPipe's landmarks across the opening of both eyes: upper lid, lower lid.
_LIDS = np.array([(159, 145), (158, 153), (160, 144), (386, 374), (385, 380), (387, 373)])


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole camera of square pixels."""

    focal_px: float
    cx: float
    cy: float

    @classmethod
    def guess(cls, width: int, height: int) -> Intrinsics:
        """A webcam's usual lens, about 50 degrees across the longer side, centred."""
        return cls(1.1 * max(width, height), width / 2, height / 2)


@dataclass(frozen=True)
class FitSettings:
    """How much each part of the cost counts; residuals are in hundredths of the interocular distance."""

    huber: float = 2.0  # residuals beyond this count linearly
    unit_prior: float = 0.1  # pulls units to rest
    spread_m: float = 1.5e-3  # a landmark whose views disagree by this much counts half
    least_trust: float = 0.35  # but none counts less than this: the face's outline holds its pose
    lids: float = 0.0  # each opening of the lids counts as many landmarks, whatever their trust
    iris: float = 3.0  # ten iris points speak for the gaze against 468 others
    upper: float = 1.0  # bound of every unit
    eye_upper: float = 1.3  # eyes turn further than the angle of weight 1


@dataclass(frozen=True)
class FaceFit:
    """The face of one frame.

    Axes: x to the picture's right, y up, z towards the camera, which stands at the origin.
    """

    units: Array  # [E]
    rotation: Array  # [3, 3] head at rest to camera axes
    translation: Array  # [3] metres, the head joint
    residual: Array  # [L, 2] px, landmark minus model
    interocular_px: float


@dataclass(frozen=True)
class Linearised:
    """The projected model and its derivatives around one fit."""

    residual: Array  # [L, 2] px, landmark minus model
    jacobian: Array  # [L, 2, 6 + E] change of the model's point by rotation, translation and units
    by_point: Array  # [L, 2, 3] its change by the point in the head's frame, px per metre
    visibility: Array  # [L] 0..1


class FaceFitter:
    """Fits one person's landmark model to frames of one camera."""

    def __init__(
        self, model: LandmarkModel, intrinsics: Intrinsics, settings: FitSettings | None = None
    ) -> None:
        self.settings = settings or FitSettings()
        self.intrinsics = intrinsics
        num_units = len(model.unit_names)
        # Eye rotations per unit weight, [E, 2, 3] radians.
        eyes = eye_pose_from_units(model.unit_names, torch.eye(num_units))
        self._gaze = torch.stack(eyes, 1).double().numpy()
        self._looks = np.flatnonzero(self._gaze.any((1, 2)))
        # offset @ _look_axes[eye] are the cross products of every look's axis with the offset, [3, looks].
        axes = self._gaze[self._looks].transpose(1, 0, 2)  # [2, looks, 3]
        self._look_axes = np.cross(axes[:, None], np.eye(3)[:, None]).swapaxes(2, 3).reshape(2, 3, -1)
        # A pose has no bounds and units have; both take their step together.
        self.lower = np.r_[np.full(NUM_POSE, -np.inf), np.zeros(num_units)]
        self.upper = np.r_[np.full(NUM_POSE, np.inf), np.full(num_units, self.settings.upper)]
        self.upper[NUM_POSE + self._looks] = self.settings.eye_upper
        self._lids: tuple[Array, Array] | None = None
        self._lid_habit = np.zeros((len(_LIDS), 2))
        self.set_model(model)

    def learn_open_lids(self, landmarks: Array, fits: Sequence[FaceFit]) -> None:
        """Take these frames [T, 478, 3], fitted without believing the lids, for those of open eyes.

        How far detector and model disagree about open lids is a habit, which goes as they close.
        """
        upper, lower = _LIDS.T
        apart = [(fit.residual[upper] - fit.residual[lower]) / fit.interocular_px for fit in fits]
        self._lids = np.median(apart, axis=0), np.median([_lid_gaps(points) for points in landmarks], axis=0)

    def expect_lids(self, landmarks: Array) -> None:
        """Take the frame of these landmarks for the next `normal_equations`; `solve` does so itself."""
        if self._lids is not None:
            habit, open_gaps = self._lids
            openness = np.clip(_lid_gaps(landmarks) / np.maximum(open_gaps, 1e-3), 0, 1.3)
            self._lid_habit = habit * openness[:, None]

    def set_model(self, model: LandmarkModel) -> None:
        """Go on with a better identity; the units keep their meaning."""
        self.model = model
        weights = 1 / (1 + (model.spread_m / self.settings.spread_m) ** 2)
        weights = np.maximum(weights, self.settings.least_trust)
        self.trust = np.where(model.eye_of >= 0, self.settings.iris, weights)  # [L]
        self._eye_rows = [np.flatnonzero(model.eye_of == eye) for eye in (0, 1)]

    def start(self, landmarks: Array) -> FaceFit:
        """A first pose at rest from landmarks [478, 3] with MediaPipe's depth: a similarity fit.

        Source: S. Umeyama, "Least-squares estimation of transformation parameters", 1991.
        """
        seen = (landmarks - [self.intrinsics.cx, self.intrinsics.cy, 0.0]) * [1, -1, -1]
        model = self.model.points
        seen_mean, model_mean = seen.mean(0), model.mean(0)
        u, singular, vt = np.linalg.svd((seen - seen_mean).T @ (model - model_mean))
        signs = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
        rotation = u @ (signs[:, None] * vt)
        scale = (singular * signs).sum() / ((model - model_mean) ** 2).sum()  # pixels per metre
        distance = self.intrinsics.focal_px / scale
        centre = np.array([seen_mean[0] / scale, seen_mean[1] / scale, -distance])
        return FaceFit(
            units=np.zeros(len(self.model.unit_names)),
            rotation=rotation,
            translation=centre - rotation @ model_mean,
            residual=np.zeros((len(model), 2)),
            interocular_px=interocular(landmarks),
        )

    def solve(self, landmarks: Array, start: FaceFit, *, iterations: int = 3) -> FaceFit:
        """Improve `start` for landmarks [478, 2 or 3] in px."""
        fit = start
        self.expect_lids(landmarks)
        for _ in range(iterations):
            around = self.linearise(landmarks, fit)
            _, hessian, descent = self.normal_equations(around, fit)
            value = bounded_step(
                hessian, descent, np.r_[np.zeros(NUM_POSE), fit.units], self.lower, self.upper
            )
            fit = self.moved(fit, value)
        around = self.linearise(landmarks, fit, derivatives=False)
        return FaceFit(
            units=fit.units,
            rotation=fit.rotation,
            translation=fit.translation,
            residual=around.residual,
            interocular_px=interocular(landmarks),
        )

    def moved(self, fit: FaceFit, value: Array) -> FaceFit:
        """The fit after a step: rotation and translation are relative, units absolute; value is [6 + E]."""
        return FaceFit(
            units=value[NUM_POSE:],
            rotation=axis_angle.to_matrix(value[:3]) @ fit.rotation,
            translation=fit.translation + value[3:NUM_POSE],
            residual=fit.residual,
            interocular_px=fit.interocular_px,
        )

    def normal_equations(self, around: Linearised, fit: FaceFit) -> tuple[Array, Array, Array]:
        """Square roots of the landmarks' weights [L], damped Hessian [6 + E, 6 + E] and descent [6 + E]."""
        settings = self.settings
        unit_length = 0.01 * fit.interocular_px
        distance = np.sqrt((around.residual**2).sum(1)) / unit_length
        weight = self.trust * around.visibility * huber_weights(distance, settings.huber)
        root = np.sqrt(weight / weight.sum()) / unit_length
        rows = (around.jacobian * root[:, None, None]).reshape(-1, around.jacobian.shape[2])
        wanted = (around.residual * root[:, None]).reshape(-1, 1)
        both = inner(rows, np.hstack([rows, wanted]))
        hessian, descent = both[:, :-1], both[:, -1]
        if settings.lids:
            share = np.sqrt(settings.lids / weight.sum()) / unit_length
            upper, lower = _LIDS.T
            rows = (around.jacobian[upper] - around.jacobian[lower]).reshape(-1, rows.shape[1]) * share
            apart = around.residual[upper] - around.residual[lower]
            wanted = (apart - fit.interocular_px * self._lid_habit).ravel() * share
            hessian, descent = hessian + rows.T @ rows, descent + rows.T @ wanted
        diagonal = hessian.diagonal().copy()
        diagonal[:NUM_POSE] *= 1 + 1e-6  # keeps a degenerate picture solvable
        diagonal[NUM_POSE:] += settings.unit_prior
        np.fill_diagonal(hessian, diagonal)
        descent[NUM_POSE:] -= settings.unit_prior * fit.units
        return root, hessian, descent

    def linearise(self, landmarks: Array, fit: FaceFit, *, derivatives: bool = True) -> Linearised:
        """Project the model through `fit`; without `derivatives` only residual and visibility are filled."""
        model, camera = self.model, self.intrinsics
        points = model.points + np.einsum("lde,e->ld", model.units, fit.units)
        turns = self._turn_eyes(points, fit.units)
        turned = points @ fit.rotation.T
        seen = turned + fit.translation
        inverse = -1.0 / seen[:, 2]
        scale = camera.focal_px * inverse
        residual = np.empty((len(points), 2))
        residual[:, 0] = landmarks[:, 0] - camera.cx - scale * seen[:, 0]
        residual[:, 1] = landmarks[:, 1] - camera.cy + scale * seen[:, 1]
        # 1 where the surface faces the camera, 0.05 where it turns away: hidden points are guessed.
        facing = -((model.normals @ fit.rotation.T) * seen).sum(1) / np.sqrt((seen**2).sum(1))
        visibility = np.clip(facing / 0.3, 0.05, 1.0)
        if not derivatives:
            return Linearised(residual, np.zeros(0), np.zeros(0), visibility)
        by_seen = np.zeros((len(points), 2, 3))
        by_seen[:, 0, 0] = scale
        by_seen[:, 0, 2] = scale * seen[:, 0] * inverse
        by_seen[:, 1, 1] = -scale
        by_seen[:, 1, 2] = -scale * seen[:, 1] * inverse
        by_point = by_seen @ fit.rotation
        jacobian = np.empty((len(points), 2, NUM_POSE + len(fit.units)))
        x, y, z = turned[:, 0, None], turned[:, 1, None], turned[:, 2, None]
        jacobian[:, :, 0] = by_seen[:, :, 2] * y - by_seen[:, :, 1] * z
        jacobian[:, :, 1] = by_seen[:, :, 0] * z - by_seen[:, :, 2] * x
        jacobian[:, :, 2] = by_seen[:, :, 1] * x - by_seen[:, :, 0] * y
        jacobian[:, :, 3:NUM_POSE] = by_seen
        np.matmul(by_point, model.units, out=jacobian[:, :, NUM_POSE:])
        for eye, (rows, offset) in enumerate(turns):
            by_look = (offset @ self._look_axes[eye]).reshape(-1, 3, len(self._looks))
            jacobian[np.ix_(rows, np.arange(2), NUM_POSE + self._looks)] = by_point[rows] @ by_look
        return Linearised(residual, jacobian, by_point, visibility)

    def _turn_eyes(self, points: Array, units: Array) -> list[tuple[NDArray[np.intp], Array]]:
        """Turn the eyeballs' landmarks in place; returns their rows and offsets [R, 3] from the centre."""
        turns = []
        for eye, rows in enumerate(self._eye_rows):
            centre = self.model.eye_centres[eye]
            turn = axis_angle.to_matrix(units @ self._gaze[:, eye])
            offset = (points[rows] - centre) @ turn.T
            points[rows] = centre + offset
            turns.append((rows, offset))
        return turns


def _lid_gaps(landmarks: Array) -> Array:
    """Distance across every pair of lids' landmarks, [6] interocular distances."""
    upper, lower = _LIDS.T
    return np.linalg.norm((landmarks[upper] - landmarks[lower])[:, :2], axis=1) / interocular(landmarks)


def interocular(landmarks: Array) -> float:
    """Distance of the outer eye corners in landmarks [478, 2 or 3], px; with depth where it is given."""
    return float(np.linalg.norm(landmarks[LEFT_OUTER_CORNER] - landmarks[RIGHT_OUTER_CORNER]))
