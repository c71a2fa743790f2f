"""Avatars with every kind of deformation, and what it does to them in plain loops."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from render.avatars.avatar import Avatar
from render.deformations.coefficients import Coefficients
from render.deformations.condition import Condition
from render.deformations.deformation import DELTAS, Deformation
from render.rigs import smplx
from render.rigs.articulation import BLENDSHAPES, EYE_TURNS, JAW_TURNS
from render.rigs.params import RigParams
from tests.render.avatars.small_avatars import random_avatar, random_params

KINDS = {"clamped": (), "unclamped": (), "one hidden layer": (5,), "two hidden layers": (64, 3)}
PARTS = {
    "expression": Condition(),
    "joint units": Condition(joint_units=True),
    "head pose": Condition(head_pose=True),
    "controls": Condition(controls=("glasses", "mood")),
    "all": Condition(True, True, ("glasses", "mood")),
}
NUM_COEFFICIENTS = 3
FIELDS = ("means", "quats", "log_scales", "logit_opacities", "sh")


@dataclass(frozen=True)
class Case:
    """One combination of what a deformation can be."""

    kind: str = "two hidden layers"
    part: str = "all"
    deltas: tuple[str, ...] = DELTAS

    def __str__(self) -> str:
        return ", ".join([self.kind, self.part, "all deltas" if self.deltas == DELTAS else self.deltas[0]])


CASES = [
    *(Case(kind, part) for kind in KINDS for part in PARTS),
    *(Case(kind, "all", (delta,)) for kind in KINDS for delta in DELTAS),
]


def deformed_avatar(case: Case, *, axes: int = 3, each: int = 7, kind: str = "smplx") -> Avatar:
    """Half of its Gaussians deformed; quaternions of all lengths. `kind`: of the rig, for joint units."""
    avatar = random_avatar(degree=1, axes=axes, each=each)
    if PARTS[case.part].joint_units:  # a face model's jaw and eyes are no expressions
        names = ("mode0", "mode1", "mode2", "mode3")
        how = smplx.ARTICULATION if kind == "smplx" else BLENDSHAPES
        rig = replace(avatar.rig, kind=kind, expression_names=names, articulation=how)
        avatar = avatar.replace(rig=rig)
    g = torch.Generator().manual_seed(7)
    gaussians, condition = avatar.gaussians, PARTS[case.part]
    widths = [condition.size(avatar.rig), *KINDS[case.kind], NUM_COEFFICIENTS]
    shapes = list(pairwise(widths))
    coefficients = Coefficients(
        tuple(0.5 * torch.randn(shape, generator=g) / math.sqrt(shape[0]) for shape in shapes),
        tuple(0.4 + 0.3 * torch.randn(width, generator=g) for width in widths[1:]),
        clamped=case.kind == "clamped",
    )
    indices = torch.randperm(gaussians.num_gaussians, generator=g)[: gaussians.num_gaussians // 2]
    sizes = Deformation.shapes(gaussians, NUM_COEFFICIENTS, len(indices))
    deltas = {name: 0.5 * torch.randn(sizes[name], generator=g) for name in case.deltas}
    return avatar.replace(deformation=Deformation(coefficients, indices, condition, **deltas))


def moving_params(avatar: Avatar, seed: int = 2) -> RigParams:
    """Weights of both signs, a turned head, controls on."""
    g = torch.Generator().manual_seed(seed)
    params = random_params(avatar.rig, seed, angle=0.3)
    controls = torch.randn(len(avatar.condition.controls), generator=g) if avatar.condition.controls else None
    return replace(params, expression=2 * params.expression - 1, controls=controls)


def plain_condition(avatar: Avatar, params: RigParams) -> list[float]:
    """In float64, joint after joint."""
    numbers = params.expression.double().tolist()
    if avatar.condition.joint_units:
        for turn in (*JAW_TURNS, *EYE_TURNS) if avatar.rig.kind == "smplx" else ():
            angle = float(params.pose[avatar.rig.joint_names.index(turn.joint), turn.axis])
            numbers.append(max(angle / math.radians(turn.degrees), 0))
    if avatar.condition.head_pose:
        turn = np.eye(3)
        for joint in ("root", "neck", "head"):
            turn = turn @ _rotation(params.pose[avatar.rig.joint_names.index(joint)].double().numpy())
        angle = math.acos((np.trace(turn) - 1) / 2)
        axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
        numbers += (axis / (2 * math.sin(angle)) * angle).tolist() + params.translation.double().tolist()
    return numbers + ([] if params.controls is None else params.controls.double().tolist())


def plain_coefficients(coefficients: Coefficients, condition: list[float]) -> list[float]:
    values = condition
    for layer, (weights, bias) in enumerate(zip(coefficients.weights, coefficients.biases, strict=True)):
        sums = [
            sum(v * float(weights[row, column]) for row, v in enumerate(values)) + float(bias[column])
            for column in range(len(bias))
        ]
        last = layer == len(coefficients.weights) - 1
        values = sums if last else [math.tanh(s) for s in sums]
    return [min(max(v, 0.0), 1.0) for v in values] if coefficients.clamped else values


def plain_deformed(avatar: Avatar, weights: list[float]) -> dict[str, NDArray[np.float64]]:
    """The canonical Gaussians after the deformation, Gaussian by Gaussian."""
    found = {name: getattr(avatar.gaussians, name).double().numpy().copy() for name in FIELDS}
    deformation = avatar.deformation
    assert deformation is not None
    for field, name in zip(FIELDS, DELTAS, strict=True):
        delta = getattr(deformation, name)
        for row, index in enumerate(deformation.indices.tolist() if delta is not None else []):
            change = sum(w * delta[b, row].double().numpy() for b, w in enumerate(weights))
            if field == "sh":
                found[field][index, 0] += change
            else:
                found[field][index] += change
    return found


def _rotation(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rodrigues' formula."""
    angle = np.linalg.norm(vector)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
