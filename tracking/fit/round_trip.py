"""There and back: known face, rendered, detected, fitted, compared with the truth."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from render.rigs.gaze import eye_pose_from_units
from render.rigs.head import load_head, load_head_surface
from tracking import axis_angle
from tracking.fit.embedding import LandmarkEmbedding, landmark_model
from tracking.fit.face_fit import FaceFitter
from tracking.fit.fit_correction import FitCorrection, FittedFace
from tracking.fit.identity import with_neutral
from tracking.making.rendered_faces import FaceStudio, random_pose, without_neutral

Array = NDArray[np.float64]
DrawUnits = Callable[[np.random.Generator, Sequence[str]], Array]

_ITERATIONS = 5


@dataclass
class RoundTrip:
    """Fits of pictures whose truth is known."""

    faces: list[FittedFace] = field(default_factory=list)
    depth_error: list[float] = field(default_factory=list)  # share of the true distance
    reprojection: list[float] = field(default_factory=list)  # share of the interocular distance

    def vertex_error_m(self, correction: FitCorrection | None = None) -> Array:
        """Mean distance of the face's vertices from the truth in the head's frame, per picture, metres."""
        errors = []
        for face in self.faces:
            found = correction.units(face.units, face.scores) if correction else face.units
            errors.append(_face_motion(found - face.true_units))
        return np.array(errors)

    def rotation_error_deg(self, correction: FitCorrection | None = None) -> Array:
        """Angle between the rotation and the truth, one per picture."""
        errors = []
        for face in self.faces:
            found = correction.rotation(face.rotation, face.units) if correction else face.rotation
            errors.append(np.linalg.norm(axis_angle.from_matrix(found @ face.true_rotation.T)))
        return np.degrees(errors)

    def gaze_error_deg(self, correction: FitCorrection | None = None) -> Array:
        """Mean angle of the eyes from the truth in the head's frame, one per picture with open eyes."""
        errors = []
        lids = [_unit_names().index(f"eyeBlink{side}") for side in ("Left", "Right")]
        for face in self.faces:
            if face.true_units[lids].max() > 0.5:
                continue
            found = correction.units(face.units, face.scores) if correction else face.units
            turns = [_eye_turns(units) for units in (found, face.true_units)]
            errors.append(np.linalg.norm(turns[0] - turns[1], axis=1).mean())
        return np.degrees(errors)

    def resting_error_m(self) -> Array:
        """The same for a tracker that always says neutral: how much the face moved at all."""
        return np.array([_face_motion(face.true_units) for face in self.faces])


def round_trip(
    studio: FaceStudio,
    embedding: LandmarkEmbedding,
    draw_units: DrawUnits,
    num_pictures: int,
    rng: np.random.Generator,
) -> RoundTrip:
    """Take random pictures in the studio and fit them, after one frontal picture of the avatar at rest.

    Raises ValueError when the resting face is not found.
    """
    rig = studio.avatar.rig
    rest = studio.neutral()
    if rest is None:
        raise ValueError("the detector finds no face in the resting avatar")
    fitter = FaceFitter(landmark_model(rig, embedding), studio.intrinsics)
    fitter.set_model(with_neutral(fitter, rest.landmarks))
    result = RoundTrip()
    for _ in range(num_pictures):
        face = studio.shoot(draw_units(rng, rig.expression_names), *random_pose(rng))
        if face is None:
            continue
        scores = without_neutral(face.scores, rest.scores)
        start = fitter.start(face.landmarks)
        fit = fitter.solve(face.landmarks, start, scores=scores, iterations=_ITERATIONS)
        result.faces.append(FittedFace(fit.units, scores, fit.rotation, face.units, face.rotation))
        result.depth_error.append(float(abs(fit.translation[2] / face.translation[2] - 1)))
        result.reprojection.append(fit.error)
    return result


@functools.cache
def _unit_names() -> tuple[str, ...]:
    return load_head().expression_names


def _eye_turns(units: Array) -> Array:
    """Rotation vectors [2, 3] of the eyes, radians."""
    return torch.stack(eye_pose_from_units(_unit_names(), torch.from_numpy(units))).numpy()


@functools.cache
def _face_basis() -> Array:
    """Motion by unit [E, F, 3] of the face's vertices: skin before the ears' back, above the throat."""
    rig, surface = load_head(), load_head_surface()
    vertices, eyes = rig.template, rig.joints_template[rig.joint_names.index("left_eye")]
    skin = surface.vertex_group == surface.group_names.index("body")
    face = skin & (vertices[:, 1] > eyes[1] - 0.13) & (vertices[:, 2] > eyes[2] - 0.098)
    return rig.expression_basis.unflatten(1, (-1, 3))[:, face].double().numpy()


def _face_motion(units: Array) -> float:
    return float(np.linalg.norm(np.tensordot(units, _face_basis(), 1), axis=1).mean())
