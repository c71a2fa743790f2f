"""A camera as kernels read it: one flat row of numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.camera import Camera
from render.splatting import jacobian_limits


def camera_numbers(camera: Camera) -> NDArray[np.float64]:
    """Rotation (9), translation (3), fx fy cx cy, width, height, Jacobian limits (4), position (3)."""
    matrix = camera.world_to_camera.detach().cpu().numpy().astype(np.float64)
    rotation, translation = matrix[:3, :3], matrix[:3, 3]
    values = [*rotation.reshape(-1), *translation, camera.fx, camera.fy, camera.cx, camera.cy]
    values += [camera.width, camera.height]
    values += jacobian_limits(camera.width, camera.fx, camera.cx)
    values += jacobian_limits(camera.height, camera.fy, camera.cy)
    return np.array([*values, *(-rotation.T @ translation)], np.float64)


def camera_floats(camera: Camera) -> NDArray[np.float32]:
    """`camera_numbers` in single precision."""
    return camera_numbers(camera).astype(np.float32)
