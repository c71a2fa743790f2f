"""The built-in people: nobody real, each a set of shape targets, pigments and styles."""

from __future__ import annotations

from render.making.people.person import Beard, Brows, Clothes, Eyes, Hair, Person, Shape, Skin

VERA = Person(
    name="vera",
    summary="a woman of about 28 with light olive skin and a brown bob",
    seed=1,
    shape=Shape(
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
        }
    ),
    skin=Skin(melanin=0.42, ruddiness=0.75, freckles=90),
    eyes=Eyes(iris_inner=(92, 58, 30), iris_outer=(52, 38, 26), lash_strength=1.3, liner=0.8),
    brows=Brows(colour=(52, 35, 26), lift=-2.5, arch=0.75),
    hair=Hair(
        style="bob",
        dark=(33, 24, 20),
        light=(86, 62, 46),
        hairline_lift=-7.0,
        melanin=0.8,
        redness=0.35,
        forehead_mm=-4,
    ),
    clothes=Clothes(colour=(58, 78, 92)),
)

ELIAS = Person(
    name="elias",
    summary="a man of about 58 with fair skin and short grey hair",
    seed=2,
    shape=Shape(
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
        }
    ),
    skin=Skin(
        melanin=0.26, haemoglobin=0.62, ruddiness=0.95, stubble=0.4, lip_pigment=(0.12, 0.38), lip_gloss=0.5
    ),
    beard=Beard(length_mm=0.8, density=0.7, grey=0.6),
    age=0.75,
    eyes=Eyes(
        iris_inner=(112, 124, 124), iris_outer=(66, 84, 98), lash_strength=0.7, liner=0.25, lash_mm=6.0
    ),
    brows=Brows(colour=(92, 84, 78), density=1.15, width=1.25, lift=-1.5, arch=0.5, grey=0.35),
    hair=Hair(
        style="short",
        dark=(62, 58, 55),
        light=(140, 136, 132),
        grey=0.38,
        white=0.62,
        hairline_lift=5.0,
        melanin=0.86,
        redness=0.1,
        length_mm=36,
        recession=0.8,
        forehead_mm=4,
        sideburns=True,
    ),
    clothes=Clothes(colour=(40, 46, 60)),
)

AMARA = Person(
    name="amara",
    summary="a woman of about 35 with deep brown skin and short natural curls",
    seed=3,
    shape=Shape(
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
        }
    ),
    skin=Skin(melanin=1.18, haemoglobin=0.55, ruddiness=0.7, lip_pigment=(0.10, 0.62)),
    age=0.12,
    eyes=Eyes(iris_inner=(74, 44, 22), iris_outer=(44, 28, 16), lash_strength=1.3, liner=0.8),
    brows=Brows(colour=(24, 17, 14), density=1.1, lift=-2.0),
    hair=Hair(style="afro", dark=(16, 12, 10), light=(48, 34, 26), melanin=0.97, redness=0.5, length_mm=38),
    clothes=Clothes(colour=(176, 128, 62), neckline="vee"),
)

MEI = Person(
    name="mei",
    summary="a woman of about 30 with light skin and long straight black hair",
    seed=4,
    shape=Shape(
        targets={
            "macrodetails/asian-female-young": 0.86,
            "macrodetails/caucasian-female-young": 0.14,
            "macrodetails/universal-female-young-averagemuscle-averageweight": 0.7,
            "macrodetails/universal-female-young-averagemuscle-minweight": 0.3,
            "head/head-oval": 0.45,
            "head/head-fat-decr": 0.2,
            "cheek/@-cheek-bones-incr": 0.35,
            "nose/nose-scale-horiz-decr": 0.2,
            "mouth/mouth-angles-up": 0.25,
            "mouth/mouth-scale-horiz-incr": 0.15,
            "chin/chin-width-decr": 0.25,
            "ears/@-ear-wing-decr": 0.5,
            "neck/neck-scale-horiz-decr": 0.2,
        }
    ),
    skin=Skin(melanin=0.40, haemoglobin=0.48, ruddiness=0.6),
    eyes=Eyes(lash_mm=8.0),
    brows=Brows(density=0.85, width=0.95, lift=-1.0, arch=0.5),
    hair=Hair(
        style="long",
        melanin=0.95,
        redness=0.2,
        length_mm=430,
        parting_mm=-6,
        wave_mm=0.6,
        forehead_mm=-2,
    ),
    clothes=Clothes(item="female_sportsuit01"),
)

ARJUN = Person(
    name="arjun",
    summary="a man of about 40 with brown skin, short black hair and a short beard",
    seed=5,
    shape=Shape(
        targets={
            "macrodetails/caucasian-male-young": 0.50,
            "macrodetails/caucasian-male-old": 0.12,
            "macrodetails/asian-male-young": 0.22,
            "macrodetails/african-male-young": 0.16,
            "macrodetails/universal-male-young-averagemuscle-averageweight": 1.0,
            "head/head-oval": 0.3,
            "head/head-fat-decr": 0.2,
            "nose/nose-hump-incr": 0.3,
            "nose/nose-scale-vert-incr": 0.1,
            "mouth/mouth-angles-up": 0.3,
            "mouth/mouth-lowerlip-volume-incr": 0.2,
            "ears/@-ear-wing-decr": 0.3,
            "neck/neck-scale-horiz-decr": 0.2,
        }
    ),
    skin=Skin(
        melanin=0.80,
        ruddiness=0.7,
        pictures={"middleage_lightskinned_male_diffuse": 1.0},
        brightness=0.55,
        lip_gloss=0.5,
    ),
    age=0.35,
    eyes=Eyes(lash_mm=7.5),
    brows=Brows(density=1.2, width=1.3, lift=-2.5, arch=0.3),
    hair=Hair(
        style="short",
        melanin=0.96,
        redness=0.2,
        length_mm=42,
        parting_mm=28,
        recession=0.35,
        white=0.04,
        sideburns=True,
    ),
    beard=Beard(length_mm=6.0, grey=0.08),
    clothes=Clothes(item="male_casualsuit04"),
)

NORA = Person(
    name="nora",
    summary="a woman of about 24 with very fair, freckled skin and red hair in a bun",
    seed=6,
    shape=Shape(
        targets={
            "macrodetails/caucasian-female-young": 0.92,
            "macrodetails/asian-female-young": 0.08,
            "macrodetails/universal-female-young-averagemuscle-averageweight": 1.0,
            "head/head-oval": 0.3,
            "head/head-round": 0.2,
            "cheek/@-cheek-bones-incr": 0.25,
            "nose/nose-scale-horiz-decr": 0.25,
            "nose/nose-point-up": 0.2,
            "mouth/mouth-angles-up": 0.3,
            "chin/chin-width-decr": 0.2,
            "ears/@-ear-wing-decr": 0.4,
            "neck/neck-scale-horiz-decr": 0.25,
        }
    ),
    skin=Skin(melanin=0.2, ruddiness=1.0, freckles=260, pictures={"young_lightskinned_female_diffuse2": 1.0}),
    eyes=Eyes(lash_mm=8.5, picture="green_eye"),
    brows=Brows(melanin=0.55, density=0.8, width=0.9, lift=-1.5, arch=0.8),
    hair=Hair(style="bun", melanin=0.42, redness=0.95, forehead_mm=-1),
    clothes=Clothes(item="female_casualsuit01"),
)

PEOPLE = {person.name: person for person in (VERA, ELIAS, AMARA)}
# Those that are path-traced.
CAST = {**PEOPLE, **{person.name: person for person in (MEI, ARJUN, NORA)}}
