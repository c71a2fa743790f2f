"""Gaussians on the surfaces and along the strands of a made person, as many as the avatar is to have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from engine.train.data.seeds import Seeds
from engine.train.data.views import Dataset, View, evenly
from engine.train.fields.pretrain import random_barycentric
from engine.train.people.binding import Binder, mobility
from engine.train.people.bust import above
from engine.train.surface.contributions import contributions
from render.avatars.bindings import TriangleBinding, localise
from render.gaussians import Gaussians
from render.making.people.shoot import Start, Strands, Surface
from render.rigs.head import load_head_surface
from render.rigs.rig import Rig
from render.rotations import matrix_to_quaternion
from render.training_renderer import training_renderer


@dataclass(frozen=True)
class PartConfig:
    """How one part is sown."""

    share: float  # of all Gaussians, where the person has the part
    face_density: float = 1.0  # Gaussians of an area of the face, against the rest of the part
    spare: float = 2.8  # candidates over what is wanted: what no picture shows is dropped
    flat: float = 0.25  # thickness over the width
    opacity: float = 0.9
    follows: bool = False  # all of it changes with expressions; else what lies on the face


PARTS = {
    "skin": PartConfig(0.34, face_density=9.0),
    "clothes": PartConfig(0.13, spare=3.0),
    "eyes": PartConfig(0.055, follows=True),
    "teeth": PartConfig(0.03, follows=True),
    "gums": PartConfig(0.015, follows=True),
    "tongue": PartConfig(0.018, follows=True),
    "lashes": PartConfig(0.02, follows=True, opacity=0.6),
    "brows": PartConfig(0.02, follows=True, opacity=0.6),
    "hair": PartConfig(0.40, opacity=0.6, spare=3.5),
    "beard": PartConfig(0.06, opacity=0.5, follows=True),
}
_STRAND_LENGTH_M = {"hair": 5e-3, "brows": 1.5e-3, "lashes": 1.5e-3, "beard": 1.5e-3}  # sigma along, at most
_STRAND_WIDTH_M = {"hair": 9e-4, "brows": 2.5e-4, "lashes": 2e-4, "beard": 3e-4}  # sigma across
_LEAST_PX = 0.02  # times its opacity, that the picture which shows most of a candidate must show
_LOOKS, _LOOK_PX = 20, 192
_SMALLEST_M, _LARGEST_M = 1.5e-4, 1.2e-2
_OVERLAP = 0.6  # standard deviation over the distance of neighbours
_STILL_FACE_M = 1e-3
_IRIS_COSINE, _IRIS_DENSITY = 0.85, 4.0  # of an eyeball's normals to the front
_GLINTS, _GLINT_COSINE, _GLINT_OPACITY = 0.008, 0.5, 0.04


@dataclass(frozen=True)
class _Sown:
    """Candidates of one part at rest."""

    points: Tensor  # [K, 3] metres
    axes: Tensor  # [K, 3, 3] columns: along, across, normal
    scales: Tensor  # [K, 3] metres
    face_index: Tensor  # [K]
    part: PartConfig
    grows: bool = True  # lies on a surface: when candidates are dropped, the others become larger

    def chosen(self, rows: Tensor, growth: float) -> _Sown:
        """Some of them, larger."""
        scales = (self.scales[rows] * growth).clamp(max=_LARGEST_M)
        points, axes, face_index = self.points[rows], self.axes[rows], self.face_index[rows]
        return replace(self, points=points, axes=axes, scales=scales, face_index=face_index)

    def seeds(self, on_face: Tensor) -> Seeds:
        num = len(self.points)
        gaussians = Gaussians(
            means=self.points,
            quats=matrix_to_quaternion(self.axes),
            log_scales=self.scales.log(),
            logit_opacities=torch.full((num,), self.part.opacity).logit(),
            sh=torch.zeros(num, 4, 3),
        )
        follows = torch.ones(num, dtype=torch.bool) if self.part.follows else on_face[self.face_index]
        return Seeds(gaussians, self.face_index, follows)


def sow(dataset: Dataset, start: Start, count: int, seed: int) -> Seeds:
    """About `count` Gaussians, grey, of which every one shows in a training view.

    Parts take their shares of PARTS; what a person does not have is shared out among the others.
    """
    rig, views = dataset.rig, dataset.of("train")
    generator = torch.Generator().manual_seed(seed)
    binder = Binder(rig, load_head_surface())
    mobile = mobility(rig)
    present = [*start.surfaces, *(name for name in start.strands if name not in start.surfaces)]
    total = sum(PARTS[name].share for name in present)
    sown: list[_Sown] = []
    wanted: list[int] = []
    for name in present:
        share = PARTS[name].share / total * count
        candidates = round(PARTS[name].spare * share)
        if name in start.strands:  # strands of a part are better than its cards, and stand for them
            sown.append(_along(name, start.strands[name], candidates, rig, binder, generator))
        else:
            sown.append(_on(name, start.surfaces[name], candidates, rig, binder, views, generator))
        wanted.append(round(share))
    if "eyes" in start.surfaces:
        number = round(_GLINTS * count)
        sown.append(_glints(start.surfaces["eyes"], 2 * number, rig, binder, views, generator))
        wanted.append(number)
    on_face = mobile > _STILL_FACE_M
    everything = _joined([part.seeds(on_face) for part in sown])
    seen = _seen(everything, rig, views).split([len(part.points) for part in sown])
    kept = []
    for part, number, shown in zip(sown, wanted, seen, strict=True):
        visible = torch.nonzero(shown > _LEAST_PX * part.part.opacity)[:, 0]
        if part.grows:
            rows = visible[evenly_apart(part.points[visible], part.scales[visible, 0], number)]
        else:
            rows = visible[torch.randperm(len(visible), generator=generator)[:number].sort()[0]]
        # Spacing follows from how many of the visible ones stay, not from those that nobody sees.
        growth = (len(visible) / max(1, len(rows))) ** 0.5 if part.grows else 1.0
        kept.append(part.chosen(rows, growth).seeds(on_face))
    return _joined(kept)


def _on(
    name: str,
    surface: Surface,
    count: int,
    rig: Rig,
    binder: Binder,
    views: Sequence[View],
    generator: torch.Generator,
) -> _Sown:
    part = PARTS[name]
    points, normals, spacing = _sample(name, surface, count, part.face_density, rig, views, generator)
    return _Sown(points, _upright(normals), _scales(spacing, part.flat), binder(name, points, normals), part)


def _glints(
    surface: Surface,
    count: int,
    rig: Rig,
    binder: Binder,
    views: Sequence[View],
    generator: torch.Generator,
) -> _Sown:
    """What shines on the cornea stays where the lamps are while the eye turns below it: faint Gaussians on
    the same surface that hang on the skull."""
    points, normals, spacing = _sample("glints", surface, count, 1.0, rig, views, generator)
    part = PartConfig(_GLINTS, opacity=_GLINT_OPACITY, follows=True)
    lifted = points + 2e-4 * normals
    return _Sown(lifted, _upright(normals), _scales(spacing, 0.25), binder("glints", points), part)


def _scales(spacing: Tensor, flat: float) -> Tensor:
    """Standard deviations [K, 3] of Gaussians so far apart [K], `flat` of it along the surface's normal."""
    width = (_OVERLAP * spacing).clamp(_SMALLEST_M, _LARGEST_M)
    return torch.stack([width, width, flat * width], 1)


def _sample(
    name: str,
    surface: Surface,
    count: int,
    face_density: float,
    rig: Rig,
    views: Sequence[View],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Points [K, 3], unit normals [K, 3] and distances of neighbours [K] on a mesh, denser on the face."""
    vertices, faces = torch.from_numpy(surface.vertices), torch.from_numpy(surface.faces).long()
    corners = vertices[faces]
    cross = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = 0.5 * cross.norm(dim=1)
    normal = torch.nn.functional.normalize(cross, dim=1)
    density = torch.ones_like(area)
    if name in ("eyes", "glints"):
        density = (normal[:, 2] > (0.0 if name == "eyes" else _GLINT_COSINE)).float()
        if name == "eyes":
            density[normal[:, 2] > _IRIS_COSINE] = _IRIS_DENSITY
    elif face_density != 1:
        density = 1 + (face_density - 1) * face_weight(rig, corners.mean(1))
    weights = area * density * _in_frame(corners.mean(1), views)
    chosen = torch.multinomial(weights.double(), count, replacement=True, generator=generator)
    points = (corners[chosen] * random_barycentric(count, generator)[..., None]).sum(1)
    spacing = (weights.sum() / (count * density[chosen].clamp_min(1e-6))).sqrt()
    return points, normal[chosen], spacing


def _in_frame(points: Tensor, views: Sequence[View]) -> Tensor:
    """Which points [K, 3] at rest are the bust's and in some picture's frame [K]."""
    inside = torch.zeros(len(points), dtype=torch.bool)
    for view in views:
        x, y, depth = view.camera.project(points).unbind(1)
        inside |= (x >= 0) & (x < view.camera.width) & (y >= 0) & (y < view.camera.height) & (depth > 0.01)
    return inside & above(points)


def face_weight(rig: Rig, points: Tensor) -> Tensor:
    """How much of the face points [K, 3] at rest are, 0..1: an ellipsoid around what units move, from the
    forehead to the chin, and nothing behind it."""
    reach = rig.expression_basis.unflatten(-1, (-1, 3)).norm(dim=-1).amax(0)
    mobile = reach > _STILL_FACE_M
    low, high = rig.template[mobile].amin(0), rig.template[mobile].amax(0)
    middle, half = (low + high) / 2, (high - low) / 2
    front = points[:, 2] > middle[2]
    distance = ((points - middle) / half)[:, :2].norm(dim=1)
    return torch.where(front, torch.exp(-(distance**6)), 0)


def _along(
    name: str, strands: Strands, count: int, rig: Rig, binder: Binder, generator: torch.Generator
) -> _Sown:
    """Gaussians along strands, drawn by length; each hangs where its strand is rooted, long hair's ends on
    neck and shoulders."""
    points = torch.from_numpy(strands.points)
    steps = points[:, 1:] - points[:, :-1]
    length = steps.norm(dim=2)
    # A head of hair has more segments than torch's sampling by weight takes.
    reached = length.flatten().double().cumsum(0)
    places = torch.rand(count, generator=generator, dtype=torch.float64) * reached[-1]
    chosen = torch.searchsorted(reached, places).clamp_max(len(reached) - 1)
    strand, segment = chosen // length.shape[1], chosen % length.shape[1]
    share = torch.rand(count, 1, generator=generator)
    middle = points[strand, segment] + share * steps[strand, segment]
    along = torch.nn.functional.normalize(steps[strand, segment], dim=1)
    # A strand's own width would leave gaps: each Gaussian stands for the strands around it.
    across = max(_STRAND_WIDTH_M[name], float(strands.radius.max()))
    longest = min(_STRAND_LENGTH_M[name], float(length.sum(1).median()) / 3)
    scales = torch.tensor([longest, across, 0.7 * across]).expand(count, 3).clone()
    outward = torch.nn.functional.normalize(middle - rig.template.mean(0), dim=1)
    normal = torch.nn.functional.normalize(outward - (outward * along).sum(1, keepdim=True) * along, dim=1)
    axes = torch.stack([along, torch.linalg.cross(normal, along), normal], 2)
    unique = torch.unique(strand)
    triangles = torch.zeros(len(points), dtype=torch.int64)
    triangles[unique] = binder(name, points[unique, 0])
    face_index = triangles[strand]
    if name == "hair" and (low := binder.hangs(middle, points[strand, -1])).any():
        face_index[low] = binder("hanging", middle[low])
    return _Sown(middle, axes, scales, face_index, PARTS[name], grows=False)


def evenly_apart(points: Tensor, spacing: Tensor, count: int) -> Tensor:
    """Rows of `count` of the points [K, 3] (all, if there are no more), as evenly spread as may be:
    the most crowded go first, by the distance of the nearest neighbour over what `spacing` [K] wants.

    Random points leave holes and clumps. Source: C. Yuksel, "Sample elimination for generating Poisson disk
    sample sets", 2015; here many at a time.
    """
    rows = np.arange(len(points))
    places, wanted = points.numpy(), spacing.numpy()
    while len(rows) > count:
        distance, near = cKDTree(places[rows]).query(places[rows], k=2)
        crowded = distance[:, 1] / wanted[rows]
        order = crowded.argsort(kind="stable")[: max(1, (len(rows) - count + 3) // 4)]
        gone = np.zeros(len(rows), bool)
        for row in order[: len(rows) - count]:
            gone[row] = not gone[near[row, 1]]  # of two that crowd each other one stays
        rows = rows[~gone]
    return torch.from_numpy(rows)


def _upright(normals: Tensor) -> Tensor:
    """Axes [K, 3, 3] whose third column is the normal."""
    helper = torch.zeros_like(normals)
    helper[torch.arange(len(normals)), normals.abs().argmin(1)] = 1.0
    first = torch.nn.functional.normalize(torch.linalg.cross(helper, normals), dim=1)
    return torch.stack([first, torch.linalg.cross(normals, first), normals], 2)


def _joined(parts: Sequence[Seeds]) -> Seeds:
    return Seeds(
        Gaussians.concat([part.gaussians for part in parts]),
        torch.cat([part.face_index for part in parts]),
        torch.cat([part.follows for part in parts]),
    )


@torch.no_grad()
def _seen(seeds: Seeds, rig: Rig, views: Sequence[View]) -> Tensor:
    """The most pixels, at the looks' size, that one of the views shows of each [N]."""
    binding = TriangleBinding(seeds.face_index)
    local, pose = localise(seeds.gaussians, binding, rig), binding.bound_to(rig)
    moments: dict[int, list[View]] = {}
    for view in views:
        moments.setdefault(view.time_index, []).append(view)
    # Half of the looks at rest, the others one of every turn and face: the mouth's inside is seen too.
    chosen = list(evenly(moments.pop(0, []), _LOOKS))
    chosen += [several[np.argmin([abs(_yaw(v)) for v in several])] for several in moments.values()]
    most = torch.zeros(seeds.num_seeds)
    renderer = cache(lambda width, height: training_renderer("cpu", width, height, geometry=False))
    for view in chosen:
        scale = _LOOK_PX / max(view.camera.width, view.camera.height)
        camera = view.camera.resized(round(view.camera.width * scale), round(view.camera.height * scale))
        posed = pose(local, rig(view.params), view.params.expression)
        most = torch.maximum(most, contributions(renderer(camera.width, camera.height), posed, camera)[0])
    return most


def _yaw(view: View) -> float:
    place = view.camera.position()
    return float(torch.atan2(place[0], place[2]))
