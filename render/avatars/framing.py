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
_LARGEST = 0.9  # what counts of a Gaussian's area ends at that of nine in ten: one veil is not the subject
_AROUND = 3.0  # the subject ends within so many times the distance that half of it keeps; arms spread do
_EDGE = 0.01  # of the subject's area on each side, which may float about it


@dataclass(frozen=True)
class Framing:
    """The view an avatar is normally seen in, for a square picture."""

    target: tuple[float, float, float]  # metres, world
    distance_m: float
    vertical_fov_deg: float = _DEFAULT_FOV_DEG


def framing_of(rig: Rig, means: Tensor, opacities: Tensor, scales: Tensor | None = None) -> Framing:
    """A portrait of Gaussians at rest, `means` [N, 3] metres, `opacities` [N] and `scales` [N, 2 or 3] metres
    (None: all of one size): the box of the opaque ones that belong to the head, or of what covers most of
    the picture where no rig tells."""
    with torch.no_grad():
        means, opacities = means.cpu(), opacities.cpu()
        on_head = _on_head(rig, means)
        if on_head is None:
            low, high = _box_of_subject(*_fewer(means, opacities, scales))
        else:
            points = means[on_head & (opacities > _OPAQUE)]
            middle, reach = reach_of(points, torch.ones(len(points)))
            points = points[(points - middle).norm(dim=1) <= _AROUND * reach]
            if not len(points):
                points = torch.zeros(1, 3)
            # The outermost half percent is floaters in a scanned scene, and no part of a head.
            low, high = torch.quantile(points[:: _stride(points)], torch.tensor([0.005, 0.995]), dim=0)
    x, y, z = ((low + high) / 2).tolist()
    height = max(float(high[1] - low[1]), float(high[0] - low[0]), 1e-3)
    distance = height / _HEAD_SHARE_OF_PICTURE / (2 * math.tan(math.radians(_DEFAULT_FOV_DEG) / 2))
    return Framing((x, y, z), distance)


def reach_of(means: Tensor, opacities: Tensor, scales: Tensor | None = None) -> tuple[Tensor, float]:
    """The middle [3] of what covers most, and the distance from it that half of that keeps; arguments as of
    `framing_of`. What is not finite counts for nothing; zeros when nothing counts."""
    means, opacities, scales = _fewer(means, opacities, scales)
    weights = _cover(means, opacities, scales)
    middle = torch.stack([_quantiles(means[:, i], weights, (0.5,))[0] for i in range(3)])
    distances = (means.double() - middle).norm(dim=1)
    return middle, float(_quantiles(distances, weights, (0.5,))[0])


def _fewer(means: Tensor, opacities: Tensor, scales: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """A hundred thousand or so of many, which say the same."""
    step = _stride(means)
    return means[::step], opacities[::step], None if scales is None else scales[::step]


def _stride(values: Tensor) -> int:
    return 1 + len(values) // 100_000


def _box_of_subject(means: Tensor, opacities: Tensor, scales: Tensor | None) -> tuple[Tensor, Tensor]:
    """Lowest and highest corner [3] of the bulk, however far away and however large what floats about is."""
    middle, reach = reach_of(means, opacities, scales)
    weights = _cover(means, opacities, scales)
    weights = weights * ((means.double() - middle).norm(dim=1) <= _AROUND * reach)
    edges = torch.stack([_quantiles(means[:, i], weights, (_EDGE, 1 - _EDGE)) for i in range(3)], 1)
    beyond = (edges[1] - edges[0]) * _EDGE / (1 - 2 * _EDGE)  # a rounded body goes on as it ends
    return edges[0] - beyond, edges[1] + beyond


def _cover(means: Tensor, opacities: Tensor, scales: Tensor | None) -> Tensor:
    """How much each Gaussian counts [N], float64: its opacity times the largest area that it shows."""
    if scales is None:
        area = torch.ones(len(means), dtype=torch.float64)
    else:
        two = scales.cpu().double().topk(2, dim=1).values
        area = two[:, 0] * two[:, 1]
    weights = opacities.cpu().double() * area
    usable = weights.isfinite() & means.isfinite().all(1)
    if bool(usable.any()):
        few = area[usable & (opacities > 0)]
        largest = few.kthvalue(max(1, math.ceil(_LARGEST * len(few)))).values if len(few) else 1.0
        weights = opacities.double() * area.clamp_max(largest)
    return torch.where(usable, weights, 0.0)


def _quantiles(values: Tensor, weights: Tensor, shares: tuple[float, ...]) -> Tensor:
    """Values [len(shares)], float64, below which these shares of all weight [N] lie; zeros without weight."""
    counted = weights > 0
    values, order = values.double()[counted].sort()
    total = weights[counted][order].cumsum(0)
    if not len(total):
        return torch.zeros(len(shares), dtype=torch.float64)
    index = torch.searchsorted(total, torch.tensor(shares, dtype=torch.float64) * total[-1])
    return values[index.clamp_max(len(values) - 1)]


def _on_head(rig: Rig, points: Tensor) -> Tensor | None:
    """Which points [N, 3] of the rest pose belong to the head [N], None where the rig has none.

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
    return None
