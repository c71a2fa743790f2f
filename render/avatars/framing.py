"""The view an avatar is normally seen in: a portrait, found from its rig and its Gaussians."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from render.rigs.rig import Rig

_DEFAULT_FOV_DEG = 20.0  # portrait lens: a head fills the picture from about a metre
_HEAD_SHARE_OF_PICTURE = 0.85  # height of head and neck in the default view
_OPAQUE = 0.3
# A head with some neck and hair around its eyes, in distances between these: people's eyes are 6 cm apart.
_LOW, _HIGH = (-2.6, -2.3, -5.0), (2.6, 4.0, 2.0)


@dataclass(frozen=True)
class Framing:
    """The view an avatar is normally seen in, for a square picture."""

    target: tuple[float, float, float]  # metres, world
    distance_m: float
    vertical_fov_deg: float = _DEFAULT_FOV_DEG


def framing_of(rig: Rig, means: Tensor, opacities: Tensor) -> Framing:
    """A portrait of Gaussians at rest, `means` [N, 3] metres and `opacities` [N]: the box of the opaque ones
    that belong to the head, or of all where no rig tells."""
    with torch.no_grad():
        points = means[opacities > _OPAQUE].cpu()
        points = points[_on_head(rig, points)]
        if not len(points):
            points = torch.zeros(1, 3)
        # The outermost half percent is floaters in a scanned scene, and no part of a head.
        few = points[:: 1 + len(points) // 100_000]
        low, high = torch.quantile(few, torch.tensor([0.005, 0.995]), dim=0)
    x, y, z = ((low + high) / 2).tolist()
    height = max(float(high[1] - low[1]), float(high[0] - low[0]), 1e-3)
    distance = height / _HEAD_SHARE_OF_PICTURE / (2 * math.tan(math.radians(_DEFAULT_FOV_DEG) / 2))
    return Framing((x, y, z), distance)


def _on_head(rig: Rig, points: Tensor) -> Tensor:
    """Which points [N, 3] of the rest pose belong to the head [N].

    They lie above the neck's joint where a head's joint sits on it. FLAME has none: its neck's joint lies
    between the ears, so there the eyes tell.
    """
    joints = dict(zip(rig.joint_names, rig.joints_template.cpu(), strict=True))
    if {"left_eye", "right_eye"} <= joints.keys() and "head" not in joints:
        eyes = (joints["left_eye"] + joints["right_eye"]) / 2
        unit = (joints["left_eye"] - joints["right_eye"]).norm()
        from_eyes = (points - eyes) / unit
        return ((from_eyes > torch.tensor(_LOW)) & (from_eyes < torch.tensor(_HIGH))).all(1)
    if "neck" in joints:
        return points[:, 1] > float(joints["neck"][1])
    return torch.ones(len(points), dtype=torch.bool)
