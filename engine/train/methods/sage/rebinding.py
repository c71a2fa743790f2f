"""Surfels that drifted over to other triangles are bound to them."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.train.fields.mesh_distance import nearest_triangles
from engine.train.methods.sage.model import SageModel


@torch.no_grad()
def rebind(model: SageModel) -> Tensor:
    """Bind surfels to the nearest triangle of their region; returns which rows [N] (bool) changed.

    Where they stand at rest does not change. Face surfels stay on the face, others off it, so that no lip
    ends up on the chin's far side of an edge that moves apart.
    """
    rig, config = model.rig, model.config.surfels
    means = model.means()
    changed = torch.zeros(model.num_surfels, dtype=torch.bool, device=model.device)
    on_face = model.regions.face[model.face_index]
    for mask, faces in (
        (on_face, model.regions.face),
        (~on_face, model.regions.visible & ~model.regions.face),
    ):
        rows, allowed = mask.nonzero()[:, 0], faces.nonzero()[:, 0]
        if not len(rows) or not len(allowed):
            continue
        nearest, distance = nearest_triangles(means[rows], rig.template, rig.faces[allowed])
        own = distance_to_own(model, means)[rows]
        better = distance < config.rebind_gain * own - 1e-6
        model.face_index[rows[better]] = allowed[nearest[better]]
        changed[rows[better]] = True
    if changed.any():
        rotation, scale, centre = model.frames_at_rest()
        local = (rotation.mT @ (means - centre)[..., None])[..., 0] / scale[:, None]
        model.local_means[changed] = local[changed]
        model.bind()
    return changed


def distance_to_own(model: SageModel, means: Tensor) -> Tensor:
    """Metres [N] from surfels to the triangles they hang on."""
    corners = model.rig.template[model.rig.faces[model.face_index]]
    a, b, c = corners.unbind(1)
    # The nearest point of a triangle is that of its plane if inside, else of one of its edges.
    edges = torch.stack([_to_segment(means, p, q) for p, q in ((a, b), (b, c), (c, a))]).amin(0)
    normal = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=1)
    height = ((means - a) * normal).sum(1)
    foot = means - height[:, None] * normal
    inside = torch.stack(
        [(torch.linalg.cross(q - p, foot - p) * normal).sum(1) >= 0 for p, q in ((a, b), (b, c), (c, a))]
    ).all(0)
    return torch.where(inside, height.abs(), edges)


def _to_segment(points: Tensor, start: Tensor, end: Tensor) -> Tensor:
    along = end - start
    t = ((points - start) * along).sum(1) / (along * along).sum(1).clamp_min(1e-20)
    return (points - start - t.clamp(0, 1)[:, None] * along).norm(dim=1)
