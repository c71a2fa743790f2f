"""A person drawn at random: what one seed decides about shape, colours, hair, clothes and light."""

from __future__ import annotations

import numpy as np

from render.making.people.light import random_light
from render.making.people.person import Brows, Clothes, Eyes, Hair, Person, Rgb, Shape, Skin

# Dark and light tone of the strands.
_HAIR_TONES: tuple[tuple[Rgb, Rgb], ...] = (
    ((22, 17, 15), (62, 46, 36)),
    ((40, 27, 20), (104, 72, 48)),
    ((84, 56, 34), (168, 124, 78)),
    ((118, 88, 56), (206, 172, 120)),
    ((66, 30, 18), (150, 74, 40)),
    ((70, 68, 66), (168, 166, 162)),
)
_IRISES: tuple[tuple[Rgb, Rgb], ...] = (
    ((104, 66, 30), (52, 36, 24)),
    ((120, 96, 52), (70, 66, 48)),
    ((124, 140, 148), (62, 84, 108)),
    ((118, 124, 84), (66, 78, 60)),
)
_GARMENTS: tuple[Rgb, ...] = ((62, 80, 92), (122, 46, 44), (54, 58, 70), (196, 188, 172), (70, 92, 66))
_HAIRLINE_MM = (66.5, 67.5, 69.5, 61.5, 45.5, 29.5, 14.5, 12.5, 10.5, -18.5, -48.5, -62.5)


def random_person(seed: int, num_modes: int) -> Person:
    """The person of one seed, under a light of its own; the same on every machine."""
    rng = np.random.default_rng([seed, 1])
    melanin = float(rng.choice([0.22, 0.35, 0.5, 0.75, 1.1]) * rng.uniform(0.9, 1.15))
    tones = _HAIR_TONES if melanin < 0.6 else _HAIR_TONES[:2]
    dark, light = tones[int(rng.integers(len(tones)))]
    irises = _IRISES if melanin < 0.6 else _IRISES[:2]
    inner, outer = irises[int(rng.integers(len(irises)))]
    # Drawn in this order, which the published protocol's people depend on.
    shape = Shape(modes=tuple(np.clip(0.75 * rng.normal(size=num_modes), -1.5, 1.5).tolist()))
    haemoglobin = float(rng.uniform(0.42, 0.6))
    age = float(rng.uniform(0.1, 0.8))
    return Person(
        name=f"random-{seed}",
        summary=f"nobody, drawn from seed {seed}",
        seed=seed,
        shape=shape,
        skin=Skin(
            melanin=melanin,
            haemoglobin=haemoglobin,
            freckles=int(rng.choice([0, 0, 90, 180])),
            stubble=float(rng.choice([0.0, 0.0, 0.4, 0.8])),
            lip_pigment=(0.14 - 0.2 * melanin, 0.55),
        ),
        age=age,
        eyes=Eyes(iris_inner=inner, iris_outer=outer, white=(206, 198, 194)),
        brows=Brows(colour=dark),
        hair=Hair(
            style="short",
            dark=dark,
            light=light,
            thickness=float(rng.uniform(7, 16)),
            length=float(rng.uniform(14, 30)),
            hairline_mm=_HAIRLINE_MM,
            hairline_lift=float(rng.uniform(-5, 7)),
            parting=float(rng.uniform(-0.7, 0.7)),
        ),
        clothes=Clothes(_GARMENTS[int(rng.integers(len(_GARMENTS)))], "round", float(rng.uniform(-6, 8))),
        light=random_light(seed),
    )
