"""One step of a frame's pose towards its picture.

Source: B. Lucas and T. Kanade, "An iterative image registration technique", 1981, with the mean of both
pictures' gradients as in E. Malis, "Improving vision-based control using efficient second-order minimization
techniques", 2004. How the picture moves with the pose is the rig's surface: beyond it, where hair and cloth
are, that of the nearest point of the rig.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from engine.train.data.pose_numbers import PoseNumbers
from engine.train.surface.free_surfels import FreeSurfels
from engine.train.surface.raster import see
from render.camera import Camera
from render.machine_code import kept_njit

Array = NDArray[np.float32]

_REACH = 1 / 7  # of the picture's side: hair and cloth go as far beyond the mesh
_POINTS = 1500  # pixels that decide, drawn by how much they tell
_FEWEST_POINTS = 100
_LEAST_SLOPE, _MUCH_SLOPE = 0.004, 0.05  # of a pixel's values per pixel
_NOISE = 0.07  # of a pixel's value; larger differences count less and less
_INDEPENDENT = 0.3  # of the pixels: neighbours say the same
_GAIN = 1.0  # standard deviation of the camera's gain in one frame
_DELTA = 1e-3  # of the finite differences, radians and metres


class PictureStep:
    """Moves frames of `numbers`, as `camera` sees them."""

    def __init__(self, numbers: PoseNumbers, camera: Camera) -> None:
        rig = numbers.rig
        self._numbers, self._camera = numbers, camera
        self._faces = rig.faces.int().numpy()
        self._basis = rig.expression_basis.unflatten(-1, (-1, 3)).permute(1, 2, 0).contiguous().numpy()
        self._matrix = camera.world_to_camera.numpy()
        self._chance = np.random.default_rng(0).random((camera.height * camera.width), np.float32)

    def __call__(self, person: FreeSurfels, row: int, picture: Array, blur_px: float) -> None:
        """Move frame `row` to where `person` looks more like its premultiplied picture [H, W, 4]."""
        import cv2

        numbers, camera = self._numbers, self._camera
        drawn = person.draw(numbers.one(row), camera)
        drawn, wanted = (
            np.asarray(cv2.GaussianBlur(p, (0, 0), blur_px), np.float32) for p in (drawn, picture)
        )
        both = 0.5 * (drawn + wanted)
        across, down = (cv2.Sobel(both, -1, 1 - axis, axis, ksize=3, scale=1 / 8) for axis in (0, 1))
        slope = np.stack([across, down], -1).astype(np.float32)

        vertices, by_pose, rotations = self._moving(row)
        points = camera.project(torch.from_numpy(vertices)).numpy()
        seen = see(points, self._faces, camera.width, camera.height).triangle
        triangle, away = _continued(seen, _REACH * camera.width)
        chosen = self._chosen(triangle, slope)
        if len(chosen) < _FEWEST_POINTS:
            return
        place = np.stack([chosen % camera.width, chosen // camera.width], 1) + 0.5 - away[chosen]
        corners = self._faces[triangle[chosen]]
        weights = _barycentric(points, corners, place.astype(np.float32))
        moves = self._jacobian(vertices, by_pose, rotations, corners, weights)

        channels = picture.shape[-1]
        # The camera's gain is the frame's own: one more unknown, which is thrown away.
        gain = -drawn.reshape(-1, channels, 1)[chosen]
        gain[:, -1] = 0  # coverage has none
        rows = np.concatenate([slope.reshape(-1, channels, 2)[chosen] @ moves, gain], 2)
        rows = rows.reshape(channels * len(chosen), -1)
        left = (drawn - wanted).reshape(-1, channels)[chosen].ravel()
        trust = (_INDEPENDENT / (_NOISE * (1 + (left / _NOISE) ** 2)) ** 2).astype(np.float32)
        prior = 1 / np.r_[numbers.sigma, _GAIN] ** 2
        normal = (rows.T @ (rows * trust[:, None])).astype(np.float64) + np.diag(prior)
        back = prior * np.r_[numbers.start[row] - numbers.values[row], 0.0]
        # `drawn` shows at p what the moved surface shows at p + J d: wanted(p) = drawn(p) - slope J d.
        change = np.linalg.solve(normal, (rows.T @ (left * trust)).astype(np.float64) + back)
        numbers.move(row, change[:-1].astype(np.float32))

    def _moving(self, row: int) -> tuple[Array, Array, Array]:
        """The rig's vertices [V, 3], how the pose moves them [P, V, 3], and their rotations [V, 3, 3]."""
        numbers, rig = self._numbers, self._numbers.rig
        count = numbers.num_poses
        values = np.tile(numbers.values[row], (count + 1, 1))
        values[np.arange(count), np.arange(count)] += _DELTA
        with torch.inference_mode():
            posed = rig(numbers.batch(values, [row] * (count + 1)))
            blended = (rig.skin_weights @ posed.joint_transforms[-1].flatten(-2)).unflatten(-1, (3, 4))
        vertices = posed.vertices.numpy()
        return vertices[-1], (vertices[:-1] - vertices[-1]) / _DELTA, blended[..., :3].numpy()

    def _chosen(self, triangle: NDArray[np.int32], slope: Array) -> NDArray[np.int64]:
        """Which pixels decide: by chance, the likelier the more they change."""
        tells = np.where(triangle >= 0, np.sqrt(np.square(slope).sum((2, 3))).ravel(), 0)
        some = np.flatnonzero(tells > _LEAST_SLOPE)
        if len(some) <= _POINTS:
            return some
        chance = self._chance[some] / np.minimum(tells[some], _MUCH_SLOPE)
        return some[np.argpartition(chance, _POINTS)[:_POINTS]]

    def _jacobian(
        self, vertices: Array, by_pose: Array, rotations: Array, corners: NDArray[np.int32], weights: Array
    ) -> Array:
        """How points of the surface move in the picture with the frame's numbers: [n, 2, K]."""
        camera = self._camera
        here = np.einsum("nc,ncx->nx", weights, vertices[corners])
        pose = np.einsum("nc,pncx->nxp", weights, by_pose[:, corners])
        unit = rotations[corners[:, 0]] @ sum(
            weights[:, c, None, None] * self._basis[corners[:, c]] for c in range(3)
        )
        x, y, z = (here @ self._matrix[:3, :3].T + self._matrix[:3, 3]).T
        project = np.zeros((len(here), 2, 3), np.float32)
        project[:, 0, 0], project[:, 0, 2] = camera.fx / z, -camera.fx * x / z**2
        project[:, 1, 1], project[:, 1, 2] = camera.fy / z, -camera.fy * y / z**2
        return np.asarray((project @ self._matrix[:3, :3]) @ np.concatenate([pose, unit], 2), np.float32)


def _continued(triangle: NDArray[np.int32], reach_px: float) -> tuple[NDArray[np.int32], Array]:
    """Triangles carried on beyond the mesh, flat [H * W], and how far from it every pixel is [H * W, 2]."""
    import cv2

    height, width = triangle.shape
    outside = (triangle < 0).astype(np.uint8)
    away = np.zeros((height * width, 2), np.float32)
    if not outside.any() or outside.all():
        return triangle.ravel(), away
    distance, labels = cv2.distanceTransformWithLabels(
        outside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    inside = np.flatnonzero(outside.ravel() == 0)
    nearest = np.zeros(int(labels.max()) + 1, np.int64)
    nearest[labels.ravel()[inside]] = inside
    source, pixel = nearest[labels.ravel()], np.arange(height * width)
    away[:, 0], away[:, 1] = pixel % width - source % width, pixel // width - source // width
    return np.where(distance.ravel() > reach_px, -1, triangle.ravel()[source]).astype(np.int32), away


@kept_njit(nogil=True)
def _barycentric(points: Array, corners: NDArray[np.int32], place: Array) -> Array:
    """Corner weights [n, 3] in space of the triangles `corners` [n, 3] at pixels `place` [n, 2]."""
    out = np.full((corners.shape[0], 3), 1 / 3, np.float32)
    for n in range(corners.shape[0]):
        i, j, k = corners[n, 0], corners[n, 1], corners[n, 2]
        px, py = place[n, 0], place[n, 1]
        x0, y0, x1, y1 = points[i, 0], points[i, 1], points[j, 0], points[j, 1]
        x2, y2 = points[k, 0], points[k, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0:
            continue
        b1 = ((px - x0) * (y2 - y0) - (x2 - x0) * (py - y0)) / area
        b2 = ((x1 - x0) * (py - y0) - (px - x0) * (y1 - y0)) / area
        b0 = 1 - b1 - b2
        b0, b1, b2 = b0 / points[i, 2], b1 / points[j, 2], b2 / points[k, 2]
        total = b0 + b1 + b2
        out[n, 0], out[n, 1], out[n, 2] = b0 / total, b1 / total, b2 / total
    return out
