"""What is path-traced of a person: surfaces, strands, materials, and where they are at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from render.making import makehuman
from render.making.items import Assets, Item
from render.making.people.head import build_head
from render.making.people.person import Person
from render.making.people.scene.body import Body, Pose
from render.making.people.scene.hair import Strands, grow_hair

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
    """Where everything is: vertices [V, 3] of surfaces and [4, 4] placements of strands, by name; metres."""

    vertices: Mapping[str, NDArray[np.float32]]
    placements: Mapping[str, Array]


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
                ("lashes", f"eyelashes/{person.eyes.lashes}"),
                ("brows", f"eyebrows/{person.brows.card}"),
                ("teeth", "teeth/teeth_base"),
            )
        }
        self.surfaces = {
            "skin": self._skin(assets),
            **{name: self._worn(name, assets) for name in self._items},
        }
        self.strands: dict[str, Strands] = {"hair": grow_hair(person, build_head(person.shape))}
        self.strand_materials = {
            "hair": Material("hair", {"melanin": person.hair.melanin, "redness": person.hair.redness})
        }

    def at(self, pose: Pose) -> Moment:
        """The person in a pose."""
        posed = self.body.posed(pose)
        items = self._items
        vertices = {
            "skin": posed.skin,
            "clothes": posed.clothes(items["clothes"]),
            "eyes": posed.eyeballs(items["eyes"]),
            **{name: posed.on_head(items[name]) for name in ("lashes", "brows", "teeth")},
        }
        return Moment(
            {name: v.astype(np.float32) for name, v in vertices.items()}, {"hair": posed.turn.placement}
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
            "lashes": (
                f"eyelashes/{person.eyes.lashes}/{person.eyes.lashes}.png",
                {"roughness": 0.6, "specular": 0.1},
            ),
            "brows": (
                f"eyebrows/{person.brows.card}/{person.brows.card}.png",
                {"roughness": 0.7, "specular": 0.1},
            ),
            "teeth": ("teeth/materials/teeth.png", {"roughness": 0.2, "specular": 0.5}),
        }[name]
        material = Material("painted", numbers, assets.file(picture))
        # A card of lashes is its own outline: rounded it would shrink.
        return Surface.of(
            item.obj.polygons, item.corner_uv, material, subdivisions=0 if name == "lashes" else 1
        )
