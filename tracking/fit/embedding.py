"""Where MediaPipe's 478 landmarks lie on a rig's surface, and the rig seen through those points alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from render.rigs.rig import Rig
from tracking.asset_file import opened_asset
from tracking.errors import TrackingError

Array = NDArray[np.float64]

HEAD_LANDMARKS = Path(__file__).parents[1] / "assets" / "head_landmarks.safetensors"
# MediaPipe numbers the ten iris points last: first those of the subject's right eye, its centre leading.
RIGHT_IRIS, LEFT_IRIS = slice(468, 473), slice(473, 478)
# Outer corners of the eyes: their distance is the unit of length that sizes every tolerance in pixels.
RIGHT_OUTER_CORNER, LEFT_OUTER_CORNER = 33, 263


@dataclass(frozen=True)
class LandmarkEmbedding:
    """One point per landmark on the triangles of one rig."""

    triangles: NDArray[np.int64]  # [L] rows of the rig's faces
    barycentric: Array  # [L, 3], rows sum to 1; slightly negative where the point lies just outside
    spread_m: Array  # [L] metres: how far the views it was made from disagree
    topology: str  # of the mesh it was made on, see `topology_of`

    def save(self, path: Path) -> None:
        from safetensors.numpy import save_file

        tensors = {
            "triangles": self.triangles.astype(np.int32),
            "barycentric": self.barycentric.astype(np.float32),
            "spread_m": self.spread_m.astype(np.float32),
        }
        save_file(tensors, path, {"topology": self.topology})

    @classmethod
    def load(cls, path: Path) -> LandmarkEmbedding:
        """Raises TrackingError when the file is missing or damaged."""
        with opened_asset(path, "landmark embedding") as file:
            arrays = {name: file.get_tensor(name) for name in ("triangles", "barycentric", "spread_m")}
            topology = (file.metadata() or {})["topology"]
        barycentric, spread = arrays["barycentric"].astype(float), arrays["spread_m"].astype(float)
        return cls(arrays["triangles"].astype(np.int64), barycentric, spread, topology)


@dataclass(frozen=True)
class LandmarkModel:
    """A rig reduced to its landmarks: what a solver needs of it, in the head joint's frame at rest.

    The head joint is the origin, so that a rotation of the model turns the head where the neck carries it.
    """

    points: Array  # [L, 3] metres, neutral
    units: Array  # [L, 3, E] metres per unit weight
    modes: Array  # [L, 3, S] metres per standard deviation
    normals: Array  # [L, 3] unit, outwards
    spread_m: Array  # [L]
    unit_names: tuple[str, ...]
    eye_of: NDArray[np.int64]  # [L] 0 on the left eyeball, 1 on the right, -1 elsewhere
    eye_centres: Array  # [2, 3] metres, left and right
    eye_centre_modes: Array  # [2, 3, S]
    origin: Array  # [3] metres, the head joint in the rig's frame

    def with_identity(self, weights: Array) -> LandmarkModel:
        """The landmarks of one person: identity weights [S] (may be shorter) added to the rest shape."""
        count = len(weights)
        return replace(
            self,
            points=self.points + np.einsum("lds,s->ld", self.modes[..., :count], weights),
            eye_centres=self.eye_centres + self.eye_centre_modes[..., :count] @ weights,
        )


def _numpy(tensor: torch.Tensor | None, *shape: int) -> Array:
    if tensor is None:
        return np.zeros((0, *shape))
    return tensor.detach().cpu().double().numpy().reshape(-1, *shape)


def topology_of(rig: Rig) -> str:
    """sha256 of the triangles: equal for every person on one mesh, whatever their shape."""
    return hashlib.sha256(rig.faces.cpu().numpy().astype("<i8").tobytes()).hexdigest()


def landmark_model(rig: Rig, embedding: LandmarkEmbedding) -> LandmarkModel:
    """Reduce a rig with joints "head", "left_eye" and "right_eye" to its landmarks.

    Identity modes move the head joint too; they are given relative to it, as everything else.
    Raises TrackingError when the embedding was made for another mesh.
    """
    faces = rig.faces.cpu().numpy()
    if embedding.topology != topology_of(rig):
        raise TrackingError("the landmark embedding belongs to another rig; make it again")
    corners = faces[embedding.triangles]  # [L, 3]
    weights = embedding.barycentric

    def at_landmarks(values: Array) -> Array:  # [N, V, 3] -> [L, 3, N]
        return np.einsum("nlkd,lk->ldn", values[:, corners], weights)

    head, left, right = (rig.joint_names.index(name) for name in ("head", "left_eye", "right_eye"))
    vertices = _numpy(rig.template, 3)
    joints, joint_modes = _numpy(rig.joints_template, 3), _numpy(rig.joints_shape, rig.num_joints, 3)
    eyes = [left, right]
    normals = np.cross(
        vertices[corners[:, 1]] - vertices[corners[:, 0]], vertices[corners[:, 2]] - vertices[corners[:, 0]]
    )
    skin = _numpy(rig.skin_weights, rig.num_joints)[corners].mean(1)  # [L, J]
    eye_of = np.where(skin[:, left] > 0.5, 0, np.where(skin[:, right] > 0.5, 1, -1))
    return LandmarkModel(
        points=at_landmarks(vertices[None])[..., 0] - joints[head],
        units=at_landmarks(_numpy(rig.expression_basis, rig.num_vertices, 3)),
        modes=at_landmarks(_numpy(rig.shape_basis, rig.num_vertices, 3)) - joint_modes[:, head].T[None],
        normals=normals / np.linalg.norm(normals, axis=1, keepdims=True),
        spread_m=embedding.spread_m,
        unit_names=rig.expression_names,
        eye_of=eye_of,
        eye_centres=joints[eyes] - joints[head],
        eye_centre_modes=np.moveaxis(joint_modes[:, eyes] - joint_modes[:, [head]], 0, -1),
        origin=joints[head],
    )


def surface_hits(
    vertices_px: Array, faces: NDArray[np.int64], points_px: Array
) -> tuple[NDArray[np.int64], Array]:
    """The nearest front-facing triangle under each picture point.

    `vertices_px` [V, 3]: x right, y down in pixels and depth in metres; `points_px` [L, 2]. Returns triangle
    rows [L] (-1 where nothing lies under the point) and perspective-correct barycentric weights [L, 3].
    """
    corners = vertices_px[faces]  # [F, 3, 3]
    (x0, y0), (x1, y1), (x2, y2) = (corners[:, k, :2].T for k in range(3))
    depth = corners[..., 2]
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    triangles = np.full(len(points_px), -1)
    weights = np.zeros((len(points_px), 3))
    # Counter-clockwise seen from outside, hence clockwise, with negative area, where y points down.
    candidates = np.flatnonzero((area < -1e-9) & (depth > 0).all(1))
    low, high = corners[candidates, :, :2].min(1), corners[candidates, :, :2].max(1)
    for row, (x, y) in enumerate(points_px):
        near = candidates[((low <= (x, y)) & (high >= (x, y))).all(1)]
        w0 = (x1[near] - x) * (y2[near] - y) - (x2[near] - x) * (y1[near] - y)
        w1 = (x2[near] - x) * (y0[near] - y) - (x0[near] - x) * (y2[near] - y)
        w = np.stack([w0, w1, area[near] - w0 - w1], 1) / area[near, None]
        inside = (w >= 0).all(1)
        if not inside.any():
            continue
        near, w = near[inside], w[inside] / depth[near[inside]]
        best = (1 / w.sum(1)).argmin()
        triangles[row], weights[row] = near[best], w[best] / w[best].sum()
    return triangles, weights


def fuse_hits(
    vertices: Array,
    faces: NDArray[np.int64],
    triangles: NDArray[np.int64],
    barycentric: Array,
    facing: Array,
    topology: str,
) -> LandmarkEmbedding:
    """One surface point per landmark from its hits in several views.

    `vertices` [V, 3] rest pose; `triangles` [views, L] with -1 for none; `barycentric` [views, L, 3];
    `facing` [views, L], cosine between the surface's normal and the view: a grazing ray says little. The
    point is the robust weighted mean of the hits' rest positions, put into the triangle of the nearest hit.
    Raises TrackingError when a landmark was hit in fewer than two views.
    """
    num_landmarks = triangles.shape[1]
    chosen = np.zeros(num_landmarks, np.int64)
    weights, spread = np.zeros((num_landmarks, 3)), np.zeros(num_landmarks)
    for landmark in range(num_landmarks):
        views = np.flatnonzero(triangles[:, landmark] >= 0)
        if len(views) < 2:
            raise TrackingError(
                f"landmark {landmark} was seen in {len(views)} views; use views nearer the front"
            )
        corners = vertices[faces[triangles[views, landmark]]]  # [views, 3, 3]
        hits = np.einsum("vkd,vk->vd", corners, barycentric[views, landmark])
        weight = facing[views, landmark]
        centre = np.median(hits[weight >= np.median(weight)], 0)
        distance = np.linalg.norm(hits - centre, axis=1)
        close = distance <= max(2.5 * float(np.median(distance)), 1e-4)
        mean = np.average(hits[close], axis=0, weights=weight[close])
        spread[landmark] = np.average(distance, weights=weight)
        best = np.linalg.norm(hits - mean, axis=1).argmin()
        chosen[landmark] = triangles[views[best], landmark]
        edges = (corners[best, 1:] - corners[best, 0]).T  # [3, 2]
        inner = np.linalg.lstsq(edges, mean - corners[best, 0], rcond=None)[0]
        exact = np.array([1 - inner.sum(), *inner])
        # Further outside its triangle the flat extension leaves the surface: keep the hit itself.
        weights[landmark] = exact if exact.min() > -0.2 else barycentric[views[best], landmark]
    return LandmarkEmbedding(chosen, weights, spread, topology)
