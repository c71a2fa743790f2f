"""Where the surfels start: on triangles by area and visibility, off them where masks show hair or cloth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from engine.train.data.views import Picture, View
from engine.train.fields.pretrain import random_barycentric
from engine.train.surface.regions import Regions, triangles_seen
from render.rigs.frames import triangle_frames
from render.rigs.rig import Rig

_UNSEEN = 0.15  # share of the density that triangles get which no view looks at
_CANDIDATES = 6  # tried for every surfel of the shell
_UNSEEN_HEIGHT = 0.5  # of the shell
_INSIDE_SHARE = 0.9  # of the views that see a point, which must have the person there


@dataclass(frozen=True)
class PlacementConfig:
    """How many surfels, and where."""

    count: int
    face_density: float = 2.5  # surfels of an area that expressions move, against the rest
    shell_m: float = 0.04  # hair and cloth may stand this far off the rig's mesh, where the masks agree
    shell_share: float = 0.5  # of the surfels outside the face, placed somewhere in that shell
    overlap: float = 0.6  # standard deviation of a new surfel over the distance to its neighbours


@dataclass(frozen=True)
class Placement:
    """New surfels at rest."""

    face_index: Tensor  # [N] int64
    means: Tensor  # [N, 3] metres, rest pose
    normals: Tensor  # [N, 3]
    spacing: Tensor  # [N] metres between neighbours
    colours: Tensor  # [N, 3] as the views show them; mid grey where none does

    @classmethod
    def unset(cls, count: int) -> Placement:
        """Room for `count` surfels whose places a stored state brings."""
        nowhere = torch.zeros(count, 3)
        return cls(torch.zeros(count, dtype=torch.int64), nowhere, nowhere, torch.ones(count), nowhere)

    def to(self, device: torch.device) -> Placement:
        """The same on another device."""
        return Placement(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def place_surfels(
    rig: Rig,
    regions: Regions,
    views: Sequence[View],
    pictures: Sequence[Picture],
    config: PlacementConfig,
    generator: torch.Generator,
) -> Placement:
    """Draw surfels for the person in some `views`, whose `pictures` are given alongside."""
    corners = rig.template[rig.faces]
    cross = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = 0.5 * cross.norm(dim=1)
    normal = torch.nn.functional.normalize(cross, dim=1)
    nearness = _nearness(rig, views)
    density = (_UNSEEN + (1 - _UNSEEN) * nearness.sqrt()) * torch.where(
        regions.face, config.face_density, 1.0
    )
    weights = torch.where(regions.visible, area * density, 0)
    face = torch.multinomial(weights, config.count, replacement=True, generator=generator)
    barycentric = random_barycentric(config.count, generator)
    means = (corners[face] * barycentric[..., None]).sum(1)
    spacing = (weights.sum() / (config.count * density.clamp_min(1e-6))).sqrt()[face]
    loose = (regions.hair | regions.body)[face]
    seen = (nearness > 0)[face]
    # Where no picture looks, hair is one smooth layer: scattered surfels would show as streaks from the side.
    loose &= ~seen | (torch.rand(config.count, generator=generator) < config.shell_share)
    means = _into_shell(rig, views, pictures, face, means, normal[face], loose, seen, config, generator)
    colours = _seen_colours(rig, views, pictures, face, means, normal[face])
    colours = _from_nearest_seen(colours, means, seen)
    return Placement(face, means, normal[face], spacing, colours)


def carry(rig: Rig, face: Tensor, means: Tensor, vertices: Tensor) -> Tensor:
    """Points [N, 3] at rest -> with their triangles to a pose whose `vertices` are given."""
    used, slot = torch.unique(face, return_inverse=True)
    rest_rotation, rest_scale, rest_centre = triangle_frames(rig.template, rig.faces[used])
    rotation, scale, centre = triangle_frames(vertices, rig.faces[used])
    turn = rotation @ rest_rotation.mT * (scale / rest_scale.clamp_min(1e-9))[:, None, None]
    offset = (turn[slot] * (means - rest_centre[slot])[:, None]).sum(-1)
    return centre[slot] + offset


def _nearness(rig: Rig, views: Sequence[View]) -> Tensor:
    """How many views see a triangle and how near they are [F], 0 for none to 1 for the most."""
    counts = torch.zeros(len(rig.faces) + 1)
    for view in views:
        vertices = rig(view.params).vertices
        seen = torch.unique(triangles_seen(vertices, rig.faces, view.camera))
        depth = view.camera.project(vertices)[:, 2].median()
        counts[seen] += (1.0 / depth.clamp_min(0.1)) ** 2
    return counts[:-1] / counts[:-1].max().clamp_min(1e-9)


def _into_shell(
    rig: Rig,
    views: Sequence[View],
    pictures: Sequence[Picture],
    face: Tensor,
    means: Tensor,
    normals: Tensor,
    loose: Tensor,
    seen: Tensor,
    config: PlacementConfig,
    generator: torch.Generator,
) -> Tensor:
    """Lift loose surfels off the mesh where no mask forbids it: to a random height, or where no view looks
    as high as they may, up to `_UNSEEN_HEIGHT` of the shell.
    """
    rows = loose.nonzero()[:, 0]
    if not len(rows) or config.shell_m <= 0:
        return means
    heights = torch.rand(_CANDIDATES, len(rows), generator=generator)
    falling = torch.linspace(_UNSEEN_HEIGHT, 0, _CANDIDATES)[:, None]
    heights = config.shell_m * torch.where(seen[rows], heights, falling)
    points = means[rows] + heights[..., None] * normals[rows]
    inside = _inside_masks(rig, views, pictures, face[rows].repeat(_CANDIDATES), points.flatten(0, 1))
    inside = inside.view(_CANDIDATES, len(rows))
    first = inside.float().argmax(0)
    chosen = points.gather(0, first[None, :, None].expand(1, -1, 3))[0]
    lifted = means.clone()
    lifted[rows] = torch.where(inside.any(0)[:, None], chosen, means[rows])
    return lifted


def _inside_masks(
    rig: Rig, views: Sequence[View], pictures: Sequence[Picture], face: Tensor, points: Tensor
) -> Tensor:
    hits, looks = torch.zeros(len(points)), torch.zeros(len(points))
    for view, picture in zip(views, pictures, strict=True):
        x, y, ok = _pixels(carry(rig, face, points, rig(view.params).vertices), view)
        looks += ok
        hits += ok * (picture.mask[y, x] > 0.5)
    return (looks == 0) | (hits >= _INSIDE_SHARE * looks)


def _from_nearest_seen(colours: Tensor, means: Tensor, seen: Tensor) -> Tensor:
    """Colours [N, 3], of surfels that no view shows from the nearest one that is shown."""
    if seen.all() or not seen.any():
        return colours
    filled, shown = colours.clone(), seen.nonzero()[:, 0]
    for rows in (~seen).nonzero()[:, 0].split(1024):
        filled[rows] = colours[shown[torch.cdist(means[rows], means[shown]).argmin(1)]]
    return filled


def _seen_colours(
    rig: Rig,
    views: Sequence[View],
    pictures: Sequence[Picture],
    face: Tensor,
    means: Tensor,
    normals: Tensor,
) -> Tensor:
    """Colours [N, 3] in the pictures where the surfels face the camera, weighted by how much they do."""
    total, weight = torch.zeros(len(means), 3), torch.full((len(means), 1), 1e-6)
    for view, picture in zip(views, pictures, strict=True):
        vertices = rig(view.params).vertices
        points = carry(rig, face, means, vertices)
        ahead = carry(rig, face, means + 1e-3 * normals, vertices) - points
        to_camera = view.camera.position() - points
        cosine = torch.nn.functional.cosine_similarity(ahead, to_camera, dim=1)
        x, y, ok = _pixels(points, view)
        w = (ok * picture.mask[y, x] * cosine.clamp_min(0.05) ** 2)[:, None]
        total += w * picture.rgb[y, x]
        weight += w
    return (total + 0.5e-6) / weight


def _pixels(points: Tensor, view: View) -> tuple[Tensor, Tensor, Tensor]:
    """Pixel columns and rows [N] int64 of world points, and which [N] (float) lie in the picture."""
    p = view.camera.project(points)
    x, y = p[:, 0].floor().long(), p[:, 1].floor().long()
    ok = (x >= 0) & (x < view.camera.width) & (y >= 0) & (y < view.camera.height) & (p[:, 2] > 0.05)
    return x.clamp(0, view.camera.width - 1), y.clamp(0, view.camera.height - 1), ok.float()
