"""What is path-traced of a person: surfaces, strands, materials, and where they are at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from render.making import makehuman
from render.making.items import Assets, Item
from render.making.people.person import Person
from render.making.people.scene.body import Body, Pose
from render.making.people.scene.eyes import eye_surfaces, eye_vertices
from render.making.people.scene.materials import cache_folder, clothes_material, skin_material
from render.making.people.scene.mouth import Mouth
from render.making.people.scene.skin_surface import skin_state
from render.making.people.scene.strands.beard import grow_beard
from render.making.people.scene.strands.brows import grow_brows
from render.making.people.scene.strands.hair import grow_hair
from render.making.people.scene.strands.hanging import HangingStrands
from render.making.people.scene.strands.lashes import grow_lashes
from render.making.people.scene.strands.roots import Skin
from render.making.people.scene.strands.strand import Strands
from render.making.people.scene.surface import Material, Surface
from render.making.people.scene.uv import canonical_body

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Moment:
    """Where everything is, by name; metres."""

    vertices: Mapping[str, NDArray[np.float32]]  # [V, 3] of surfaces
    placements: Mapping[str, Array]  # [4, 4] of strands that are rigid
    strands: Mapping[str, NDArray[np.float32]]  # [N, K, 3] of strands that move by themselves
    # Pictures [H, W, 3] of surfaces that change with what a face does, row 0 at the top.
    states: Mapping[str, NDArray[np.float16]]


class PersonModel:
    """A described person, ready to act."""

    def __init__(self, person: Person, assets: Assets, folder: Path | None = None) -> None:
        """`folder` keeps the pictures that are made for people; the user's cache without one."""
        self.person = person
        self.body = Body(person.shape, person.eyes)
        self._mouth = Mouth(self.body.rest, assets)
        self._clothes = assets.item(f"clothes/{person.clothes.item}/{person.clothes.item}")
        pictures = folder or cache_folder()
        self.surfaces = {
            "skin": _skin(person, self._clothes, assets, pictures),
            "clothes": replace(
                Surface.of(
                    self._clothes.obj.polygons,
                    self._clothes.corner_uv,
                    clothes_material(person.clothes, assets, pictures),
                ),
                rest=(0.1 * self._clothes.obj.vertices).astype(np.float32),
            ),
            **eye_surfaces(person.eyes, self.body, assets),
            **self._mouth.surfaces(person.teeth, assets),
        }
        hair = grow_hair(person, self.body, self.body.posed(Pose({})).clothes(self._clothes))
        skin = Skin(self.body)
        on_face = {
            "brows": grow_brows(person, skin),
            "lashes": grow_lashes(person, skin),
            "beard": grow_beard(person, skin),
        }
        hanging = {name: HangingStrands.of(strands, self.body) for name, strands in hair.items()}
        self._on_face = {name: bound for name, bound in on_face.items() if bound is not None}
        # Hair that lies on the shoulders; the rest is rigid with the head or follows the skin.
        self.hanging = {name: strands for name, strands in hanging.items() if strands is not None}
        self.strands: dict[str, Strands] = {
            **hair,
            **{name: bound.rest for name, bound in self._on_face.items()},
        }
        self.strand_material = Material("hair", {"redness": person.hair.redness})

    def at(self, pose: Pose) -> Moment:
        """The person in a pose."""
        posed = self.body.posed(pose)
        posed = replace(posed, acting=self._mouth.lifted(posed.acting))
        mouth = self._mouth.vertices(posed.acting, pose.weights.get("tongueOut", 0.0))
        vertices = {
            "skin": posed.skin,
            "clothes": posed.clothes(self._clothes),
            **eye_vertices(posed),
            **{name: posed.turn.of_head(points) for name, points in mouth.items()},
        }
        moved = {
            **{name: bound.on(vertices["skin"]) for name, bound in self._on_face.items()},
            **{name: strands.on(posed.turn) for name, strands in self.hanging.items()},
        }
        return Moment(
            {name: v.astype(np.float32) for name, v in vertices.items()},
            {name: posed.turn.placement for name in self.strands if name not in moved},
            moved,
            {"skin": skin_state(pose.weights, self.person.age)},
        )


def _skin(person: Person, clothes: Item, assets: Assets, pictures: Path) -> Surface:
    """The base mesh's skin that no cloth covers."""
    base = makehuman.base_obj()
    kept = [
        k
        for k, (polygon, group) in enumerate(zip(base.polygons, base.groups, strict=True))
        if group == "body" and not clothes.hidden.issuperset(polygon)
    ]
    surface = Surface.of(
        [base.polygons[k] for k in kept],
        base.uv[[corner for k in kept for corner in base.uv_polygons[k]]],
        skin_material(person, assets, pictures),
    )
    return replace(surface, rest=(1e-3 * canonical_body()).astype(np.float32))
