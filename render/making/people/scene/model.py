"""What is path-traced of a person: surfaces, strands, materials, and where they are at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from render.making import makehuman
from render.making.items import Assets, Item
from render.making.people.person import Person
from render.making.people.scene.body import Body, Pose
from render.making.people.scene.strands.beard import grow_beard
from render.making.people.scene.strands.brows import grow_brows
from render.making.people.scene.strands.hair import grow_hair
from render.making.people.scene.strands.hanging import HangingStrands
from render.making.people.scene.strands.lashes import grow_lashes
from render.making.people.scene.strands.roots import Skin
from render.making.people.scene.strands.strand import Strands

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Material:
    """A shader of path_tracer.py, its numbers, and the picture it is painted with."""

    shader: str
    numbers: Mapping[str, float]
    picture: Path | None = None


@dataclass(frozen=True)
class Surface:
    """Polygons that a material covers; smoothed by Catmull and Clark's subdivision."""

    corners: NDArray[np.int32]  # [C] vertices, polygon after polygon
    counts: NDArray[np.int32]  # [F] corners of each polygon
    uv: NDArray[np.float32]  # [C, 2] origin bottom left
    material: Material
    subdivisions: int

    @classmethod
    def of(
        cls, polygons: list[list[int]], corner_uv: Array, material: Material, subdivisions: int = 1
    ) -> Surface:
        corners = np.array([c for polygon in polygons for c in polygon], np.int32)
        counts = np.array([len(polygon) for polygon in polygons], np.int32)
        return cls(corners, counts, corner_uv.astype(np.float32), material, subdivisions)


@dataclass(frozen=True)
class Moment:
    """Where everything is, by name; metres."""

    vertices: Mapping[str, NDArray[np.float32]]  # [V, 3] of surfaces
    placements: Mapping[str, Array]  # [4, 4] of strands that are rigid
    strands: Mapping[str, NDArray[np.float32]]  # [N, K, 3] of strands that move by themselves


class PersonModel:
    """A described person, ready to act."""

    def __init__(self, person: Person, assets: Assets) -> None:
        self.person = person
        self.body = Body(person.shape.targets)
        self._items: dict[str, Item] = {
            name: assets.item(f"{path}/{path.split('/')[1]}")
            for name, path in (
                ("clothes", f"clothes/{person.clothes.item}"),
                ("eyes", "eyes/high-poly"),
                ("teeth", "teeth/teeth_base"),
            )
        }
        self.surfaces = {
            "skin": self._skin(assets),
            **{name: self._worn(name, assets) for name in self._items},
        }
        hair = grow_hair(person, self.body, self.body.posed(Pose({})).clothes(self._items["clothes"]))
        skin = Skin(self.body)
        on_face = {
            "brows": grow_brows(person, skin),
            "lashes": grow_lashes(person, skin),
            "beard": grow_beard(person, skin),
        }
        hanging = {name: HangingStrands.of(strands, self.body) for name, strands in hair.items()}
        self._on_face = {name: bound for name, bound in on_face.items() if bound is not None}
        self._hanging = {name: strands for name, strands in hanging.items() if strands is not None}
        self.strands: dict[str, Strands] = {
            **hair,
            **{name: bound.rest for name, bound in self._on_face.items()},
        }
        self.strand_material = Material("hair", {"redness": person.hair.redness})

    def at(self, pose: Pose) -> Moment:
        """The person in a pose."""
        posed = self.body.posed(pose)
        items = self._items
        vertices = {
            "skin": posed.skin,
            "clothes": posed.clothes(items["clothes"]),
            "eyes": posed.eyeballs(items["eyes"]),
            "teeth": posed.on_head(items["teeth"]),
        }
        moved = {
            **{name: bound.on(vertices["skin"]) for name, bound in self._on_face.items()},
            **{name: strands.on(posed.turn) for name, strands in self._hanging.items()},
        }
        return Moment(
            {name: v.astype(np.float32) for name, v in vertices.items()},
            {name: posed.turn.placement for name in self.strands if name not in moved},
            moved,
        )

    def _skin(self, assets: Assets) -> Surface:
        base = makehuman.base_obj()
        covered = self._items["clothes"].hidden
        kept = [
            k
            for k, (polygon, group) in enumerate(zip(base.polygons, base.groups, strict=True))
            if group == "body" and not covered.issuperset(polygon)
        ]
        skin = self.person.skin
        (picture,) = skin.pictures
        return Surface.of(
            [base.polygons[k] for k in kept],
            base.uv[[corner for k in kept for corner in base.uv_polygons[k]]],
            Material("skin", {"brightness": skin.brightness}, assets.file(f"skins/textures/{picture}.png")),
        )

    def _worn(self, name: str, assets: Assets) -> Surface:
        person, item = self.person, self._items[name]
        picture, numbers = {
            "clothes": (
                f"clothes/{person.clothes.item}/{person.clothes.item}_diffuse.png",
                {"roughness": 0.8, "specular": 0.2},
            ),
            "eyes": (f"eyes/materials/{person.eyes.picture}.png", {"roughness": 0.08, "specular": 0.6}),
            "teeth": ("teeth/materials/teeth.png", {"roughness": 0.2, "specular": 0.5}),
        }[name]
        material = Material("painted", numbers, assets.file(picture))
        return Surface.of(item.obj.polygons, item.corner_uv, material)
