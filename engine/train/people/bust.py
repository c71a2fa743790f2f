"""How much of a made person a head avatar has: all above a level of the chest.

People are described and drawn whole, so that light and cloth are right. Cameras that look down see arms and
belly, which the avatar is not to have: Gaussians that tried to paint them would be torn off the chest.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import binary_dilation
from torch import Tensor

from engine.train.surface.raster import see
from engine.train.surface.regions import in_picture
from render.camera import Camera
from render.making.people.shoot import Start

# Metres from the rig's origin: below what a camera that looks down by 28 degrees sees of the chest.
LEVEL_M = -0.32
_SOLID = ("skin", "clothes")
_EDGE_PX = 2  # around what lies below: edges are mixed colours, and cloth has some thickness


class Bust:
    """Tells what of a picture lies above the level."""

    def __init__(self, start: Start) -> None:
        vertices, faces, count = [], [], 0
        for name in _SOLID:
            if name in start.surfaces:
                surface = start.surfaces[name]
                vertices.append(surface.vertices)
                faces.append(surface.faces + count)
                count += len(surface.vertices)
        self._vertices = torch.from_numpy(np.concatenate(vertices)) if vertices else torch.zeros(0, 3)
        self._faces = np.concatenate(faces) if faces else np.zeros((0, 3), np.int32)
        self._low = self._vertices.numpy()[self._faces][..., 1].mean(1) < LEVEL_M

    def known(self, camera: Camera) -> Tensor | None:
        """Bool [H, W], false where a camera sees the person below the level; None: nowhere."""
        points = in_picture(self._vertices, camera).numpy()
        corners = points[self._faces[self._low]]
        x, y = corners[..., 0], corners[..., 1]
        within = (x.max(1) > 0) & (x.min(1) < camera.width) & (y.max(1) > 0) & (y.min(1) < camera.height)
        if not within.any():
            return None
        triangle = see(points, self._faces, camera.width, camera.height).triangle
        low = (triangle >= 0) & self._low[triangle]
        return torch.from_numpy(~binary_dilation(low, iterations=_EDGE_PX)) if low.any() else None


def above(points: Tensor) -> Tensor:
    """Which points [N, 3] at rest lie above the level [N]."""
    return points[:, 1] > LEVEL_M
