"""What is path-traced of a person: surfaces, strands, materials, and where they are at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from render.making import makehuman
from render.making.items import Assets, Item
from render.making.people.head import build_head
from render.making.people.person import Person
from render.making.people.scene.body import Body, Pose
from render.making.people.scene.eyes import eye_surfaces, eye_vertices
from render.making.people.scene.hair import Strands, grow_hair
from render.making.people.scene.materials import cache_folder, clothes_material, skin_material
from render.making.people.scene.mouth import Mouth
from render.making.people.scene.skin_surface import skin_state
from render.making.people.scene.surface import Material, Surface
from render.making.people.scene.uv import canonical_body

Array = NDArray[np.float64]


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
        self.body = Body(person.shape, person.eyes)
        self._mouth = Mouth(self.body.rest, assets)
        self._items: dict[str, Item] = {
            name: assets.item(f"{path}/{path.split('/')[1]}")
            for name, path in (
                ("clothes", f"clothes/{person.clothes.item}"),
                ("lashes", f"eyelashes/{person.eyes.lashes}"),
                ("brows", f"eyebrows/{person.brows.card}"),
            )
        }
        self.surfaces = {
            "skin": self._skin(assets),
            **{name: self._worn(name, assets) for name in self._items},
            **eye_surfaces(person.eyes, self.body, assets),
            **self._mouth.surfaces(person.teeth, assets),
        }
        self.strands: dict[str, Strands] = {"hair": grow_hair(person, build_head(person.shape))}
        self.strand_materials = {
            "hair": Material("hair", {"melanin": person.hair.melanin, "redness": person.hair.redness})
        }

    def at(self, pose: Pose) -> Moment:
        """The person in a pose."""
        posed = self.body.posed(pose)
        posed = replace(posed, acting=self._mouth.lifted(posed.acting))
        mouth = self._mouth.vertices(posed.acting, pose.weights.get("tongueOut", 0.0))
        items = self._items
        vertices = {
            "skin": posed.skin,
            "clothes": posed.clothes(items["clothes"]),
            **eye_vertices(posed),
            **{name: posed.turn.of_head(points) for name, points in mouth.items()},
            **{name: posed.on_head(items[name]) for name in ("lashes", "brows")},
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
            "lashes": (
                f"eyelashes/{person.eyes.lashes}/{person.eyes.lashes}.png",
                {"roughness": 0.6, "specular": 0.1},
            ),
            "brows": (
                f"eyebrows/{person.brows.card}/{person.brows.card}.png",
                {"roughness": 0.7, "specular": 0.1},
            ),
        }[name]
        material = Material("painted", numbers, assets.file(picture))
        # A card of lashes is its own outline: rounded it would shrink.
        return Surface.of(
            item.obj.polygons, item.corner_uv, material, subdivisions=0 if name == "lashes" else 1
        )
