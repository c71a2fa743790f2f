"""Faces in the pictures of a capture, and their landmarks in space by what is known of its cameras."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from capture.frame import Frame
from engine.errors import UsageError
from engine.model_fetch import ensure_model
from engine.progress import Bars
from engine.train.prepare.layouts import Capture
from render import axis_angle
from tracking.detect.detection import Detection
from tracking.detect.face_detector import FaceDetectorFactory
from tracking.detect.process import DetectorProcess
from tracking.fit.embedding import LandmarkModel
from tracking.fit.face_fit import FaceFit, FaceFitter, FitSettings, Intrinsics, interocular

Array = NDArray[np.float64]

_FLIP = np.diag([1.0, -1.0, -1.0])  # OpenCV's axes to the fit's: y up, z to the viewer
_INTEROCULAR_PX = 100.0  # of the common lens: as large as faces in films are
# Cosine of the angle between the face and the view: the detector guesses from aside.
_ASIDE, _FRONTAL = 0.4, 0.9
# The embedding's outline slides with the view it was made from: in several views at once it only misleads.
SETTINGS = FitSettings(least_trust=0.02)
_ASTRAY_DEG = 50.0  # a view whose face looks this far away from where the others have it found none
_ROUNDS, _OUTLIER_PX = 8, 3.0
_MOST_OFF_PX = 5.0  # mean of the views' medians; right cameras give 1 to 2


@dataclass(frozen=True)
class Sight:
    """One picture's face as a camera of the common lens would have it."""

    row: int  # of the capture's views
    landmarks: Array  # [478, 3] px from the optical axis, x right, y down
    turn: Array  # [3, 3] the capture's world axes to the fit's camera axes
    shift: Array  # [3] likewise, in the capture's units or metres
    share: float  # of the common lens's pixel in the picture's own
    blink: float  # the detector's scores of both eyes, 0 open to 2 shut
    weight: float = 1.0  # 0..1, less from aside

    def seen(self, fit: FaceFit) -> FaceFit:
        """A face in world axes as this view's axes have it."""
        return replace(
            fit,
            rotation=self.turn @ fit.rotation,
            translation=self.turn @ fit.translation + self.shift,
            interocular_px=interocular(self.landmarks),
        )


@dataclass(frozen=True)
class Placed:
    """The face of one moment in space."""

    moment: int
    sights: tuple[Sight, ...]  # those that count, two or more
    points: Array  # [478, 3] landmarks, the capture's units
    rotation: Array  # [3, 3] head at rest to world
    translation: Array  # [3] the head joint, the capture's units
    units_per_metre: float  # by the average face


def look(capture: Capture, bars: Bars) -> tuple[dict[int, list[Sight]], Intrinsics]:
    """The views with a face, by moment, and their common lens. Raises UsageError when there is none."""
    ensure_model("face_landmarker")

    def frames() -> Iterator[Frame]:
        for row, view in enumerate(capture.views):
            yield Frame(view.whole(), row * 40_000_000, row)

    with DetectorProcess(FaceDetectorFactory("image")) as detector:
        found = list(bars.over(detector.detect_all(frames()), "looking", len(capture.views)))
    faces = {row: _through_unit_lens(capture, row, d) for row, d in enumerate(found) if d.found}
    if not faces:
        raise UsageError(
            f"no face was found in any of the {len(found)} pictures of {capture.folder}: "
            "some must show it from the front"
        )
    focal = _INTEROCULAR_PX / float(np.median([interocular(points) for points in faces.values()]))
    moments: dict[int, list[Sight]] = {view.moment: [] for view in capture.views}
    for row, points in faces.items():
        blink = found[row].score("eyeBlinkLeft") + found[row].score("eyeBlinkRight")
        camera = capture.views[row].camera
        matrix = camera.world_to_camera.double().numpy()
        turn, shift = _FLIP @ matrix[:3, :3], _FLIP @ matrix[:3, 3]
        sight = Sight(row, focal * points, turn, shift, camera.fx / focal, blink)
        moments[capture.views[row].moment].append(sight)
    return dict(sorted(moments.items())), Intrinsics(focal, 0.0, 0.0)


def place_all(
    capture: Capture, moments: dict[int, list[Sight]], lens: Intrinsics, average: LandmarkModel
) -> list[Placed]:
    """Every moment's landmarks in space.

    Raises UsageError naming a moment that fewer than two views show, or cameras that cannot be right.
    """
    fitter = FaceFitter(average, lens, SETTINGS)
    placed, off, behind = [], [], []
    for moment, sights in moments.items():
        useful = _useful(capture, fitter, sights)
        if len(useful) < 2:
            count = sum(view.moment == moment for view in capture.views)
            raise UsageError(
                f"{capture.folder}: {len(useful)} of {count} pictures of moment {moment} show the face, "
                "needs two from different sides; of one camera, give the film or pictures themselves"
            )
        points, errors, in_front = triangulated(useful, lens)
        off.append(float(np.median(errors, axis=1).mean()))
        behind.append(not in_front)
        placed.append(_placed(moment, useful, points, average, fitter.trust))
    first = placed[0].sights
    if np.mean(behind) > 0.5:
        _refuse(capture, first, "the faces lie behind the cameras")
    error = float(np.median(off))
    if error > _MOST_OFF_PX:
        share = float(np.median([sight.share for sight in first]))
        _refuse(capture, first, f"the landmarks miss each other by {share * error:.0f} px")
    return placed


def _refuse(capture: Capture, sights: Sequence[Sight], what: str) -> None:
    between = np.median([sight.share * interocular(sight.landmarks) for sight in sights])
    raise UsageError(
        f"{capture.folder}: the cameras disagree with the pictures, {what} ({between:.0f} px between the "
        "eyes): transform_matrix may be of another convention; needed is camera to world, OpenGL's axes"
    )


def _through_unit_lens(capture: Capture, row: int, detection: Detection) -> Array:
    camera = capture.views[row].camera
    points = detection.landmarks.astype(float)
    return np.asarray((points - [camera.cx, camera.cy, 0]) / [camera.fx, camera.fy, camera.fx])


def _useful(capture: Capture, fitter: FaceFitter, sights: Sequence[Sight]) -> list[Sight]:
    """The sights that help, with their weights: not from aside, nor of a face that the others do not see."""
    if not sights:
        return []
    starts = [fitter.start(sight.landmarks) for sight in sights]
    turns = np.array([s.turn.T @ start.rotation for s, start in zip(sights, starts, strict=True)])
    apart = np.array([[_angle_deg(a, b) for a in turns] for b in turns])
    middle = apart.sum(1).argmin()
    agreed = apart[middle] < _ASTRAY_DEG
    if len(sights) > 1 and agreed.sum() <= len(sights) / 2:
        _refuse(capture, sights, "the faces of one moment look in different directions")
    useful = []
    for sight, start, agrees in zip(sights, starts, agreed, strict=True):
        towards = -sight.turn.T @ start.translation
        facing = float(turns[middle, :, 2] @ towards) / float(np.linalg.norm(towards))
        if agrees and facing > _ASIDE:
            useful.append(replace(sight, weight=min(1.0, (facing - _ASIDE) / (_FRONTAL - _ASIDE))))
    return useful


def _angle_deg(a: Array, b: Array) -> float:
    return float(np.degrees(np.linalg.norm(axis_angle.from_matrix(a.T @ b))))


def triangulated(sights: Sequence[Sight], lens: Intrinsics) -> tuple[Array, Array, bool]:
    """Where the sights' rays meet.

    Returns points [478, 3], their distances [V, 478] from the landmarks in px of the common lens, and whether
    they lie before the cameras. Every point is the one nearest to its rays, outliers weighted down.
    Source: S. Geman and D. McClure, "Statistical methods for tomographic image reconstruction", 1987.
    """
    turns, shifts = np.array([s.turn for s in sights]), np.array([s.shift for s in sights])
    landmarks = np.array([s.landmarks[:, :2] for s in sights])
    centres = -np.einsum("vji,vj->vi", turns, shifts)
    rays = np.concatenate([landmarks * [1, -1], np.full((*landmarks.shape[:2], 1), -lens.focal_px)], 2)
    rays = rays @ turns
    rays /= np.linalg.norm(rays, axis=2, keepdims=True)
    across = np.eye(3) - rays[..., :, None] * rays[..., None, :]
    base = np.array([s.weight for s in sights])[:, None] * np.ones(landmarks.shape[1])
    weight = base
    for _ in range(_ROUNDS):
        left = np.einsum("vl,vlij->lij", weight, across)
        right = np.einsum("vl,vlij,vj->li", weight, across, centres)
        points = (np.linalg.pinv(left, hermitian=True) @ right[..., None])[..., 0]
        seen = points @ turns.swapaxes(1, 2) + shifts[:, None]
        drawn = lens.focal_px * seen[..., :2] * [1, -1] / -seen[..., 2:]
        errors = np.linalg.norm(drawn - landmarks, axis=2)
        weight = base / (1 + (errors / _OUTLIER_PX) ** 2) ** 2
    return points, errors, bool(np.median(seen[..., 2]) < 0)


def _placed(
    moment: int, sights: Sequence[Sight], points: Array, average: LandmarkModel, trust: Array
) -> Placed:
    """The similarity that takes the average face to the points.

    Source: S. Umeyama, "Least-squares estimation of transformation parameters", 1991.
    """
    share = trust / trust.sum()
    mean, model_mean = share @ points, share @ average.points
    model = average.points - model_mean
    u, singular, vt = np.linalg.svd((points - mean).T @ (share[:, None] * model))
    signs = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ (signs[:, None] * vt)
    scale = float((singular * signs).sum() / (share @ (model**2).sum(1)))
    translation = mean - scale * rotation @ model_mean
    return Placed(moment, tuple(sights), points, rotation, translation, scale)
