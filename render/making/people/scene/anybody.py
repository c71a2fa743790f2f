"""People for path-traced pictures, drawn at random from MakeHuman's targets and pictures."""

from __future__ import annotations

import numpy as np

from render.making.make_head import random_targets
from render.making.people.person import Brows, Clothes, Eyes, Hair, HairStyle, Person, Rgb, Shape, Skin, Teeth

_SKINS = {
    "female": ("young_lightskinned_female_diffuse2", "young_lightskinned_female_diffuse3",
               "middleage_lightskinned_female_diffuse2"),
    "male": ("young_lightskinned_male_diffuse", "young_lightskinned_male_diffuse2",
             "middleage_lightskinned_male_diffuse", "young_darkskinned_male_diffuse",
             "middleage_darkskinned_male_diffuse", "old_darkskinned_male_diffuse"),
}  # fmt: skip
_CLOTHES = {
    "female": ("female_casualsuit01", "female_sportsuit01", "female_elegantsuit01"),
    "male": ("male_casualsuit02", "male_casualsuit04", "male_casualsuit06", "male_elegantsuit01"),
}
_COLOURS: tuple[Rgb, ...] = (
    (52, 62, 78), (118, 48, 46), (70, 74, 80), (186, 180, 168), (74, 92, 70), (150, 116, 66), (38, 38, 42),
)  # fmt: skip
_STYLES: dict[str, HairStyle] = {"female": "bob", "male": "short"}
_IRISES = ("brown_eye", "brownlight_eye", "blue_eye", "green_eye", "grey_eye")
_TEETH = ((242.0, 236.0, 222.0), (218.0, 202.0, 170.0))  # the whitest and the yellowest
_NUM_BROWS, _NUM_LASHES = 12, 4


def anybody(seed: int) -> Person:
    """The person of one seed; the same on every machine."""
    rng = np.random.default_rng([seed, 2])
    sex = str(rng.choice(("female", "male")))
    picture = str(rng.choice(_SKINS[sex]))
    dark = "darkskinned" in picture
    # A sequence of its own: what was drawn before there were these stays the same.
    details = np.random.default_rng([seed, 3])
    return Person(
        name=f"anybody-{seed}",
        summary=f"nobody, drawn from seed {seed}",
        seed=seed,
        shape=Shape(random_targets(rng)),
        skin=Skin(
            melanin=float(rng.uniform(0.9, 1.9) if dark else rng.uniform(0.15, 0.85)),
            haemoglobin=float(rng.uniform(0.42, 0.68)),
            ruddiness=float(rng.uniform(0.5, 1.5)),
            freckles=int(rng.choice([0, 0, 80, 400])),
            stubble=float(rng.uniform(0, 0.8) if sex == "male" else 0),
            lip_gloss=float(rng.uniform(0.2, 1)),
            pictures={picture: 1.0},
        ),
        age=float(rng.uniform(0.05, 0.8)),
        eyes=Eyes(
            picture=str(rng.choice(_IRISES[:2] if dark else _IRISES)),
            lashes=f"eyelashes{rng.integers(1, _NUM_LASHES + 1):02d}",
            iris_mm=float(details.uniform(5.3, 5.9)),
            pupil=float(details.uniform(0.26, 0.46)),
            iris_brightness=float(details.uniform(0.55, 1.05)),
            iris_saturation=float(details.uniform(0.45, 0.95)),
            iris_hue=float(details.uniform(0.5, 0.54)),
            redness=float(details.uniform(0.6, 1.6)),
            lids_cover_mm=(float(details.uniform(0.7, 2.2)), float(details.uniform(-0.6, 0.5))),
        ),
        teeth=Teeth(_between(*_TEETH, float(details.uniform()))),
        brows=Brows(card=f"eyebrow{rng.integers(1, _NUM_BROWS + 1):03d}"),
        hair=Hair(
            style=_STYLES[sex],
            melanin=float(rng.uniform(0.85, 0.98) if dark else rng.uniform(0.3, 0.95)),
            redness=float(rng.uniform(0.2, 0.7)),
        ),
        clothes=Clothes(
            colour=_COLOURS[int(rng.integers(len(_COLOURS)))], item=str(rng.choice(_CLOTHES[sex]))
        ),
    )


def _between(first: Rgb, second: Rgb, share: float) -> Rgb:
    red, green, blue = (a + share * (b - a) for a, b in zip(first, second, strict=True))
    return red, green, blue
