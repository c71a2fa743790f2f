"""Expressions and poses nobody filmed: plausible, so that what is learned from them is worth playing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from render.rigs.params import RigParams
from render.rigs.rig import Rig
from render.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from tracking.face.units import joint_units, unit_limits

_MOST_GROUPS = 8
_CROOKED_SHARE = 0.25  # of the faces' paired units that differ between the sides
_MOUTH_OPEN_SHARE = 0.4
_HEAD_ALONE_SHARE = 0.5  # of the looks from aside
_MODE_SHARE = 0.3  # of a face model's modes that are active


class ExpressionSampler:
    """Draws weights of a rig's units: a few at a time, mostly symmetric, the jaw often open.

    Units whose joint motion would tear the face are not drawn together: with the lips' closing units the jaw
    stays shut.
    """

    def __init__(self, rig: Rig) -> None:
        self.names = rig.expression_names
        units = rig.units[: rig.num_expressions]
        limits = unit_limits(units)
        self.lower = torch.tensor(limits.lower, dtype=torch.float32)
        self.upper = torch.tensor(limits.upper, dtype=torch.float32)
        self._modes = any(unit.signed for unit in units)
        used = limits.used
        self._groups = [g for g in joint_units(self.names) if used[list(g)].all()]

    def __call__(self, generator: torch.Generator) -> Tensor:
        """Weights [E] of one face."""
        if self._modes:
            active = torch.rand(len(self.names), generator=generator) < _MODE_SHARE
            drawn = torch.randn(len(self.names), generator=generator) * active
            return drawn.clamp(self.lower, self.upper)
        weights = torch.zeros(len(self.names))
        count = int(torch.randint(2, _MOST_GROUPS + 1, (1,), generator=generator))
        for place in torch.randperm(len(self._groups), generator=generator)[:count].tolist():
            group = list(self._groups[place])
            strength = torch.rand(2, generator=generator)
            weights[group] = strength[0]
            if len(group) == 2 and strength[1] < _CROOKED_SHARE:
                weights[group[1]] = strength[0] * strength[1] / _CROOKED_SHARE
        jaw = self.names.index("jawOpen")
        if torch.rand(1, generator=generator) < _MOUTH_OPEN_SHARE:
            weights[jaw] = 0.8 * torch.rand(1, generator=generator)
        for name in ("mouthClose", "mouthPressLeft", "mouthPressRight", "mouthRollLower", "mouthRollUpper"):
            if name in self.names:
                weights[self.names.index(name)] *= 1 - weights[jaw]
        return weights.clamp(max=self.upper).clamp(max=1.0)


def looked_at_from_aside(
    params: RigParams, rig: Rig, yaw_deg: float, pitch_deg: float, generator: torch.Generator
) -> RigParams:
    """`params` with the whole person, or the head alone, turned away evenly up to these angles."""
    chance = torch.rand(3, generator=generator)
    degrees = (2 * chance[:2] - 1) * torch.tensor([pitch_deg, yaw_deg])
    by = torch.cat([torch.deg2rad(degrees), torch.zeros(1)])
    for joint, share in rig.head_joints if chance[2] < _HEAD_ALONE_SHARE else ((0, 1.0),):
        params = _turned_on(params, joint, share * by)
    return params


def turned(params: RigParams, rig: Rig, degrees: float, generator: torch.Generator) -> RigParams:
    """`params` with the head (or the root) turned on by a random rotation of that standard deviation."""
    joint = rig.joint_names.index("head") if "head" in rig.joint_names else 0
    by = torch.randn(3, generator=generator) * math.radians(degrees) * torch.tensor([0.6, 1.0, 0.4])
    return _turned_on(params, joint, by)


def _turned_on(params: RigParams, joint: int, by: Tensor) -> RigParams:
    """`params` with one joint turned on by an axis-angle [3]."""
    pose = params.pose.clone()
    pose[joint] = matrix_to_axis_angle(axis_angle_to_matrix(by) @ axis_angle_to_matrix(pose[joint]))
    return params.replace(pose=pose)
