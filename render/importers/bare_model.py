"""A face model's bare mesh as an avatar: lit skin and painted eyes, enough for the detector to see a face.

For users who have a model file and no avatar on it: what drives it drives every avatar on that model.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from render.avatars.avatar import Avatar, AvatarInfo
from render.avatars.bindings import TriangleBinding
from render.gaussians import Gaussians
from render.rigs.frames import triangle_frames
from render.rigs.reference import KeptRig
from render.rigs.rig import Rig
from render.sh import SH_C0

_SKIN, _WHITE, _IRIS, _PUPIL = (0.80, 0.60, 0.50), (0.92, 0.90, 0.88), (0.25, 0.16, 0.10), (0.02, 0.02, 0.02)
_IRIS_DEG, _PUPIL_DEG = 26.0, 12.0  # seen from the eye's middle, about where it looks
_LIGHT = (0.15, 0.55, 0.82)
_AMBIENT = 0.45
_FLAT = (0.45, 0.02, 0.45)  # a Gaussian's size in its triangle's: along the edges, and across


def bare_avatar(kept: KeptRig) -> Avatar:
    """One flat Gaussian on every triangle of the model, with its average identity."""
    reference = kept.reference()
    rig = reference.rebuild(kept.rig)
    count = len(rig.faces)
    return Avatar(
        info=AvatarInfo(Path(kept.file_hint).stem, provenance=f"the bare mesh of {kept.file_hint}"),
        rig=rig,
        bindings=(TriangleBinding(torch.arange(count)),),
        gaussians=Gaussians(
            means=torch.zeros(count, 3),
            quats=torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(count, 4).contiguous(),
            log_scales=torch.tensor(_FLAT).log().expand(count, 3).contiguous(),
            logit_opacities=torch.full((count,), 4.0),
            sh=((_painted(rig) - 0.5) / SH_C0)[:, None],
            antialiased=True,
        ),
        rig_reference=reference,
    )


def _painted(rig: Rig) -> Tensor:
    """Colours [F, 3] of the triangles."""
    middle = rig.template[rig.faces].mean(1)
    normal = triangle_frames(rig.template, rig.faces)[0][:, :, 1]
    light = normalize(torch.tensor(_LIGHT), dim=0)
    shade = _AMBIENT + (1 - _AMBIENT) * (normal @ light).clamp_min(0)
    colour = torch.tensor(_SKIN) * shade[:, None]
    for name in ("left_eye", "right_eye"):
        joint = rig.joint_names.index(name)
        ball = rig.skin_weights[rig.faces].mean(1)[:, joint] > 0.9
        ahead = normalize(middle - rig.joints_template[joint], dim=-1)[:, 2]
        for degrees, paint in ((180.0, _WHITE), (_IRIS_DEG, _IRIS), (_PUPIL_DEG, _PUPIL)):
            inside = ball & (ahead >= math.cos(math.radians(degrees)))
            colour = torch.where(inside[:, None], torch.tensor(paint), colour)
    return colour
