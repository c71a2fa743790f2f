"""A synthetic person: what one seed decides about shape, colours, hair and clothes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rgb = tuple[float, float, float]  # sRGB 0..255

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


@dataclass(frozen=True)
class Person:
    """Lengths in millimetres, colours sRGB 0..255, strengths about 0..1."""

    seed: int
    shape: Array  # [S] identity weights of the built-in head
    melanin: float
    haemoglobin: float
    age: float  # depth of the lines at rest and of wrinkles
    freckles: float
    stubble: float
    hair_dark: Rgb
    hair_light: Rgb
    hair_thickness: float  # of the cap above the skull
    hair_length: float  # of the strands that leave the cap
    hairline_lift: float
    parting: float  # angle of the strands' sweep over the forehead, radians
    iris_inner: Rgb
    iris_outer: Rgb
    garment: Rgb
    collar: float  # height of the collar


def make_person(seed: int, num_modes: int) -> Person:
    """The person of one seed; the same on every machine."""
    rng = np.random.default_rng([seed, 1])
    melanin = float(rng.choice([0.22, 0.35, 0.5, 0.75, 1.1]) * rng.uniform(0.9, 1.15))
    tones = _HAIR_TONES if melanin < 0.6 else _HAIR_TONES[:2]
    dark, light = tones[int(rng.integers(len(tones)))]
    irises = _IRISES if melanin < 0.6 else _IRISES[:2]
    inner, outer = irises[int(rng.integers(len(irises)))]
    return Person(
        seed=seed,
        shape=np.clip(0.75 * rng.normal(size=num_modes), -1.5, 1.5),
        melanin=melanin,
        haemoglobin=float(rng.uniform(0.42, 0.6)),
        age=float(rng.uniform(0.1, 0.8)),
        freckles=float(rng.choice([0.0, 0.0, 0.5, 1.0])),
        stubble=float(rng.choice([0.0, 0.0, 0.4, 0.8])),
        hair_dark=dark,
        hair_light=light,
        hair_thickness=float(rng.uniform(7, 16)),
        hair_length=float(rng.uniform(14, 30)),
        hairline_lift=float(rng.uniform(-5, 7)),
        parting=float(rng.uniform(-0.7, 0.7)),
        iris_inner=inner,
        iris_outer=outer,
        garment=_GARMENTS[int(rng.integers(len(_GARMENTS)))],
        collar=float(rng.uniform(-6, 8)),
    )
