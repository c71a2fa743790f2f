"""The calibration that an avatar carries, as long as the avatar is the one that was measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.avatars.avatar import Avatar
from tracking.face.response import DetectorResponse

Array = NDArray[np.float64]


def response_of(avatar: Avatar) -> DetectorResponse | None:
    """The avatar's calibration; None when it has none or it belongs to another avatar or version.

    A face that cannot move needs none: its head follows the detected angles.
    """
    num_units = len(avatar.rig.units)
    if not num_units:
        return DetectorResponse.without_units()
    return DetectorResponse.from_extras(avatar.extras, avatar.extras_meta, num_units, signature_of(avatar))


def signature_of(avatar: Avatar) -> Array:
    """Numbers that change when an avatar's look or its units change, and hardly when it is stored compactly.

    In units of their own size: means and colours in decimetres and halves, each unit's reach in centimetres.
    """
    g, rig = avatar.gaussians, avatar.rig
    reach = rig.expression_basis.double().square().sum(1).sqrt() * 100
    parts: list[Array] = [
        np.array([np.log(max(g.num_gaussians, 1)), np.log(rig.num_vertices), float(rig.num_expressions)]),
        rig.template.double().mean(0).numpy() * 10,
        rig.template.double().std(0).numpy() * 10,
        g.opacities().double().mean(0, keepdim=True).numpy() * 2,
        g.sh[:, 0].double().mean(0).numpy() * 2,
        g.sh[:, 0].double().std(0).numpy() * 2,
        reach.numpy(),
    ]
    return np.concatenate(parts)
