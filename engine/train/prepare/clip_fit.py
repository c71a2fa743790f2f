"""The built-in head through a whole clip, with hindsight: the person's shape, the lens, every frame's face.

Landmarks of all frames decide together. First identity modes and focal length, then what no mode explains:
the landmarks' lasting offsets bend the person's mesh. Every frame is solved on that, and noise is taken out
with as much of the future as of the past.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from render import axis_angle
from render.rigs.head import load_head, open_head
from render.rigs.reference import RigReference
from render.rigs.rig import Rig
from tracking.detect.detection import Detection
from tracking.face.unsmooth import runs, unsmoothed_clip
from tracking.fit.embedding import HEAD_LANDMARKS, LandmarkEmbedding, LandmarkModel, landmark_model
from tracking.fit.face_fit import NUM_POSE, FaceFit, FaceFitter, FitSettings, Intrinsics
from tracking.fit.identity import Identity, IdentitySettings, fit_identity

Array = NDArray[np.float64]

_NUM_IDENTITY_FRAMES = 24
_FPS = 30.0  # before a run of frames; their own times tell the rest
_NUM_BEND_FRAMES = 80
_FIRST_ITERATIONS, _ITERATIONS = 8, 3
# A blink must be one, and few landmarks tell; the outline, once the mesh is bent to it, can be believed.
_SETTINGS = FitSettings(lids=4.0, least_trust=0.5)
# The bend of the mesh: as smooth as features are wide, at most what identities differ by beyond the modes.
_BEND_REACH_M, _BEND_SIGMA_M, _BEND_NOISE_M = 0.022, 3e-3, 1.0e-3
_MOST_NOISE_M = 8e-3
_NOISE_PX = 2.0  # of a landmark in one frame
_LEAST_RUN = 12  # frames; shorter ones are left as they are
_SMOOTH_FRAMES, _NOISE_FACTOR = 1.3, 3.0
Progress = Callable[[Iterable[Array], int], Iterable[Array]]  # passes the items on, knows their number


@dataclass(frozen=True)
class ClipFit:
    """One person in one clip. T frames with a face, in order."""

    identity: Identity
    rig: Rig  # identity and bend baked
    reference: RigReference
    model: LandmarkModel
    fits: tuple[FaceFit, ...]  # T
    landmarks: Array  # [T, 478, 3] px, as the fits saw them

    @property
    def intrinsics(self) -> Intrinsics:
        return self.identity.intrinsics

    def residual_px(self) -> Array:
        """Distance [T, 478] of every landmark from the rig."""
        return np.stack([np.linalg.norm(fit.residual, axis=1) for fit in self.fits])


def fit_clip(
    detections: Sequence[Detection],
    *,
    video: bool = True,
    progress: Progress | None = None,
) -> ClipFit:
    """Fit the frames of `detections`, all found, of one size.

    `video` says that they come from the detector's video mode, one after the other, and that time connects
    them; else every picture is fitted alone. Raises ValueError without detections.
    """
    if not detections:
        raise ValueError("a clip without a face cannot be fitted")
    landmarks = np.array([d.landmarks for d in detections], float)
    if video:
        landmarks = unsmoothed_clip(detections, _FPS, range(landmarks.shape[1]))
    kept = open_head()
    base = kept.rig
    embedding = LandmarkEmbedding.load(HEAD_LANDMARKS)
    average = landmark_model(base, embedding)
    camera = Intrinsics.guess(detections[0].width, detections[0].height)
    chosen = varied(landmarks, _NUM_IDENTITY_FRAMES)
    # One picture says little about the lens, and a lot of wrong identities fit it.
    settings = (
        IdentitySettings() if len(chosen) > 4 else IdentitySettings(shape_prior=0.01, focal_prior=100.0)
    )
    identity, _ = fit_identity(average, camera, list(landmarks[chosen]), settings)
    shape = torch.tensor(identity.weights, dtype=torch.float32)
    rig = base.with_shape(shape)
    reference = kept.reference(shape=shape)
    model = identity.model
    for _ in range(2 if len(chosen) > 4 else 1):
        some = varied(landmarks, _NUM_BEND_FRAMES)
        fits = _solved(FaceFitter(model, identity.intrinsics), landmarks[some], connected=False)
        rig, reference = _bent(rig, reference, model, identity.intrinsics, fits)
        model = landmark_model(rig, embedding)
    model = replace(model, modes=identity.model.modes)
    fitter = FaceFitter(model, identity.intrinsics, _SETTINGS)
    wide = landmarks[_open_eyes(detections, landmarks)]
    plain = FaceFitter(model, identity.intrinsics)
    fitter.learn_open_lids(wide, _solved(plain, wide, connected=False))
    fits = _solved(fitter, landmarks, connected=video, progress=progress)
    if video:
        fits = steadied(fitter, fits, landmarks, [int(run[0]) for run in runs(detections)[1:]])
    return ClipFit(replace(identity, model=model), rig, reference, model, tuple(fits), landmarks)


def varied(landmarks: Array, count: int) -> NDArray[np.intp]:
    """Rows of `count` frames that differ most: each next one is the farthest from all before."""
    flat = landmarks[:, :468, :2] - landmarks[:, :468, :2].mean(1, keepdims=True)
    flat = flat.reshape(len(flat), -1)
    chosen = [int(np.linalg.norm(flat - np.median(flat, 0), axis=1).argmin())]
    distance = np.linalg.norm(flat - flat[chosen[0]], axis=1)
    while len(chosen) < min(count, len(flat)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(flat - flat[chosen[-1]], axis=1))
    return np.sort(np.array(chosen))


def _open_eyes(detections: Sequence[Detection], landmarks: Array) -> NDArray[np.intp]:
    """Rows of a few frames among the half whose eyes the detector scores most open."""
    shut = np.array([d.score("eyeBlinkLeft") + d.score("eyeBlinkRight") for d in detections])
    rows = np.flatnonzero(shut <= np.median(shut))
    return rows[varied(landmarks[rows], _NUM_IDENTITY_FRAMES)]


def _solved(
    fitter: FaceFitter, landmarks: Array, *, connected: bool, progress: Progress | None = None
) -> list[FaceFit]:
    fits: list[FaceFit] = []
    for points in landmarks if progress is None else progress(landmarks, len(landmarks)):
        if connected and fits:
            fits.append(fitter.solve(points, fits[-1], iterations=_ITERATIONS))
        else:
            fits.append(fitter.solve(points, fitter.start(points), iterations=_FIRST_ITERATIONS))
    return fits


def _bent(
    rig: Rig, reference: RigReference, model: LandmarkModel, camera: Intrinsics, fits: Sequence[FaceFit]
) -> tuple[Rig, RigReference]:
    """The rig with its mesh moved to where the landmarks lie in most frames.

    A Gaussian process over the surface: every landmark's offset comes with its covariance, loose along the
    lines of sight. Landmarks that disagree with their neighbours are the detector's habits and count less.
    Source: C. Rasmussen and C. Williams, "Gaussian processes for machine learning", 2006, equation 2.25.
    """
    fitter = FaceFitter(model, camera)
    information = np.tile(np.eye(3) / _BEND_SIGMA_M**2 * 1e-2, (len(model.points), 1, 1))
    pull = np.zeros((len(model.points), 3))
    for fit in fits:
        around = fitter.linearise(np.zeros((len(model.points), 2)), fit)
        weight = around.visibility**2 / (_NOISE_PX**2 * len(fits))
        information += np.einsum("l,lik,lij->lkj", weight, around.by_point, around.by_point)
        pull += np.einsum("l,lik,li->lk", weight, around.by_point, fit.residual)
    rows = np.flatnonzero(model.eye_of < 0)  # irises move with the gaze
    covariance = np.linalg.inv(information[rows])
    offset = np.einsum("lij,lj->li", covariance, pull[rows])
    places = model.points[rows]
    prior = np.kron(_kernel(places, places), np.eye(3))
    habit = np.minimum(_BEND_NOISE_M + model.spread_m[rows], _MOST_NOISE_M)
    for _ in range(3):
        noise = np.zeros((len(rows), 3, len(rows), 3))
        index = np.arange(len(rows))
        noise[index, :, index, :] = covariance + habit[:, None, None] ** 2 * np.eye(3)
        weights = np.linalg.solve(prior + noise.reshape(prior.shape), offset.ravel()).reshape(-1, 3)
        predicted = _kernel(places, places) @ weights
        off = np.linalg.norm(offset - predicted, axis=1)
        habit = np.minimum(np.maximum(habit, off), _MOST_NOISE_M)
    vertices = rig.template.double().numpy() - model.origin
    bend = _kernel(vertices, places) @ weights
    joints = np.zeros((rig.num_joints, 3))
    skin = rig.skin_weights.numpy()
    for name in ("left_eye", "right_eye"):  # eyeballs stay round: they move as a whole
        joint = rig.joint_names.index(name)
        ball = skin[:, joint] > 0.5
        front = vertices[ball].mean(0) + np.array([0, 0, np.ptp(vertices[ball][:, 2]) / 2])
        joints[joint] = (_kernel(front[None], places) @ weights)[0]
        bend[ball] = joints[joint]
    return _moved(rig, reference, torch.tensor(bend).float(), torch.tensor(joints).float())


def _moved(
    rig: Rig, reference: RigReference, bend: torch.Tensor, joints: torch.Tensor
) -> tuple[Rig, RigReference]:
    before, joints_before = reference.template_delta, reference.joints_delta
    changed = replace(
        reference,
        template_delta=bend if before is None else before + bend,
        joints_delta=joints if joints_before is None else joints_before + joints,
    )
    return changed.rebuild(load_head()), changed


def _kernel(a: Array, b: Array) -> Array:
    squares = ((a[:, None] - b[None]) ** 2).sum(-1)
    return np.asarray(_BEND_SIGMA_M**2 * np.exp(-0.5 * squares / _BEND_REACH_M**2))


def steadied(
    fitter: FaceFitter, fits: Sequence[FaceFit], landmarks: Array, breaks: Sequence[int] = ()
) -> list[FaceFit]:
    """The fits with what is noise taken out: changes no larger than each parameter's frame-to-frame noise.

    Noise is measured by second differences, which motion hardly has; a change well above it stays whole, so a
    blink keeps its depth. `breaks` are the rows at which a new run of frames begins.
    """
    centre = fits[len(fits) // 2].rotation
    values = np.array(
        [np.r_[axis_angle.from_matrix(f.rotation @ centre.T), f.translation, f.units] for f in fits]
    )
    out = values.copy()
    for run in np.split(np.arange(len(fits)), list(breaks)):
        if len(run) >= _LEAST_RUN:
            out[run] = _without_noise(values[run])
    out[:, NUM_POSE:] = np.clip(out[:, NUM_POSE:], fitter.lower[NUM_POSE:], fitter.upper[NUM_POSE:])
    steady = []
    for fit, value, points in zip(fits, out, landmarks, strict=True):
        moved = replace(
            fit,
            rotation=axis_angle.to_matrix(value[:3]) @ centre,
            translation=value[3:NUM_POSE],
            units=value[NUM_POSE:],
        )
        around = fitter.linearise(points, moved, derivatives=False)
        steady.append(replace(moved, residual=around.residual))
    return steady


def _without_noise(values: Array) -> Array:
    """[T, P]: a light symmetric smoothing, undone in proportion to how far a value stands out from noise."""
    radius = 4
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / _SMOOTH_FRAMES) ** 2)
    kernel /= kernel.sum()
    padded = np.concatenate([values[radius:0:-1], values, values[-2 : -radius - 2 : -1]])
    smooth = np.stack([np.convolve(column, kernel, "valid") for column in padded.T], 1)
    second = values[2:] - 2 * values[1:-1] + values[:-2]
    noise = 1.4826 * np.median(np.abs(second), 0) / np.sqrt(6)
    detail = values - smooth
    kept = detail**2 / (detail**2 + (_NOISE_FACTOR * noise) ** 2 + 1e-12)
    return np.asarray(smooth + kept * detail)
