"""What is path-traced of a person: surfaces, strands, materials, and where they are at one moment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from render.making import makehuman
from render.making.items import Assets, Item
from render.making.people.fields import PIGMENTS
from render.making.people.head import build_head
from render.making.people.person import Clothes, Person
from render.making.people.scene.body import Body, Pose
from render.making.people.scene.clothes import OUTFITS, clothes_picture, material_numbers
from render.making.people.scene.hair import Strands, grow_hair
from render.making.people.scene.skin_pictures import skin_picture
from render.making.people.scene.skin_surface import face_box, skin_state, surface_picture
from render.making.people.scene.uv import canonical_body

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Material:
    """A shader of path_tracer.py, its numbers, and the picture it is painted with."""

    shader: str
    numbers: Mapping[str, float | Sequence[float]]
    picture: Path | None = None
    further: Mapping[str, Path] = field(default_factory=dict)  # pictures by what they hold


@dataclass(frozen=True)
class Surface:
    """Polygons that a material covers; smoothed by Catmull and Clark's subdivision."""

    corners: NDArray[np.int32]  # [C] vertices, polygon after polygon
    counts: NDArray[np.int32]  # [F] corners of each polygon
    uv: NDArray[np.float32]  # [C, 2] origin bottom left
    material: Material
    subdivisions: int
    rest: NDArray[np.float32] | None = None  # [V, 3] metres: where patterns that follow the surface are looked up

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
    # Pictures [H, W, 3] of surfaces that change with what a face does, row 0 at the top.
    states: Mapping[str, NDArray[np.float16]] = field(default_factory=dict)


class PersonModel:
    """A described person, ready to act."""

    def __init__(self, person: Person, assets: Assets, folder: Path | None = None) -> None:
        """`folder` keeps the pictures that are made for people; the user's cache without one."""
        self.person = person
        self._folder = folder or cache_folder()
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
            {name: v.astype(np.float32) for name, v in vertices.items()},
            {"hair": posed.turn.placement},
            {"skin": skin_state(pose.weights, self.person.age)},
        )

    def _skin(self, assets: Assets) -> Surface:
        base = makehuman.base_obj()
        covered = self._items["clothes"].hidden
        kept = [
            k
            for k, (polygon, group) in enumerate(zip(base.polygons, base.groups, strict=True))
            if group == "body" and not covered.issuperset(polygon)
        ]
        return replace(
            Surface.of(
                [base.polygons[k] for k in kept],
                base.uv[[corner for k in kept for corner in base.uv_polygons[k]]],
                skin_material(self.person, assets, self._folder),
            ),
            rest=(1e-3 * canonical_body()).astype(np.float32),
        )

    def _worn(self, name: str, assets: Assets) -> Surface:
        person, item = self.person, self._items[name]
        if name == "clothes":
            return replace(
                Surface.of(
                    item.obj.polygons, item.corner_uv, clothes_material(person.clothes, assets, self._folder)
                ),
                rest=(0.1 * item.obj.vertices).astype(np.float32),
            )
        picture, numbers = {
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


def skin_material(person: Person, assets: Assets, folder: Path) -> Material:
    """The person's skin: light goes less deep where there is more melanin."""
    melanin = person.skin.melanin
    radius_m = np.array([1.0, 0.36, 0.2]) * 1e-3 * (2.6 - 1.1 * min(melanin / 1.2, 1.0))
    return Material(
        "skin",
        {
            "radius_m": [float(r) for r in radius_m.round(6)],
            "blood": [float(b) for b in PIGMENTS[1]],
            "face_box": list(face_box()),
            "roughness": 0.1 * person.age,
        },
        skin_picture(person, assets, folder),
        {"surface": surface_picture(person, folder)},
    )


def clothes_material(clothes: Clothes, assets: Assets, folder: Path) -> Material:
    """The clothes in their colour."""
    item = clothes.item
    further = {}
    if OUTFITS[item].normal:
        further["normal"] = assets.file(f"clothes/{item}/{item}_normal.png")
    return Material("cloth", material_numbers(item), clothes_picture(clothes, assets, folder), further)


def cache_folder() -> Path:
    """Where pictures of people are kept when nobody says where."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "visavis" / "people"
