"""What of a made person's pictures a head avatar learns: all above a level of the chest, and of a turned head
what it turns on.

People are described and drawn whole, so that light and cloth are right. Cameras that look down see arms and
belly, which the avatar is not to have: Gaussians that tried to paint them would be torn off the chest. Where
a head turns, light moves over its face; an avatar's light turns with it, so that only neck and clothes are
learned from there.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from torch import Tensor

from engine.train.surface.raster import see
from render.camera import Camera
from render.making.people.shoot import Start
from render.rigs.head import load_head_surface
from render.rigs.rig import Rig

# Metres from the rig's origin: below what a camera that looks down by 28 degrees sees of the chest.
LEVEL_M = -0.32
_SOLID = ("skin", "clothes")
_EDGE_PX = 2  # around what lies below: edges are mixed colours, and cloth has some thickness
_BESIDE_PX = 6  # around neck and clothes of a turned head: edges, and nothing behind them
_HEAD = 0.5  # share of the head's joint in what is not learned from a turned head


class Bust:
    """Tells what of a picture is known; a picture is all known where the answer is None."""

    def __init__(self, rig: Rig, start: Start) -> None:
        surfaces = [start.surfaces[name] for name in _SOLID if name in start.surfaces]
        self._vertices, self._faces = _joined(
            [(torch.from_numpy(surface.vertices), surface.faces) for surface in surfaces]
        )
        self._low = self._vertices.numpy()[self._faces][..., 1].mean(1) < LEVEL_M
        self._clothes = start.surfaces.get("clothes")
        skin = rig.faces[load_head_surface().faces_of(rig.faces, "body")]
        self._skin = skin.numpy().astype(np.int32)
        share = rig.skin_weights[:, [rig.joint_names.index(name) for name in ("root", "neck")]].sum(1)
        self._turns = (share[skin].mean(1) < 1 - _HEAD).numpy()

    def above_level(self, camera: Camera) -> Tensor | None:
        """Bool [H, W], false where a camera sees the person at rest below the level."""
        points = camera.project(self._vertices).numpy()
        corners = points[self._faces[self._low]]
        x, y = corners[..., 0], corners[..., 1]
        within = (x.max(1) > 0) & (x.min(1) < camera.width) & (y.max(1) > 0) & (y.min(1) < camera.height)
        if not within.any():
            return None
        triangle = see(points, self._faces, camera.width, camera.height).triangle
        low = (triangle >= 0) & self._low[triangle]
        return torch.from_numpy(~binary_dilation(low, iterations=_EDGE_PX)) if low.any() else None

    def below_head(self, camera: Camera, vertices: Tensor) -> Tensor:
        """Bool [H, W], true where a camera sees neck or clothes, and a little around them, while the rig's
        vertices are at [V, 3]."""
        parts = [(vertices, self._skin)]
        if self._clothes is not None:
            parts.append((torch.from_numpy(self._clothes.vertices), self._clothes.faces))
        points, faces = _joined(parts)
        turns = np.concatenate([self._turns, np.zeros(len(faces) - len(self._skin), bool)])
        triangle = see(camera.project(points).numpy(), faces, camera.width, camera.height).triangle
        still = (triangle >= 0) & ~turns[triangle]
        head = (triangle >= 0) & turns[triangle]
        still = binary_dilation(still, iterations=_BESIDE_PX) & ~binary_dilation(head, iterations=_EDGE_PX)
        return torch.from_numpy(still)


def above(points: Tensor) -> Tensor:
    """Which points [N, 3] at rest lie above the level [N]."""
    return points[:, 1] > LEVEL_M


def _joined(parts: list[tuple[Tensor, NDArray[np.int32]]]) -> tuple[Tensor, NDArray[np.int32]]:
    """Vertices [V, 3] and triangles [F, 3] of several meshes as one."""
    vertices, faces, count = [torch.zeros(0, 3)], [np.zeros((0, 3), np.int32)], 0
    for points, triangles in parts:
        vertices.append(points)
        faces.append(triangles + count)
        count += len(points)
    return torch.cat(vertices), np.concatenate(faces)
