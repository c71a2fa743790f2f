"""The built-in head in a capture with known cameras: the person's shape and the face of every moment.

All views of a moment see one face in one pose, so their landmarks are solved together, in the capture's own
axes: first the landmarks in space, which give the units and every pose roughly, then the identity over all
moments, then every moment. The mesh is not bent to the landmarks as for films: with many views the bend would
take over the detector's own idea of how far a nose sticks out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from engine.progress import Bars
from engine.train.prepare.capture_sights import SETTINGS, Placed, Sight, look, place_all
from engine.train.prepare.clip_fit import varied
from engine.train.prepare.layouts import Capture, Rigged
from engine.train.prepare.placement import rig_params
from render.camera import Camera
from render.rigs.head import open_head
from render.rigs.reference import RigReference
from render.rigs.rig import Rig
from tracking.fit.embedding import HEAD_LANDMARKS, LandmarkEmbedding, LandmarkModel, landmark_model
from tracking.fit.face_fit import NUM_POSE, FaceFit, FaceFitter, Intrinsics
from tracking.gauss_newton import bounded_step, inner

Array = NDArray[np.float64]

# Units that captures come in: metres, centimetres, millimetres. Faces differ in size by less than this.
_KNOWN_UNITS = {1.0: "metres", 0.01: "centimetres", 0.001: "millimetres"}
_SIZE_RANGE = (0.8, 1.25)
_NUM_IDENTITY_MOMENTS = 24
_ITERATIONS, _IDENTITY_ITERATIONS = 8, 8
_SHAPE_PRIOR = 0.05  # pulls identity weights to the average face; the detector's habits ask for wild ones
# What all moments share is not to hide in units: these are stiff until the shape is known.
_STIFF = replace(SETTINGS, unit_prior=1.0)
_SETTINGS = replace(SETTINGS, lids=1.0)


@dataclass(frozen=True)
class CaptureFit:
    """What was found of a capture."""

    rigged: Rigged
    off_px: float  # median distance of the rig from the landmarks, px of the whole pictures
    num_without_face: int
    scaled: str  # how the capture's units became metres; empty where they were


def fit_capture(capture: Capture, bars: Bars) -> CaptureFit:
    """The built-in head, shaped and posed by the pictures' landmarks.

    The world is the person's: at the first moment the rig is at rest, whatever else its head does goes into
    the neck and head joints as in play. Raises UsageError, one line; TrackingError without the model.
    """
    sights, lens = look(capture, bars)
    kept, embedding = open_head(), LandmarkEmbedding.load(HEAD_LANDMARKS)
    base = kept.rig
    average = landmark_model(base, embedding)
    placed = place_all(capture, sights, lens, average)
    metres, scaled = _metres(float(np.median([p.units_per_metre for p in placed])))
    moments = [[replace(sight, shift=metres * sight.shift) for sight in moment.sights] for moment in placed]
    starts = [_start(moment, metres, average) for moment in placed]
    shapes = np.array([(p.points - p.translation) @ p.rotation / p.units_per_metre for p in placed])
    some = varied(shapes, _NUM_IDENTITY_MOMENTS)
    chosen = [moments[i] for i in some]
    weights, first = _identity(average, lens, chosen, [starts[i] for i in some])
    shape = torch.tensor(weights, dtype=torch.float32)
    rig, reference = base.with_shape(shape), kept.reference(shape=shape)
    fitter = FaceFitter(landmark_model(rig, embedding), lens, _SETTINGS)
    _learn_open_lids(fitter, chosen, first)
    fits: dict[int, FaceFit] = {}
    off: list[float] = []
    for place, seen, start in bars.over(zip(placed, moments, starts, strict=True), "fitting", len(placed)):
        fits[place.moment] = fit = _solved(fitter, seen, start)
        for sight in seen:
            distance = np.linalg.norm(_residual(fitter, sight, fit), axis=1)
            off.append(sight.share * float(np.median(distance)))
    rigged = _rigged(capture, rig, reference, fits, metres)
    blind = len(capture.views) - sum(len(seen) for seen in sights.values())
    return CaptureFit(rigged, float(np.median(off)), blind, scaled)


def _metres(units_per_metre: float) -> tuple[float, str]:
    """Metres per unit of the capture, and in words what was done about it.

    A face of a plausible size in a unit that people use is left its own size.
    """
    estimate = 1 / units_per_metre
    for unit, name in _KNOWN_UNITS.items():
        if _SIZE_RANGE[0] < estimate / unit < _SIZE_RANGE[1]:
            return unit, "" if unit == 1 else f"the cameras were in {name} and are now in metres"
    return estimate, f"the cameras were scaled by {estimate:.4g} to metres, by the size of an average face"


def _start(placed: Placed, metres: float, average: LandmarkModel) -> FaceFit:
    num_points = len(average.points)
    return FaceFit(
        units=np.zeros(len(average.unit_names)),
        rotation=placed.rotation,
        translation=metres * placed.translation,
        residual=np.zeros((num_points, 2)),
        interocular_px=1.0,
    )


def _equations(
    fitter: FaceFitter, sights: Sequence[Sight], fit: FaceFit, modes: Array | None = None
) -> tuple[Array, Array]:
    """Hessian and descent of one moment, the mean over its views.

    Unknowns are rotation and translation in world axes, units and, with `modes` [L, 3, S], identity weights.
    """
    num_own = NUM_POSE + len(fit.units)
    total = num_own + (0 if modes is None else modes.shape[2])
    hessian, descent = np.zeros((total, total)), np.zeros(total)
    share = np.array([sight.weight for sight in sights])
    for sight, weight in zip(sights, share / share.sum(), strict=True):
        seen = sight.seen(fit)
        around = fitter.linearise(sight.landmarks, seen)
        fitter.expect_lids(sight.landmarks)
        root, own, own_descent = fitter.normal_equations(around, seen)
        full, pull = np.zeros_like(hessian), np.zeros_like(descent)
        full[:num_own, :num_own], pull[:num_own] = own, own_descent
        if modes is not None:
            shape = ((around.by_point @ modes) * root[:, None, None]).reshape(-1, modes.shape[2])
            rows = (around.jacobian * root[:, None, None]).reshape(-1, num_own)
            residual = (around.residual * root[:, None]).reshape(-1, 1)
            both = inner(shape, np.hstack([rows, shape, residual]))
            full[num_own:], pull[num_own:] = both[:, :-1], both[:, -1]
            full[:num_own, num_own:] = both[:, :num_own].T
        to_view = np.eye(total)
        to_view[:3, :3] = to_view[3:NUM_POSE, 3:NUM_POSE] = sight.turn
        hessian += weight * (to_view.T @ full @ to_view)
        descent += weight * (to_view.T @ pull)
    return hessian, descent


def _solved(fitter: FaceFitter, sights: Sequence[Sight], fit: FaceFit) -> FaceFit:
    for _ in range(_ITERATIONS):
        hessian, descent = _equations(fitter, sights, fit)
        value = np.r_[np.zeros(NUM_POSE), fit.units]
        fit = fitter.moved(fit, bounded_step(hessian, descent, value, fitter.lower, fitter.upper))
    return fit


def _identity(
    average: LandmarkModel, lens: Intrinsics, moments: Sequence[Sequence[Sight]], fits: Sequence[FaceFit]
) -> tuple[Array, list[FaceFit]]:
    """Identity weights [S] of all moments, with pose and units of each eliminated.

    Source: B. Triggs et al., "Bundle adjustment: a modern synthesis", 2000, section 6.1.
    """
    weights = np.zeros(average.modes.shape[2])
    fitter = FaceFitter(average, lens, _STIFF)
    fits = [_solved(fitter, sights, fit) for sights, fit in zip(moments, fits, strict=True)]
    for _ in range(_IDENTITY_ITERATIONS):
        shared, pull = _SHAPE_PRIOR * np.eye(len(weights)), -_SHAPE_PRIOR * weights
        parts = []
        for sights, fit in zip(moments, fits, strict=True):
            hessian, descent = _equations(fitter, sights, fit, average.modes)
            own = NUM_POSE + len(fit.units)
            value = np.r_[np.zeros(NUM_POSE), fit.units]
            held = (value <= fitter.lower) & (descent[:own] < 0)
            held |= (value >= fitter.upper) & (descent[:own] > 0)
            free = np.flatnonzero(~held)
            cross = hessian[free, own:]
            solved = np.linalg.solve(hessian[np.ix_(free, free)], np.c_[cross, descent[free]])
            gain, left = solved[:, :-1], solved[:, -1]
            shared += (hessian[own:, own:] - cross.T @ gain) / len(moments)
            pull += (descent[own:] - cross.T @ left) / len(moments)
            parts.append((value, free, gain, left))
        step = np.linalg.solve(shared, pull)
        weights = weights + step
        fitter.set_model(average.with_identity(weights))
        for i, (value, free, gain, left) in enumerate(parts):
            value[free] += left - gain @ step
            fits[i] = fitter.moved(fits[i], np.clip(value, fitter.lower, fitter.upper))
    return weights, fits


def _learn_open_lids(
    fitter: FaceFitter, moments: Sequence[Sequence[Sight]], starts: Sequence[FaceFit]
) -> None:
    """From the half of the moments whose eyes the detector scores most open, in all views from the front."""
    plain = FaceFitter(fitter.model, fitter.intrinsics, replace(fitter.settings, lids=0.0))
    blinks = [float(np.median([sight.blink for sight in sights])) for sights in moments]
    landmarks, seen = [], []
    for i in np.flatnonzero(np.array(blinks) <= np.median(blinks)).tolist():
        fit = _solved(plain, moments[i], starts[i])
        for sight in moments[i]:
            if sight.weight == max(other.weight for other in moments[i]):
                landmarks.append(sight.landmarks)
                seen.append(replace(sight.seen(fit), residual=_residual(plain, sight, fit)))
    fitter.learn_open_lids(np.array(landmarks), seen)


def _residual(fitter: FaceFitter, sight: Sight, fit: FaceFit) -> Array:
    """[L, 2] px of the common lens, landmark minus model."""
    return fitter.linearise(sight.landmarks, sight.seen(fit), derivatives=False).residual


def _rigged(
    capture: Capture, rig: Rig, reference: RigReference, fits: dict[int, FaceFit], metres: float
) -> Rigged:
    """World axes become those of the head at rest, which is the first moment's pose."""
    first = fits[min(fits)]
    rest = (first.rotation, first.translation)
    head = rig.joints_template[rig.joint_names.index("head")].double().numpy()
    to_capture = np.eye(4)
    to_capture[:3, :3] = first.rotation
    to_capture[:3, 3] = first.translation - first.rotation @ head
    params = {moment: rig_params(rig, fit, rest) for moment, fit in fits.items()}
    return Rigged(
        rig,
        reference,
        tuple(_placed_camera(view.camera, metres, to_capture) for view in capture.views),
        tuple(params[view.moment] for view in capture.views),
    )


def _placed_camera(camera: Camera, metres: float, to_capture: Array) -> Camera:
    matrix = camera.world_to_camera.double().numpy().copy()
    matrix[:3, 3] *= metres
    return replace(camera, world_to_camera=torch.tensor(matrix @ to_capture, dtype=torch.float32))
