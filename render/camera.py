"""Pinhole camera in OpenCV axes: x right, y down, z forward."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Camera:
    """Intrinsics in pixels and the rigid world-to-camera transform.

    World axes of every rig: x to the subject's left, y up, z out of the face (metres).
    Pixel centres lie at half integers: the centre of the top-left pixel is (0.5, 0.5).
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    world_to_camera: Tensor  # [4, 4] float32

    @classmethod
    def look_at(
        cls,
        eye: tuple[float, float, float],
        target: tuple[float, float, float],
        *,
        width: int,
        height: int,
        vertical_fov_deg: float,
    ) -> Camera:
        """Camera at `eye` (metres, world) looking at `target`, world y up, square pixels."""
        e, t = (torch.tensor(p, dtype=torch.float64) for p in (eye, target))
        forward = t - e
        forward = forward / forward.norm()
        right = torch.linalg.cross(forward, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))
        right = right / right.norm()
        down = torch.linalg.cross(forward, right)
        rotation = torch.stack([right, down, forward])
        matrix = torch.eye(4, dtype=torch.float64)
        matrix[:3, :3] = rotation
        matrix[:3, 3] = -rotation @ e
        focal = 0.5 * height / math.tan(math.radians(vertical_fov_deg) / 2)
        return cls(width, height, focal, focal, width / 2, height / 2, matrix.float())

    @classmethod
    def orbit(
        cls,
        target: tuple[float, float, float],
        *,
        distance_m: float,
        yaw_deg: float = 0.0,
        pitch_deg: float = 0.0,
        width: int,
        height: int,
        vertical_fov_deg: float,
    ) -> Camera:
        """Camera on a sphere around `target`; yaw 0, pitch 0 sees the face from the front.

        Positive yaw moves the camera to the subject's left, positive pitch moves it up.
        """
        yaw, pitch = math.radians(yaw_deg), math.radians(pitch_deg)
        offset = (
            distance_m * math.cos(pitch) * math.sin(yaw),
            distance_m * math.sin(pitch),
            distance_m * math.cos(pitch) * math.cos(yaw),
        )
        eye = (target[0] + offset[0], target[1] + offset[1], target[2] + offset[2])
        return cls.look_at(eye, target, width=width, height=height, vertical_fov_deg=vertical_fov_deg)

    def resized(self, width: int, height: int) -> Camera:
        """The same view on a picture of another size; height decides the scale."""
        s = height / self.height
        return replace(
            self,
            width=width,
            height=height,
            fx=self.fx * s,
            fy=self.fy * s,
            cx=width / 2 + (self.cx - self.width / 2) * s,
            cy=self.cy * s,
        )

    def project(self, points: Tensor) -> Tensor:
        """World points [N, 3] -> x and y in pixels and depth in metres [N, 3], in the points' own precision.

        Where depth is not above 0, x and y say nothing.
        """
        to_camera = self.world_to_camera.to(points)
        seen = points @ to_camera[:3, :3].T + to_camera[:3, 3]
        depth = seen[:, 2:]
        focal, middle = points.new_tensor([self.fx, self.fy]), points.new_tensor([self.cx, self.cy])
        return torch.cat([seen[:, :2] / depth.clamp_min(1e-6) * focal + middle, depth], 1)

    def position(self) -> Tensor:
        """Camera centre in world coordinates, [3] metres."""
        return -self.world_to_camera[:3, :3].T @ self.world_to_camera[:3, 3]
