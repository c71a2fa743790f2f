"""How a head is turned, from its landmarks alone: seen along the line of sight, then by a perspective camera.

The detector looks at a crop around the face, so what it says of a face is the same wherever the face lies in
the picture: how the head is turned against the line of sight. A rigid fit of a canonical face to the
landmarks gives that turn and the head's frame; a linear map of what is left (`making.make_head_pose`) takes
back what the fit gets wrong. Where the face lies in the picture says how the line of sight is turned against
the camera, for an assumed lens.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tracking.asset_file import opened_asset

Array = NDArray[np.float64]

ASSET = Path(__file__).parents[1] / "assets" / "head_pose.safetensors"
# A lens of 42 degrees across the shorter side, as webcams and telephones have: those that film wide pictures
# cut them out of the sensor's height, and those that film upright ones out of its width. Wider pictures than
# 16:9 were cut again.
FOCAL_PER_SIDE = 1.3
_WIDEST = 16 / 9
# Nobody sits much nearer to a camera than half a metre: a face that is larger than that has a longer lens, or
# was cut out of a larger picture. Metres over the width between the outer corners of the eyes.
_NEAREST_EYE_UNITS = 0.55 / 0.09
_MOST_ANGLE = 40.0  # degrees up to which the correction was measured
_CUBE_ANGLE = 20.0
NUM_ANGLE_TERMS = 13


@dataclass(frozen=True)
class HeadPoseModel:
    """The canonical face and the map that corrects the fit of it. P points."""

    points: Array  # [P, 3] head frame, eye units
    rigid: NDArray[np.bool_]  # [P] points that no expression moves much
    correction: Array  # [13 + 3 P, 3] degrees, of `correction_terms`

    @classmethod
    def load(cls, path: Path = ASSET) -> HeadPoseModel:
        """Raises TrackingError when the file is missing or damaged."""
        with opened_asset(path, "head pose model") as file:
            points, rigid, correction = (file.get_tensor(name) for name in ("points", "rigid", "correction"))
        return cls(points.astype(np.float64), rigid.astype(bool), correction.astype(np.float64))

    def save(self, path: Path = ASSET) -> None:
        from safetensors.numpy import save_file

        arrays = {"points": self.points, "correction": self.correction}
        save_file({"rigid": self.rigid, **{k: v.astype(np.float32) for k, v in arrays.items()}}, path)

    def fit(self, upright: Array) -> Array:
        """Rotations [T, 3, 3] of the canonical face that fit points [T, P, 3]: x right, y up, z to us."""
        return rigid_turns(self.points[self.rigid], upright[:, self.rigid])

    def angles(self, rotations: Array, points: Array) -> Array:
        """Yaw, pitch, roll [T, 3] degrees against the line of sight.

        `rotations` [T, 3, 3] are from `fit`, `points` [T, P, 3] the landmarks in that frame, in eye units.
        """
        fitted = angles_of(rotations)
        return fitted + correction_terms(fitted, points - self.points) @ self.correction


@cache
def head_pose_model() -> HeadPoseModel:
    """The installed model, read once."""
    return HeadPoseModel.load()


def correction_terms(angles: Array, left: Array) -> Array:
    """The terms [T, 13 + 3 P] of the correction: fitted angles [T, 3], and what the fit left [T, P, 3]."""
    a = np.clip(angles, -_MOST_ANGLE, _MOST_ANGLE)
    terms = np.concatenate([np.ones((len(a), 1)), pose_terms(a), (a / _CUBE_ANGLE) ** 3], 1)
    return np.concatenate([terms, left.reshape(len(a), -1)], 1)


def pose_terms(angles: Array) -> Array:
    """The terms [..., 9] in which a pose of yaw, pitch, roll [..., 3] degrees acts: linear and quadratic."""
    a = np.asarray(angles) / 10
    products = (a[..., 0] * a[..., 1], a[..., 0] * a[..., 2], a[..., 1] * a[..., 2])
    return np.concatenate([a, a**2, np.stack(products, -1)], -1)


def rigid_turns(shape: Array, seen: Array) -> Array:
    """The rotations [T, 3, 3] that turn shapes [P, 3] or [T, P, 3] into points [T, P, 3] best.

    Their places and sizes do not matter.
    Source: W. Kabsch, "A solution for the best rotation to relate two sets of vectors", 1976.
    """
    a = shape - shape.mean(-2, keepdims=True)
    u, _, vt = np.linalg.svd(a.swapaxes(-1, -2) @ (seen - seen.mean(1, keepdims=True)))
    u[..., 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return (u @ vt).swapaxes(1, 2)


def towards_camera(upright: Array, sizes: Array, focal_px: Array) -> Array:
    """Unit vectors [T, 3] from a face to the camera: x right, y up, z out of the picture.

    `upright` [T, P, 3] are points of it in pixels, y up from the picture's upper edge; `sizes` [T, 2] the
    pictures' width and height, `focal_px` [T] the lens.
    """
    offset = (upright[..., :2].mean(1) - sizes * (0.5, -0.5)) / focal_px[:, None]
    away = np.concatenate([-offset, np.ones((len(offset), 1))], 1)
    return away / np.linalg.norm(away, axis=1, keepdims=True)


def assumed_focal_px(sizes: Array, eye_units_px: Array) -> Array:
    """Focal lengths [T] in pixels of the lens that pictures of these sizes [T, 2] are taken for.

    `eye_units_px` [T] is how far the outer corners of the eyes are apart in them.
    """
    usual = FOCAL_PER_SIDE * np.maximum(sizes.min(1), sizes.max(1) / _WIDEST)
    return np.maximum(usual, _NEAREST_EYE_UNITS * eye_units_px)


def turn_to(direction: Array) -> Array:
    """The smallest rotations [..., 3, 3] that turn the z axis to unit vectors [..., 3] in front of it."""
    x, y, z = np.moveaxis(direction, -1, 0)
    zero = np.zeros_like(x)
    across = np.stack(
        [np.stack([zero, zero, x], -1), np.stack([zero, zero, y], -1), np.stack([-x, -y, zero], -1)], -2
    )
    return np.eye(3) + across + across @ across / (1 + z)[..., None, None]


def angles_of(rotations: Array) -> Array:
    """Yaw, pitch, roll in degrees [..., 3] of rotations [..., 3, 3] = Ry(yaw) Rx(pitch) Rz(roll)."""
    m = rotations
    yaw = np.arctan2(m[..., 0, 2], m[..., 2, 2])
    pitch = np.arcsin(np.clip(-m[..., 1, 2], -1, 1))
    roll = np.arctan2(m[..., 1, 0], m[..., 1, 1])
    return np.degrees(np.stack([yaw, pitch, roll], -1))


def rotation_of_angles(angles: Array) -> Array:
    """The rotation matrices [..., 3, 3] of yaw, pitch, roll in degrees; the inverse of `angles_of`."""
    (cy, cp, cr), (sy, sp, sr) = (np.moveaxis(f(np.radians(angles)), -1, 0) for f in (np.cos, np.sin))
    rows = (
        (cy * cr + sy * sp * sr, sy * sp * cr - cy * sr, sy * cp),
        (cp * sr, cp * cr, -sp),
        (cy * sp * sr - sy * cr, sy * sr + cy * sp * cr, cy * cp),
    )
    return np.stack([np.stack(row, -1) for row in rows], -2)
