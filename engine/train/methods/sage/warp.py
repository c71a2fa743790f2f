"""Rays of a posed picture carried back to the rest pose by the triangles they hit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from render.camera import Camera
from render.rigs.frames import triangle_frames
from render.rigs.rig import Rig

Carry = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(triangles [R], points [R, 3], unit directions [R, 3]) of a pose -> points and directions at rest."""


@dataclass(frozen=True)
class Rays:
    """Rays in one space; `face` remembers the triangle that carried each."""

    origins: Tensor  # [R, 3] metres
    directions: Tensor  # [R, 3] unit
    face: Tensor  # [R] int64


def camera_rays(camera: Camera, rows: Tensor, columns: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Origin [3] and unit directions [R, 3] in world axes of the rays through pixel centres."""
    x = (columns.to(like) + 0.5 - camera.cx) / camera.fx
    y = (rows.to(like) + 0.5 - camera.cy) / camera.fy
    to_camera = camera.world_to_camera.to(like)
    directions = torch.stack([x, y, torch.ones_like(x)], 1) @ to_camera[:3, :3]
    return camera.position().to(like), torch.nn.functional.normalize(directions, dim=1)


def to_rest(
    rig: Rig, vertices: Tensor, face: Tensor, points: Tensor, directions: Tensor
) -> tuple[Tensor, Tensor]:
    """Points [R, 3] and unit directions [R, 3] from a pose (`vertices`) to rest, each by its triangle [R].

    The inverse of what binding does to a surfel of that triangle.
    """
    corners = rig.faces[face]
    rotation, scale, centre = triangle_frames(vertices, corners)
    rest_rotation, rest_scale, rest_centre = triangle_frames(rig.template, corners)
    turn = rest_rotation @ rotation.mT
    size = (rest_scale / scale.clamp_min(1e-9))[:, None]
    back = rest_centre + size * (turn * (points - centre)[:, None]).sum(-1)
    return back, (turn * directions[:, None]).sum(-1)


def to_pose(
    rig: Rig, vertices: Tensor, face: Tensor, points: Tensor, directions: Tensor
) -> tuple[Tensor, Tensor]:
    """The inverse of `to_rest`."""
    corners = rig.faces[face]
    rotation, scale, centre = triangle_frames(vertices, corners)
    rest_rotation, rest_scale, rest_centre = triangle_frames(rig.template, corners)
    turn = rotation @ rest_rotation.mT
    size = (scale / rest_scale.clamp_min(1e-9))[:, None]
    return centre + size * (turn * (points - rest_centre)[:, None]).sum(-1), (turn * directions[:, None]).sum(
        -1
    )


def surface_rays(
    camera: Camera, rows: Tensor, columns: Tensor, depth: Tensor, seen: Tensor, carry: Carry
) -> Rays:
    """Rays at rest that start where the pixels' surface lies, directed inwards.

    `depth` [R] metres along the camera's z of the pixels at `rows`, `columns` [R]; `seen` [H, W] from
    `triangles_seen`. Pixels beside the mesh get face -1. `carry` takes world to rest.
    """
    face = seen[rows, columns]
    origin, directions = camera_rays(camera, rows, columns, depth)
    forward = camera.world_to_camera.to(depth)[2, :3]
    points = origin + directions * (depth / (directions @ forward).clamp_min(1e-6))[:, None]
    at, along = carry(face.clamp_min(0), points, directions)
    return Rays(at, along, face)
