"""People for path-traced pictures, drawn at random from MakeHuman's targets and pictures."""

from __future__ import annotations

import numpy as np

from render.making.make_head import random_targets
from render.making.people.person import Brows, Clothes, Eyes, Hair, HairStyle, Person, Shape, Skin

_SKINS = {
    "female": ("young_lightskinned_female_diffuse2", "young_lightskinned_female_diffuse3",
               "middleage_lightskinned_female_diffuse2"),
    "male": ("young_lightskinned_male_diffuse", "young_lightskinned_male_diffuse2",
             "middleage_lightskinned_male_diffuse", "young_darkskinned_male_diffuse",
             "middleage_darkskinned_male_diffuse", "old_darkskinned_male_diffuse"),
}  # fmt: skip
_CLOTHES = {
    "female": ("female_casualsuit01", "female_sportsuit01"),
    "male": ("male_casualsuit02", "male_casualsuit04", "male_casualsuit06"),
}
_STYLES: dict[str, HairStyle] = {"female": "bob", "male": "short"}
_IRISES = ("brown_eye", "brownlight_eye", "blue_eye", "green_eye", "grey_eye")
_LASHES_MM = {"female": (7.5, 10.0), "male": (5.5, 7.5)}


def anybody(seed: int) -> Person:
    """The person of one seed; the same on every machine."""
    rng = np.random.default_rng([seed, 2])
    sex = str(rng.choice(("female", "male")))
    picture = str(rng.choice(_SKINS[sex]))
    dark = "darkskinned" in picture
    return Person(
        name=f"anybody-{seed}",
        summary=f"nobody, drawn from seed {seed}",
        seed=seed,
        shape=Shape(random_targets(rng)),
        skin=Skin(
            melanin=1.2 if dark else 0.4, pictures={picture: 1.0}, brightness=float(rng.uniform(0.45, 1))
        ),
        eyes=Eyes(
            picture=str(rng.choice(_IRISES[:2] if dark else _IRISES)),
            lash_mm=float(rng.uniform(*_LASHES_MM[sex])),
        ),
        brows=Brows(
            density=float(rng.uniform(0.6, 1.2)),
            width=float(rng.uniform(0.75, 1.4)),
            lift=float(rng.uniform(-2, 2)),
            arch=float(rng.uniform(0.2, 2)),
        ),
        hair=Hair(
            style=_STYLES[sex],
            length_mm=260 if sex == "female" else float(rng.uniform(25, 50)),
            melanin=float(rng.uniform(0.85, 0.98) if dark else rng.uniform(0.3, 0.95)),
            redness=float(rng.uniform(0.2, 0.7)),
        ),
        clothes=Clothes(item=str(rng.choice(_CLOTHES[sex]))),
    )
