"""The built-in people: nobody real, each a set of shape targets, pigments and styles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Rgb = tuple[float, float, float]  # sRGB 0..255

HairStyle = Literal["bob", "short", "afro"]
Neckline = Literal["crew", "vee"]


@dataclass(frozen=True)
class Person:
    """What makes one person: lengths in millimetres, colours sRGB 0..255, strengths about 0..1."""

    name: str
    summary: str
    targets: dict[str, float]  # MakeHuman targets on the base mesh; `@` means both sides
    melanin: float  # 0.2 very fair .. 1.6 very deep
    haemoglobin: float = 0.55
    ruddiness: float = 1.0  # strength of cheeks, nose and chin
    freckles: int = 0
    age: float = 0.0  # 0..1 depth of the lines at rest
    stubble: float = 0.0  # 0..1
    lip_pigment: tuple[float, float] = (0.15, 1.0)  # melanin and haemoglobin added in the lips
    lip_gloss: float = 1.0
    lash_strength: float = 1.0
    liner: float = 0.6  # darkness of the upper lid's rim
    iris_inner: Rgb = (104, 66, 30)
    iris_outer: Rgb = (70, 52, 30)
    brow_colour: Rgb = (60, 42, 32)
    brow_density: float = 1.0
    brow_width: float = 1.0
    brow_lift: float = 0.0
    brow_arch: float = 1.0
    hair: HairStyle = "bob"
    hair_dark: Rgb = (46, 30, 22)
    hair_light: Rgb = (122, 82, 52)
    hairline_lift: float = 0.0
    grey: float = 0.0  # share of white strands
    garment: Rgb = (62, 80, 92)
    neckline: Neckline = "crew"
    seed: int = 0


VERA = Person(
    name="vera",
    summary="a woman of about 28 with light olive skin and a brown bob",
    targets={
        "macrodetails/caucasian-female-young": 0.50,
        "macrodetails/african-female-young": 0.20,
        "macrodetails/asian-female-young": 0.30,
        "macrodetails/universal-female-young-averagemuscle-averageweight": 0.8,
        "macrodetails/universal-female-young-averagemuscle-minweight": 0.2,
        "head/head-oval": 0.35,
        "head/head-fat-decr": 0.45,
        "head/head-scale-horiz-decr": 0.35,
        "cheek/@-cheek-bones-incr": 0.6,
        "cheek/@-cheek-volume-decr": 0.2,
        "nose/nose-scale-horiz-decr": 0.35,
        "nose/nose-point-width-decr": 0.45,
        "nose/nose-width2-decr": 0.2,
        "nose/nose-nostrils-width-decr": 0.2,
        "nose/nose-volume-decr": 0.25,
        "nose/nose-point-up": 0.1,
        "nose/nose-flaring-incr": 0.1,
        "chin/chin-triangle": 0.15,
        "mouth/mouth-upperlip-volume-decr": 0.35,
        "mouth/mouth-lowerlip-volume-decr": 0.25,
        "mouth/mouth-upperlip-height-decr": 0.35,
        "mouth/mouth-lowerlip-height-decr": 0.45,
        "mouth/mouth-cupidsbow-incr": 0.20,
        "mouth/mouth-trans-backward": 0.2,
        "mouth/mouth-scale-horiz-incr": 0.3,
        "mouth/mouth-scale-vert-decr": 0.25,
        "mouth/mouth-angles-up": 0.2,
        "eyes/@-eye-scale-incr": 0.6,
        "eyes/@-eye-corner2-up": 0.25,
        "eyes/@-eye-height2-incr": 0.66,
        "eyes/@-eye-height1-incr": 0.3,
        "eyes/@-eye-height3-incr": 0.4,
        "eyes/@-eye-bag-decr": 0.4,
        "chin/chin-width-decr": 0.35,
        "chin/chin-jaw-drop-decr": 0.2,
        "neck/neck-scale-horiz-decr": 0.25,
        "ears/@-ear-wing-decr": 0.4,
        "mouth/mouth-trans-in": 0.06,
        "nose/nose-trans-out": 0.05,
        "eyes/r-eye-trans-up": 0.05,
    },
    melanin=0.42,
    freckles=90,
    iris_inner=(92, 58, 30),
    iris_outer=(52, 38, 26),
    brow_colour=(52, 35, 26),
    hair="bob",
    hair_dark=(33, 24, 20),
    hair_light=(86, 62, 46),
    hairline_lift=-7.0,
    ruddiness=0.75,
    brow_arch=0.75,
    brow_lift=-2.5,
    liner=0.8,
    lash_strength=1.3,
    garment=(58, 78, 92),
    seed=1,
)

ELIAS = Person(
    name="elias",
    summary="a man of about 58 with fair skin and short grey hair",
    targets={
        "macrodetails/caucasian-male-young": 0.62,
        "macrodetails/caucasian-male-old": 0.38,
        "macrodetails/universal-male-young-averagemuscle-averageweight": 1.0,
        "head/head-rectangular": 0.25,
        "head/head-fat-decr": 0.3,
        "eyes/@-eye-scale-incr": 0.45,
        "eyes/@-eye-height2-incr": 0.5,
        "eyes/@-eye-height1-incr": 0.2,
        "eyes/@-eye-height3-incr": 0.35,
        "neck/neck-scale-horiz-decr": 0.35,
        "torso/torso-scale-horiz-decr": 0.2,
        "mouth/mouth-scale-horiz-incr": 0.1,
        "mouth/mouth-lowerlip-volume-incr": 0.25,
        "mouth/mouth-upperlip-volume-incr": 0.25,
        "mouth/mouth-angles-up": 0.35,
        "eyes/@-eye-bag-decr": 0.6,
        "nose/nose-hump-incr": 0.25,
        "chin/chin-width-incr": 0.15,
        "ears/@-ear-wing-decr": 0.3,
        "eyes/r-eye-trans-up": 0.03,
    },
    melanin=0.26,
    haemoglobin=0.62,
    ruddiness=0.95,
    age=0.75,
    stubble=0.4,
    lip_pigment=(0.12, 0.38),
    lip_gloss=0.5,
    lash_strength=0.7,
    liner=0.25,
    iris_inner=(112, 124, 124),
    iris_outer=(66, 84, 98),
    brow_colour=(92, 84, 78),
    brow_density=1.15,
    brow_width=1.25,
    brow_lift=-1.5,
    brow_arch=0.5,
    hair="short",
    hair_dark=(62, 58, 55),
    hair_light=(140, 136, 132),
    hairline_lift=5.0,
    grey=0.38,
    garment=(40, 46, 60),
    seed=2,
)

AMARA = Person(
    name="amara",
    summary="a woman of about 35 with deep brown skin and short natural curls",
    targets={
        "macrodetails/african-female-young": 0.66,
        "macrodetails/caucasian-female-young": 0.20,
        "macrodetails/asian-female-young": 0.14,
        "macrodetails/universal-female-young-averagemuscle-averageweight": 1.0,
        "head/head-oval": 0.4,
        "head/head-fat-decr": 0.25,
        "eyes/@-eye-scale-incr": 0.4,
        "eyes/@-eye-height2-incr": 0.3,
        "mouth/mouth-angles-up": 0.25,
        "mouth/mouth-upperlip-volume-decr": 0.55,
        "mouth/mouth-lowerlip-volume-decr": 0.55,
        "mouth/mouth-trans-backward": 0.35,
        "mouth/mouth-scale-horiz-incr": 0.35,
        "nose/nose-nostrils-width-decr": 0.3,
        "nose/nose-scale-horiz-decr": 0.15,
        "nose/nose-hump-incr": 0.15,
        "chin/chin-prominent-incr": 0.25,
        "cheek/@-cheek-bones-incr": 0.5,
        "ears/@-ear-wing-decr": 0.4,
    },
    melanin=1.18,
    haemoglobin=0.55,
    ruddiness=0.7,
    age=0.12,
    lip_pigment=(0.10, 0.62),
    iris_inner=(74, 44, 22),
    iris_outer=(44, 28, 16),
    brow_colour=(24, 17, 14),
    brow_density=1.1,
    brow_lift=-2.0,
    liner=0.8,
    lash_strength=1.3,
    hair="afro",
    hair_dark=(16, 12, 10),
    hair_light=(48, 34, 26),
    garment=(176, 128, 62),
    neckline="vee",
    seed=3,
)

PEOPLE = {person.name: person for person in (VERA, ELIAS, AMARA)}
