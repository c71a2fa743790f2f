"""The hairline, and the surface that hair lies on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from render.making.people.fields import inside_distance, smoothstep, unit, value_noise
from render.making.people.person import Hair
from render.making.people.scene.strands.roots import Roots, Skin, is_ear
from render.making.people.scene.uv import canonical_body

Array = NDArray[np.float64]

# From the middle of the forehead down the temple, before, over and behind the ear to the nape: the angle from
# the front about the skull's axis, and the height in canonical millimetres.
_HAIRLINE = np.array(
    [
        (0, 62), (13, 62.5), (25, 62), (35, 57), (42, 47), (45.5, 37), (47.5, 27), (51, 17), (58, 8),
        (62, -5), (64, -20), (69, -22), (73, -8), (77, 5), (84, 9), (91, 7), (96, -2), (99.5, -18),
        (104, -36), (113, -54), (128, -64), (146, -64), (163, -69), (180, -72),
    ],
    float,
)  # fmt: skip
_AXIS_Z_MM, _MM_A_DEGREE = -89.5, 1.3
_SIDEBURN = (slice(9, 12), -12.0)  # its end on women
_CLOSEST = 6  # points of the skin that say where it is


def _on_map(points: Array) -> Array:
    angle = np.degrees(np.arctan2(np.abs(points[:, 0]), points[:, 2] - _AXIS_Z_MM))
    return np.c_[_MM_A_DEGREE * angle, points[:, 1]]


def above_hairline(points: Array, hair: Hair) -> Array:
    """Millimetres [N] that canonical `points` [N, 3] lie within the hairline."""
    line = _HAIRLINE * [_MM_A_DEGREE, 1]
    front = smoothstep(58, 30, _HAIRLINE[:, 0])
    corner = np.exp(-0.5 * ((_HAIRLINE[:, 0] - 33) / 9) ** 2)
    line[:, 1] += hair.forehead_mm * front
    line += hair.recession * corner[:, None] * (-9.0, 12.0)
    if not hair.sideburns:
        rows, lowest = _SIDEBURN
        line[rows, 1] = np.maximum(line[rows, 1], lowest)
    over = [(180 * _MM_A_DEGREE + 60, -72), (180 * _MM_A_DEGREE + 60, 300), (-60, 300), (-60, line[0, 1])]
    return inside_distance(_on_map(points), np.concatenate([line, over]))


def scalp_roots(skin: Skin, hair: Hair, per_mm2: float, rng: np.random.Generator) -> tuple[Roots, Array]:
    """Roots within the hairline, and how far within each is [N], millimetres; fewer at its edge."""
    triangles = skin.faces
    centre = canonical_body()[triangles].mean(1)
    ears = is_ear()[triangles].any(1)
    near = (above_hairline(centre, hair) > -14) & (centre[:, 1] > -95) & ~ears
    roots = skin.roots(triangles[near], per_mm2, rng)
    within = above_hairline(roots.canonical, hair)
    ragged = (
        within + 3.4 * value_noise(roots.canonical, 0.11, 143) + 1.4 * value_noise(roots.canonical, 0.5, 7)
    )
    kept = rng.random(len(roots)) < smoothstep(-2.5, 7.0, ragged)
    if hair.thinning:
        top = smoothstep(60, 84, roots.canonical[:, 1]) * smoothstep(-150, -125, roots.canonical[:, 2])
        kept &= rng.random(len(roots)) > hair.thinning * top
    return roots.where(kept), ragged[kept]


class HeadSurface:
    """Head, neck and shoulders without the ears, which only lift what crosses them."""

    def __init__(self, skin: Skin, worn: Array | None = None) -> None:
        """`worn` [K, 3]: points of clothes, millimetres from the eyes' midpoint."""
        ear = is_ear()
        faces = skin.faces[~ear[skin.faces].any(1)]
        front = (canonical_body()[faces].mean(1)[:, 2] > -20) & (skin.normals[faces].mean(1)[:, 2] < -0.2)
        corner, normal = skin.vertices[faces[~front]], skin.normals[faces[~front]]
        shares = np.array([(a, b, 5 - a - b) for a in range(6) for b in range(6 - a)]) / 5
        flat = np.einsum("sk,fkc->fsc", shares, corner)
        self.normals = unit(np.einsum("sk,fkc->fsc", shares, normal)).reshape(-1, 3)
        # Phong tessellation: the mesh's flat faces would show in hair that lies on them.
        onto = ((flat[:, :, None] - corner[:, None]) * normal[:, None]).sum(-1, keepdims=True)
        curved = np.einsum("sk,fskc->fsc", shares, flat[:, :, None] - onto * normal[:, None])
        self.points = (0.4 * flat + 0.6 * curved).reshape(-1, 3)
        if worn is not None:
            # Clothes lie a few millimetres over the skin that they cover: take its normals.
            kept = worn[(worn[:, 1] > -280) & (np.abs(worn[:, 0]) < 260)]
            near = cKDTree(self.points).query(kept)[1]
            self.points = np.r_[self.points, kept]
            self.normals = np.r_[self.normals, self.normals[near]]
        self.tree = cKDTree(self.points)
        points = skin.vertices[ear]
        self._ears = [points[points[:, 0] > 0].mean(0), points[points[:, 0] < 0].mean(0)]
        distance, near = self.tree.query(points)
        height = ((points - self.points[near]) * self.normals[near]).sum(1)
        self._ear_mm = float(np.percentile(np.where(distance < 40, height, 0), 90))

    def height(self, points: Array) -> tuple[Array, Array]:
        """Millimetres [N] of points [N, 3] over the surface, and its normals [N, 3] there."""
        distance, near = self.tree.query(points, k=_CLOSEST)
        weight = (1 / (distance + 1.5) ** 2)[:, :, None]
        weight /= weight.sum(1, keepdims=True)
        normal = unit((self.normals[near] * weight).sum(1))
        base = (self.points[near] * weight).sum(1)
        return ((points - base) * normal).sum(1), normal

    def outside(self, points: Array, clearance: Array | float, *, over_ears: bool = True) -> Array:
        """Points [N, 3] pushed out until they are `clearance` [N] millimetres above it."""
        height, normal = self.height(points)
        wanted = np.broadcast_to(clearance, len(points))
        if over_ears:
            for ear in self._ears:
                r = (points - ear) * (1.0, 0.9, 1.0)
                same = np.sign(points[:, 0]) == np.sign(ear[0])
                bump = np.exp(-0.5 * ((r[:, 1] / 23) ** 2 + (r[:, 2] / 17) ** 2)) * same
                wanted = np.maximum(wanted, bump * (self._ear_mm + 2.0))
        push = np.where(height > -60, np.clip(wanted - height, 0, 30), 0)
        return np.asarray(points + push[:, None] * normal)
