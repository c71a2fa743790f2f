"""Where features lie on the built-in head: lips, brows, lids, scalp, ears, cloth, from its landmarks."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render.making.people.fields import polyline_distance, smoothstep, value_noise
from render.rigs.rig import Rig
from tracking.fit.embedding import HEAD_LANDMARKS, LandmarkEmbedding

Array = NDArray[np.float64]

# Rings of MediaPipe's landmarks.
_OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
_INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
_BROWS = (
    (70, 63, 105, 66, 107, 55, 65, 52, 53, 46),
    (300, 293, 334, 296, 336, 285, 295, 282, 283, 276),
)
# Height of the hairline by the angle from the front, degrees and canonical millimetres.
_HAIRLINE_DEG = (0, 15, 28, 42, 52, 62, 72, 84, 100, 115, 130, 180)
_HAIRLINE_MM = (66.5, 67.5, 69.5, 61.5, 45.5, 29.5, 14.5, 12.5, 10.5, -18.5, -48.5, -62.5)


@dataclass(frozen=True)
class Regions:
    """Shares [N] in 0..1 of the skin's points that belong to each feature."""

    lips: Array
    lining: Array  # the mouth's inside
    brows: Array
    lid_rim: Array
    lid_crease: Array
    scalp: Array
    scalp_depth: Array  # [N] millimetres above the hairline, noise included
    ears: Array
    cloth: Array


def canonical_mm(rig: Rig) -> Array:
    """Coordinates [V, 3] of the average head's vertices, millimetres from the midpoint of the eyes.

    What is painted there sits on the same feature of every person.
    """
    joints = rig.joints_template[[rig.joint_names.index(n) for n in ("left_eye", "right_eye")]]
    return np.asarray(1e3 * (rig.template - joints.mean(0)).double().numpy())


def find_regions(rig: Rig, points: Array, hairline_lift: float, collar: float, seed: int) -> Regions:
    """Features at canonical `points` [N, 3] of the skin; `rig` is the average head, identity not baked."""
    embedding = LandmarkEmbedding.load(HEAD_LANDMARKS)
    canonical = canonical_mm(rig)
    corners = canonical[rig.faces.numpy()[embedding.triangles]]
    landmarks = np.einsum("lkd,lk->ld", corners, embedding.barycentric)
    x, y, z = points.T
    front = smoothstep(-25, -5, z)
    outer = _inside(points[:, :2], landmarks[list(_OUTER_LIPS), :2])  # millimetres, positive inside
    surface = landmarks[list(_INNER_LIPS), 2].mean() - 0.012 * x**2
    depth = surface - z
    near_lips = (outer > -9) & (z > -40) & (y > -110)
    lining = near_lips * smoothstep(7.0, 10.0, depth)
    lips = smoothstep(-1.0, 0.6, outer) * front * (1 - lining)
    brows = np.zeros(len(points))
    wander = 1.5 * value_noise(points, 0.2, seed + 3)
    for ring in _BROWS:
        brows = np.maximum(
            brows, smoothstep(-1.2, 1.0, _inside(points[:, :2], landmarks[list(ring), :2]) + wander)
        )
    brows *= front
    eye_joints = 29.0
    from_eye = np.hypot(np.abs(x) - eye_joints, y)
    ball = np.linalg.norm(np.c_[np.abs(x) - eye_joints, y, z], axis=1)
    near = (from_eye < 19) & (z > -5)
    lid_rim = near * smoothstep(17.6, 16.6, ball)
    dx = (np.abs(x) - 30.0) / 10
    lid_crease = np.exp(-0.5 * ((y - 9.0 + 1.7 * dx**2) / 0.8) ** 2 - 0.5 * dx**2) * (z > -5)
    azimuth = np.degrees(np.arctan2(np.abs(x), z + 89.5))
    hairline = np.interp(azimuth, _HAIRLINE_DEG, _HAIRLINE_MM) + hairline_lift * smoothstep(62, 30, azimuth)
    ears = (
        smoothstep(66, 71, np.abs(x))
        * smoothstep(-48, -42, y)
        * smoothstep(30, 24, y)
        * smoothstep(-124, -116, z)
        * smoothstep(-70, -76, z)
    )
    above = (
        y - hairline + 4 * value_noise(points, 0.09, seed + 43) + 1.5 * value_noise(points, 0.4, seed + 44)
    )
    scalp = smoothstep(-3, 3, above) * (1 - ears) * (y > -80)
    neckline = -158.0 + collar + 0.0016 * x**2 - 0.20 * (z + 60)
    return Regions(
        lips=np.asarray(lips),
        lining=np.asarray(lining),
        brows=np.asarray(brows),
        lid_rim=np.asarray(lid_rim),
        lid_crease=np.asarray(lid_crease),
        scalp=np.asarray(scalp),
        scalp_depth=np.where(y > -80, above, -50.0) - 60 * ears,
        ears=np.asarray(ears),
        cloth=smoothstep(3.0, -3.0, y - neckline),
    )


def _inside(points: Array, ring: Array) -> Array:
    """Distance [N] to a closed polygon [K, 2], positive inside it."""
    closed = np.concatenate([ring, ring[:1]])
    distance, _ = polyline_distance(points, closed)
    inside = np.zeros(len(points), bool)
    for (x0, y0), (x1, y1) in itertools.pairwise(closed):
        crosses = (y0 > points[:, 1]) != (y1 > points[:, 1])
        if y0 != y1:
            inside ^= crosses & (points[:, 0] < (x1 - x0) * (points[:, 1] - y0) / (y1 - y0) + x0)
    return np.where(inside, distance, -distance)
