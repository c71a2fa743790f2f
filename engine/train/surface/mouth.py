"""The inside of the mouth, which no picture of a shut one shows: a prior from the built-in people."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from engine.train.surface.regions import Regions
from render.avatars.library import DEFAULT_AVATAR, open_avatar
from render.gaussians import Gaussians
from render.rigs.rig import Rig


def mouth_prior(rig: Rig, regions: Regions, name: str = DEFAULT_AVATAR) -> tuple[Tensor, Gaussians] | None:
    """Triangles [M] and local surfels of teeth, gums, tongue and cavity; None on rigs without them.

    They come from a built-in avatar, whose Gaussians are local to the triangles of the same mesh and so fit
    every identity; lower teeth and tongue follow the jaw as their triangles do. Diffuse colours only: the
    rest was that avatar's own light.
    """
    donor = open_avatar(name)
    if not torch.equal(donor.rig.faces, rig.faces):
        return None
    face = torch.cat([binding.face_index for binding in donor.bindings])  # type: ignore[union-attr]
    rows = regions.inside[face].nonzero()[:, 0]
    g = donor.gaussians
    local = Gaussians(
        means=g.means[rows],
        quats=g.quats[rows],
        log_scales=g.log_scales[rows],
        logit_opacities=g.logit_opacities[rows],
        sh=g.sh[rows, :1],
        antialiased=g.antialiased,
    )
    return face[rows], flattened(local)


def flattened(gaussians: Gaussians) -> Gaussians:
    """3D Gaussians as surfels: the shortest axis becomes the normal, the other two keep their scales."""
    from render.rotations import matrix_to_quaternion, quaternion_to_matrix

    axes = quaternion_to_matrix(gaussians.quats)
    shortest = gaussians.log_scales.argmin(1)
    first, second = (shortest + 1) % 3, (shortest + 2) % 3  # cyclic: the rotation stays right-handed
    order = torch.stack([first, second, shortest], 1)
    rotation = axes.gather(2, order[:, None].expand(-1, 3, 3))
    return replace(
        gaussians,
        quats=matrix_to_quaternion(rotation),
        log_scales=gaussians.log_scales.gather(1, order[:, :2]),
    )
