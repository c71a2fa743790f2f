"""What a made person is: shape, skin, eyes, brows, hair and clothes, whatever is then made of it.

Lengths are in millimetres, colours in sRGB 0..255, strengths about 0..1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Rgb = tuple[float, float, float]
HairStyle = Literal["bob", "short", "afro", "long", "bun"]


@dataclass(frozen=True)
class Shape:
    """The body: MakeHuman's targets, and the built-in head's identity modes added to what they make."""

    targets: Mapping[str, float] = field(default_factory=dict)  # none: the average adult; `@` is both sides
    modes: tuple[float, ...] = ()  # standard deviations


@dataclass(frozen=True)
class Skin:
    melanin: float  # 0.2 very fair .. 1.6 very deep
    haemoglobin: float = 0.55
    ruddiness: float = 1.0  # strength of cheeks, nose and chin
    freckles: int = 0  # how many
    stubble: float = 0.0
    lip_pigment: tuple[float, float] = (0.15, 1.0)  # melanin and haemoglobin added in the lips
    lip_gloss: float = 0.6
    oil: float = 1.0  # shine of forehead, nose and chin
    # MakeHuman's pictures and their shares. Detail is that of the largest.
    pictures: Mapping[str, float] = field(default_factory=lambda: {"young_lightskinned_female_diffuse3": 1.0})


@dataclass(frozen=True)
class Eyes:
    picture: str = "brown_eye"  # MakeHuman's
    lash_mm: float = 7.5  # of the upper lids' longest lashes
    iris_mm: float = 5.5  # radius
    pupil: float = 0.36  # radius, in the iris's
    iris_brightness: float = 1.0
    iris_saturation: float = 0.85
    iris_hue: float = 0.5  # 0.5 as in the picture; less is redder
    redness: float = 1.0  # of the white's veins and corners
    lids_cover_mm: tuple[float, float] = (1.1, -0.2)  # of the iris at rest: by the upper lid, by the lower


@dataclass(frozen=True)
class Teeth:
    colour: Rgb = (233, 224, 206)


@dataclass(frozen=True)
class Brows:
    density: float = 1.0
    width: float = 1.0
    lift: float = 0.0
    arch: float = 1.0
    melanin: float | None = None  # None: that of the head's hair
    grey: float = 0.0  # share of white hairs


@dataclass(frozen=True)
class Beard:
    """Hair on cheeks, chin and upper lip."""

    length_mm: float = 0.0  # none; 0.6 is a day's stubble, 10 a short beard
    density: float = 1.0
    grey: float = 0.0


# Height of the hairline at angles from the front, degrees.
HAIRLINE_DEG = (0, 15, 28, 42, 52, 62, 72, 84, 100, 115, 130, 180)
_HAIRLINE_MM = (66.5, 67.5, 69.5, 61.5, 45.5, 29.5, 11.5, 7.5, 7.5, -18.5, -48.5, -66.5)


@dataclass(frozen=True)
class Hair:
    style: HairStyle = "bob"
    white: float = 0.0  # share of white strands
    white_melanin: float = 0.03  # which those still have: blond among brown; 0.003 is snow
    melanin: float = 0.65  # of strands, 0 white .. 1 black
    redness: float = 0.4
    length_mm: float = 260.0
    level_mm: float = -92.0  # where a bob ends, from the eyes' height; -130 touches the shoulders
    parting_mm: float = 20.0  # to the person's left of the middle
    wave_mm: float = 1.2  # how far strands wave aside
    forehead_mm: float = 0.0  # how much higher the hairline lies over the forehead
    recession: float = 0.0  # of the hairline over the temples
    thinning: float = 0.0  # share of hairs lost on top
    sideburns: bool = False
    hairline_mm: tuple[float, ...] = _HAIRLINE_MM  # canonical, at HAIRLINE_DEG
    hairline_lift: float = 0.0  # over the forehead


@dataclass(frozen=True)
class Clothes:
    colour: Rgb = (62, 80, 92)
    item: str = "female_casualsuit01"  # MakeHuman's


@dataclass(frozen=True)
class Person:
    """One person; nobody real."""

    name: str
    summary: str
    seed: int  # of everything that varies without meaning
    shape: Shape
    skin: Skin
    age: float = 0.0  # depth of the lines at rest and of wrinkles
    eyes: Eyes = Eyes()
    teeth: Teeth = Teeth()
    brows: Brows = Brows()
    hair: Hair = Hair()
    beard: Beard = Beard()
    clothes: Clothes = Clothes()
