"""A synthetic person: a described one with baked light, posed by the rig's parameters, seen by any camera."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.train.data.views import Picture
from engine.train.surface.raster import resolve, see
from render.camera import Camera
from render.making import make_head
from render.making.items import Assets
from render.making.people.head import rig_reference
from render.making.people.person import Person
from render.making.people.scene.baked_mesh import LEVELS, BakedMesh, outwards
from render.making.people.scene.baking import OPENED, baked_colours
from render.making.people.scene.body import Pose
from render.making.people.scene.model import Moment, PersonModel
from render.making.people.scene.skin_look import SkinLook
from render.normals import vertex_normals
from render.rigs.head import load_head
from render.rigs.params import RigParams

Array = NDArray[Any]  # float32; NumPy's stubs lose that in arithmetic

_SHADE_INSIDE = 0.55  # of the mouth's inside while lips are nearly shut, of its light in an open mouth
# Units that let light into a mouth, beside the jaw.
_PARTING = ("mouthUpperUp", "mouthLowerDown")


@dataclass(frozen=True)
class PosedHead:
    """One moment, for every camera: the surfaces' vertices [S, 3], then the ribbons' nodes."""

    points: Array  # [S, 3] metres, world
    normals: Array  # [S, 3]
    colours: Array  # [V, 3] display 0..1, of surfaces and ribbons
    strands: dict[str, Array]  # [N, K, 3] nodes of each set of ribbons


class SyntheticHead:
    """A person whose pictures the rig cannot express to the last: lids, lips, folds, hair, cloth, teeth.

    Light is part of the colours: it is that of a studio, and goes where the surface goes. Shapes are the
    rig's: a vertex of the body moves as `rig_reference(person.shape)` moves it. Building takes about 8 s
    where colours are baked already, a pose 0.25 s, a picture 0.15 s at 256x256.
    """

    def __init__(self, person: Person, folder: Path | None = None, model: PersonModel | None = None) -> None:
        """`folder` holds baked colours; the user's cache without one.

        Raises BlenderError where they have to be baked and cannot be, MakeHumanDataError without the data
        that people are made of.
        """
        self.person = person
        self.model = model or PersonModel(person, Assets.open())
        self.mesh = BakedMesh(self.model)
        self.rig = rig_reference(person.shape).rebuild(load_head())
        colours = baked_colours(self.model, self.mesh, folder)
        self._rest = colours.rest.astype(np.float32) / 255
        self._opened = colours.opened.astype(np.float32) / 255
        self._skin = self.mesh.rows["skin"]
        self._num_surface = sum(self.mesh.sizes[name] for name in LEVELS)
        surface = (self.mesh.triangles < self._num_surface).all(1)
        self._surface_triangles = self.mesh.triangles[surface]
        self._look = SkinLook(person.age, self.mesh.surfaces["skin"].vertex_uv())

    def pose(self, params: RigParams) -> PosedHead:
        """Geometry and colours of one moment."""
        weights = dict(zip(self.rig.expression_names, params.expression.tolist(), strict=True))
        weights = {name: weight for name, weight in weights.items() if weight}
        moment = self.model.at(Pose(weights))
        with torch.inference_mode():
            transforms = self.rig(params).joint_transforms.numpy()
        vertices = self._turned(moment, transforms)
        points = np.concatenate([*self.mesh.surface_points(vertices).values()])
        normals = vertex_normals(points, self._surface_triangles)
        height, tint = self._look.at(moment.states["skin"])
        points[self._skin] += height[:, None] * normals[self._skin]
        normals = vertex_normals(points, self._surface_triangles)
        colours = self._rest.copy()
        share = self._share_opened(weights)[:, None]
        colours[self._skin] += share * (self._opened - colours[self._skin])
        colours[self._skin] *= tint
        for name in ("teeth", "gums", "tongue"):
            colours[self.mesh.rows[name]] *= _SHADE_INSIDE + (1 - _SHADE_INSIDE) * _opening(weights)
        return PosedHead(points, normals, colours, self._strands(moment, transforms))

    def picture(self, posed: PosedHead, camera: Camera, supersampling: int = 3) -> Picture:
        """What a camera sees, with depth and normals."""
        eye = camera.position().numpy()
        points, normals = [posed.points], [posed.normals]
        for name, nodes in posed.strands.items():
            points.append(self.mesh.ribbons[name].vertices(nodes, eye - nodes))
            normals.append(np.repeat(outwards(nodes, np.gradient(nodes, axis=1)).reshape(-1, 3), 2, 0))
        px = camera.project(torch.from_numpy(np.concatenate(points))).numpy()
        values = np.concatenate([posed.colours, np.concatenate(normals), px[:, 2:]], 1)
        samples = see(px, self.mesh.triangles, camera.width, camera.height, supersampling)
        mean, cover = resolve(samples, px, self.mesh.triangles, values)
        normal = mean[..., 3:6]
        normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
        return Picture(
            rgb=torch.from_numpy(np.ascontiguousarray(mean[..., :3])),
            mask=torch.from_numpy(cover),
            depth=torch.from_numpy(np.ascontiguousarray(mean[..., 6])),
            normal=torch.from_numpy(np.ascontiguousarray(normal)),
        )

    def _turned(self, moment: Moment, transforms: Array) -> dict[str, Array]:
        """The moment's vertices with the rig's joints turned; eyes, teeth and tears go with the skull."""
        vertices = {name: _moved(points, self._head(transforms)) for name, points in moment.vertices.items()}
        blended = np.einsum("vj,jrc->vrc", self._body_weights, transforms)
        vertices["skin"] = _moved(moment.vertices["skin"], blended)
        vertices["clothes"] = _moved(moment.vertices["clothes"], transforms[0])
        return vertices

    def _strands(self, moment: Moment, transforms: Array) -> dict[str, Array]:
        nodes = {}
        for name, points in self.mesh.strand_points(self.model, moment).items():
            turned = _moved(points, self._head(transforms))
            if name in self.model.hanging:
                share = self.mesh.ribbons[name].of_all(self.model.hanging[name].shares)[..., None]
                lying = _moved(points, transforms[0])
                turned = lying + share * (turned - lying)
            nodes[name] = turned
        return nodes

    def _head(self, transforms: Array) -> Array:
        return np.asarray(transforms[self.rig.joint_names.index("head")])

    @cached_property
    def _body_weights(self) -> Array:
        """How far each vertex of the whole body follows each joint [N, J]; below the rig, its root."""
        source = make_head.topology().source_vertices
        weights = np.zeros((len(self.model.body.rest), len(self.rig.joint_names)), np.float32)
        weights[:, 0] = 1
        weights[source] = self.rig.skin_weights.numpy()
        return weights

    @cached_property
    def _shares(self) -> dict[str, Array]:
        """How far it is each unit of `OPENED` that moves a vertex of the skin, [S]; they sum to 1 or less."""
        fine = self.mesh.surfaces["skin"].matrix
        rest = self.model.body.rest

        def moved(unit: str, weight: float) -> Array:
            acting = self.model.body.posed(Pose({unit: weight})).acting
            return np.linalg.norm(fine @ (acting - rest).astype(np.float32), axis=1)

        by_unit = {unit: moved(unit, weight) for unit, weight in OPENED.items()}
        total = sum(by_unit.values(), np.full(fine.shape[0], 2e-4))
        return {unit: amount / total for unit, amount in by_unit.items()}

    def _share_opened(self, weights: dict[str, float]) -> Array:
        """How far each vertex of the skin is lit as in a face with shut eyes and an open mouth, [S]."""
        total = np.zeros(len(self._opened), np.float32)
        for unit, share in self._shares.items():
            acting = _opening(weights) if unit == "jawOpen" else weights.get(unit, 0.0)
            total += min(max(acting, 0.0), 1.0) * share
        return total


def _opening(weights: dict[str, float]) -> float:
    """How open a mouth is, 0..1."""
    parted = sum(weights.get(f"{unit}{side}", 0.0) for unit in _PARTING for side in ("Left", "Right"))
    return float(min(weights.get("jawOpen", 0.0) / OPENED["jawOpen"] + 0.25 * parted, 1.0))


def _moved(points: Array, transform: Array) -> Array:
    """Points [..., 3] by one transform [3, 4] or each by its own."""
    turned = np.einsum("...rc,...c->...r", transform[..., :3], points)
    return np.asarray(turned + transform[..., 3], np.float32)
