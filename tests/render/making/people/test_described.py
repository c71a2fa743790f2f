"""People by name, and people of one's own in a TOML file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from render.making.people.builtin import CAST, VERA
from render.making.people.described import DescriptionError, person_called
from render.making.people.scene.anybody import anybody

OWN = """
base = "vera"
summary = "somebody else"
age = 1
[skin]
melanin = 0.3
pictures = {young_lightskinned_male_diffuse = 1.0}
[hair]
style = "long"
sideburns = true
[eyes]
lids_cover_mm = [1, 0.5]
[shape.targets]
"head/head-oval" = 0.5
"""


def test_names_are_those_of_the_cast_and_of_people_at_random() -> None:
    assert all(person_called(name) is person for name, person in CAST.items())
    assert person_called("anybody-7") == anybody(7)
    with pytest.raises(DescriptionError, match=r"nobody is called bob: use vera, .* me\.toml"):
        person_called("bob")


def test_what_a_description_leaves_out_is_its_base_s(tmp_path: Path) -> None:
    path = tmp_path / "lena.toml"
    path.write_text(OWN)
    person = person_called(str(path))
    assert (person.name, person.summary, person.age) == ("lena", "somebody else", 1.0)
    assert person.skin == replace(VERA.skin, melanin=0.3, pictures={"young_lightskinned_male_diffuse": 1.0})
    assert (person.hair.style, person.hair.sideburns) == ("long", True)
    assert person.hair.melanin == VERA.hair.melanin
    assert person.eyes.lids_cover_mm == (1, 0.5)
    assert person.shape.targets == {"head/head-oval": 0.5}
    assert person.clothes == VERA.clothes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('base = "vera"\n[hair]\nstile = "bob"', r"lena\.toml: hair\.stile is not known, did you mean style"),
        ('base = "vera"\n[hair]\nstyle = "mohawk"', "hair.style = 'mohawk': use bob, short"),
        ('base = "vera"\n[skin]\nmelanin = "dark"', "skin.melanin = 'dark' is of the wrong kind"),
        ('base = "vera"\n[skin]\nmelanin = true', "skin.melanin = True is of the wrong kind"),
        (
            'base = "vera"\n[eyes]\nlids_cover_mm = [1, 2, 3]',
            r"eyes.lids_cover_mm = \[1, 2, 3\]: give 2 numbers",
        ),
        ('base = "vera"\nskin = 3', r"skin = 3 is to be a table"),
        ('base = "vera"\n[shape.targets]\nx = "y"', "shape.targets: every value is to be a number"),
        ('base = "bob"', "base = 'bob': the built-in people are vera"),
        ('summary = "x"\nseed = 3', "shape is missing; give it, or a base"),
        ("base =", "is no TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "lena.toml"
    path.write_text(text)
    with pytest.raises(DescriptionError, match=said):
        person_called(str(path))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DescriptionError, match=r"no\.toml cannot be read: No such file"):
        person_called(str(tmp_path / "no.toml"))
