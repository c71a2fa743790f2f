"""A person as a mesh whose vertices carry baked light: rounded surfaces, few broad ribbons for strands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.making.people.fields import unit
from render.making.people.scene.body import Pose
from render.making.people.scene.model import Moment, PersonModel
from render.making.people.scene.strands.strand import Strands
from render.making.people.scene.subdivision import Rounded, rounded
from render.making.people.scene.surface import Surface

Array = NDArray[np.float32]

# How often each surface is subdivided: a vertex every millimetre of skin, every three of cloth. What only
# bends light (tears) is left out; irises are seen through the eyeballs, whose colours hold them.
LEVELS = {"skin": 2, "clothes": 3, "eyeballs": 1, "caruncles": 1, "teeth": 1, "gums": 1, "tongue": 1}
BENEATH = {"irises": 1}
_INSIDE_OUT = ("caruncles",)  # whose polygons face inwards: a baked side is the one that faces out
_BOTTOM_M = -0.285  # where the rig ends
_NODES = {"hair": 36000, "undercoat": 18000, "brows": 5000, "beard": 8000}  # kept at most of a set of strands
_UNSEEN = ("fine", "parting")  # down on the skin, and what fills up the undercoat
_OTHER_NODES = 3000
_MOST_ALONG = 10  # nodes of a strand
_WIDEST = 14.0  # times a strand's own width; fewer strands are broader, so that as much is covered


@dataclass(frozen=True)
class Ribbons:
    """Some of a set of strands, each for several: nodes [N, K] with a vertex to either side."""

    kept: NDArray[np.int64]  # [N] rows of the person's strands
    along: NDArray[np.int64]  # [K] their nodes
    half_width: Array  # [N, K] metres
    melanin: Array  # [N]

    @classmethod
    def of(cls, strands: Strands, most_nodes: int, seed: int) -> Ribbons:
        count, nodes = strands.points.shape[:2]
        along = np.linspace(0, nodes - 1, min(nodes, _MOST_ALONG)).round().astype(np.int64)
        kept = np.random.default_rng(seed).permutation(count)[: max(1, most_nodes // len(along))]
        kept.sort()
        wider = min(count / len(kept), _WIDEST)
        radius = strands.radius[kept[:, None], along]
        return cls(kept, along, wider * radius, strands.melanin[kept])

    @property
    def nodes(self) -> int:
        """K."""
        return len(self.along)

    def of_all(self, values: NDArray[np.floating[Any]]) -> Array:
        """What the ribbons keep of values [all strands, all nodes, ...]."""
        return np.asarray(values[self.kept[:, None], self.along], np.float32)

    @property
    def triangles(self) -> NDArray[np.int32]:
        """Two of each step [2 N (K - 1), 3]; vertex 2 (n K + k) is left of node k, the next one right.

        From the first to the last of a triangle's corners it is along the strand, which is how Cycles finds
        a fibre's direction on a mesh.
        """
        node = (np.arange(len(self.kept))[:, None] * self.nodes + np.arange(self.nodes - 1)).ravel()
        left, right = 2 * node, 2 * node + 1
        both = [np.stack([left + 2, right, left], 1), np.stack([right, left + 2, right + 2], 1)]
        return np.concatenate(both).astype(np.int32)

    def vertices(self, points: Array, facing: Array) -> Array:
        """Vertices [2 N K, 3] with nodes at `points` [N, K, 3], turned to directions `facing` [N, K, 3]."""
        along = np.gradient(points, axis=1)
        aside = self.half_width[..., None] * unit(np.cross(along, facing))
        return np.stack([points - aside, points + aside], 2).reshape(-1, 3).astype(np.float32)


class BakedMesh:
    """All that is drawn of a person; its V vertices are those of `LEVELS` in order, then the ribbons'."""

    def __init__(self, model: PersonModel) -> None:
        rest = model.at(Pose({}))
        self.surfaces = {
            name: _rounded(model.surfaces[name], rest.vertices[name], levels)
            for name, levels in (LEVELS | BENEATH).items()
        }
        for name in _INSIDE_OUT:
            self.surfaces[name] = self.surfaces[name].turned_over()
        self.ribbons = {
            name: Ribbons.of(strands, _NODES.get(name, _OTHER_NODES), model.person.seed)
            for name, strands in model.strands.items()
            if name not in _UNSEEN
        }
        self.sizes = {name: self.surfaces[name].matrix.shape[0] for name in LEVELS}
        self.sizes |= {name: 2 * ribbons.half_width.size for name, ribbons in self.ribbons.items()}
        ends = np.cumsum([0, *self.sizes.values()])
        self.rows = {name: slice(*ends[k : k + 2].tolist()) for k, name in enumerate(self.sizes)}
        parts = {name: self.surfaces[name].triangles for name in LEVELS}
        parts |= {name: ribbons.triangles for name, ribbons in self.ribbons.items()}
        self.triangles = np.concatenate([parts[name] + self.rows[name].start for name in parts]).astype(
            np.int32
        )

    def surface_points(self, vertices: Mapping[str, Array]) -> dict[str, Array]:
        """Rounded surfaces' vertices [N, 3] with those of the person's surfaces as given."""
        return {name: self.surfaces[name].matrix @ vertices[name] for name in LEVELS}

    def strand_points(self, model: PersonModel, moment: Moment) -> dict[str, Array]:
        """Nodes [N, K, 3] of the ribbons at a moment."""
        points = {}
        for name, ribbons in self.ribbons.items():
            if name in moment.strands:
                points[name] = ribbons.of_all(moment.strands[name])
            else:
                turn = moment.placements[name].astype(np.float32)
                points[name] = ribbons.of_all(model.strands[name].points) @ turn[:3, :3].T + turn[:3, 3]
        return points


def outwards(points: Array, along: Array) -> Array:
    """Directions [N, K, 3] out of the head and across strands that run `along` [N, K, 3]."""
    out = points - np.array([0.0, 0.03, 0.0], np.float32)
    tangent = unit(along)
    return np.asarray(unit(out - (out * tangent).sum(-1, keepdims=True) * tangent), np.float32)


def _rounded(surface: Surface, rest: Array, levels: int) -> Rounded:
    """What of a surface lies above the rig's bottom."""
    first = np.cumsum(surface.counts) - surface.counts
    kept = np.add.reduceat(rest[surface.corners, 1], first) / surface.counts > _BOTTOM_M
    corner = np.repeat(kept, surface.counts)
    return rounded(surface.corners[corner], surface.counts[kept], surface.uv[corner], len(rest), levels)


def fine_surface(surface: Surface, fine: Rounded) -> Surface:
    """The rounded mesh as a surface that is not subdivided any more."""
    return replace(
        surface,
        corners=fine.quads.ravel().astype(np.int32),
        counts=np.full(len(fine.quads), 4, np.int32),
        uv=fine.corner_uv,
        subdivisions=0,
        rest=None if surface.rest is None else np.asarray(fine.matrix @ surface.rest, np.float32),
    )
