"""What a person's skin and clothes are covered with."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from render.making.items import Assets
from render.making.people.fields import PIGMENTS
from render.making.people.person import Clothes, Person
from render.making.people.scene.clothes import OUTFITS, clothes_picture, material_numbers
from render.making.people.scene.skin_pictures import skin_picture
from render.making.people.scene.skin_surface import face_box, surface_picture
from render.making.people.scene.surface import Material


def skin_material(person: Person, assets: Assets, folder: Path) -> Material:
    """The person's skin: light goes less deep where there is more melanin."""
    melanin = person.skin.melanin
    radius_m = np.array([1.0, 0.36, 0.2]) * 1e-3 * (1.7 - 0.7 * min(melanin / 1.2, 1.0))
    return Material(
        "skin",
        {
            "radius_m": [float(r) for r in radius_m.round(6)],
            "blood": [float(b) for b in PIGMENTS[1]],
            "face_box": list(face_box()),
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
