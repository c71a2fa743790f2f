"""Skin pictures, skin's relief and dyed cloth of path-traced people: the numbers behind them."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from render.making.items import Assets
from render.making.people.builtin import AMARA, CAST, ELIAS, VERA
from render.making.people.fields import BARE_SKIN, PIGMENTS, skin_colour
from render.making.people.person import Clothes, Skin
from render.making.people.scene import skin_pictures
from render.making.people.scene.clothes import OUTFITS, Outfit, clothes_picture, diffuse, dye
from render.making.people.scene.colour import from_srgb8, to_srgb8
from render.making.people.scene.skin_pictures import (
    COARSE,
    SIZE,
    depth_of,
    paint_skin,
    skin_picture,
    slow_density,
    where_melanin_goes,
    zones_of,
)
from render.making.people.scene.skin_surface import face_box, skin_state, surface
from render.making.people.scene.uv import flat_body, mirrored

FOLDER = Path(os.environ.get("VISAVIS_TESTDATA", "")) / "makehuman"
pytestmark = pytest.mark.skipif(find_spec("anny") is None, reason="anny is a development dependency")
needs_assets = pytest.mark.skipif(
    "VISAVIS_TESTDATA" not in os.environ, reason="MakeHuman's assets are in VISAVIS_TESTDATA"
)
LIT = "skins/textures/young_lightskinned_female_diffuse3.png"
SMILE = {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0}


@pytest.fixture(scope="module")
def assets() -> Assets:
    return Assets(FOLDER)


@pytest.fixture(scope="module")
def skins(assets: Assets) -> dict[str, np.ndarray]:
    return {person.name: paint_skin(person, assets) for person in (VERA, AMARA)}


def face() -> np.ndarray:
    """Pixels [SIZE, SIZE] of cheeks and forehead."""
    points = flat_body(SIZE).points
    x, y, z = np.abs(points[..., 0]), points[..., 1], points[..., 2]
    return (
        flat_body(SIZE).covered
        & (z > 0)
        & (((x < 30) & (y > 30) & (y < 50)) | ((x > 28) & (x < 48) & (y > -46) & (y < -24)))
    )


def test_every_pixel_of_the_flat_body_has_its_counterpart_on_the_other_side() -> None:
    flat, (rows, columns) = flat_body(COARSE), mirrored(COARSE)
    there = flat.points[rows, columns] * np.array([-1, 1, 1])
    distance = np.linalg.norm(there - flat.points, axis=-1)[flat.covered & flat.head]
    assert np.median(distance) < 1.0  # pixels are 1.8 mm apart
    assert np.quantile(distance, 0.99) < 5.0


def test_bytes_survive_linear_light() -> None:
    every = np.arange(256, dtype=np.uint8)
    assert np.array_equal(to_srgb8(from_srgb8(every)), every)


def test_pigments_of_a_made_up_skin_are_found_again_whatever_lights_it() -> None:
    """A lamp from one side, three times as strong there as on the other, leaves no trace."""
    x = flat_body(COARSE).points[..., 0].astype(float)
    lit = skin_colour(np.full(x.shape, 0.6), np.full(x.shape, 0.5)) * (1 + 0.5 * np.tanh(x / 60))[..., None]
    zones = zones_of(-np.log(lit).astype(np.float32))
    assert np.allclose(zones.melanin, 0.6, atol=1e-3)
    assert np.allclose(zones.haemoglobin, 0.5, atol=1e-3)


@needs_assets
def test_a_photographs_light_is_evened_out(assets: Assets) -> None:
    """Left and right cheek differ less than half of what they do in the photograph, and lips stay red."""
    slow = slow_density(assets.file(LIT))
    zones = zones_of(slow)
    after = BARE_SKIN * np.exp(
        -zones.melanin[..., None] * PIGMENTS[0] - zones.haemoglobin[..., None] * PIGMENTS[1]
    )
    flat, (rows, columns) = flat_body(COARSE), mirrored(COARSE)
    points = flat.points
    front = flat.covered & (points[..., 2] > -20) & (np.abs(points[..., 1] + 10) < 60)

    def uneven(density: np.ndarray) -> float:
        return float(np.abs(density - density[rows, columns])[front].mean())

    assert uneven(-np.log(after)) < 0.5 * uneven(slow)
    lips = front & (np.hypot(points[..., 0] / 18, (points[..., 1] + 66) / 6) < 0.8)
    cheek = front & (np.hypot(np.abs(points[..., 0]) - 40, points[..., 1] + 35) < 8)
    assert zones.haemoglobin[lips].mean() > zones.haemoglobin[cheek].mean() + 0.3


@needs_assets
def test_skin_has_the_described_tone_and_keeps_pores(skins: dict[str, np.ndarray]) -> None:
    for person in (VERA, AMARA):
        asked = skin_colour(np.array(depth_of(person.skin.melanin)), np.array(person.skin.haemoglobin))
        tone = np.exp(np.log(skins[person.name][face()]).mean(0))
        assert np.abs(np.log(tone / asked)).max() < 0.12
        fine = np.log(skins[person.name][..., 1])
        fine = (fine - np.roll(fine, 3, 0))[face()]
        assert fine.std() > 0.01


@needs_assets
def test_melanin_goes_to_the_face_and_hardly_to_palms_and_soles(assets: Assets) -> None:
    takes, flat = where_melanin_goes(assets), flat_body(COARSE)
    front = flat.covered & (flat.points[..., 2] > 0) & (np.abs(flat.points[..., 1]) < 50)
    assert takes[front].mean() > 0.9
    limbs = flat.covered & (flat.points[..., 1] < -450)
    assert 0.03 < (takes[limbs] < 0.5).mean() < 0.5


@needs_assets
def test_more_melanin_is_darker_and_more_blood_is_redder(assets: Assets) -> None:
    def tone(**changes: object) -> np.ndarray:
        skin = replace(Skin(melanin=0.4), **changes)  # type: ignore[arg-type]
        painted = paint_skin(replace(VERA, skin=skin), assets)
        return np.asarray(painted[face()].mean(0))

    fair, dark, flushed = tone(), tone(melanin=1.4), tone(haemoglobin=0.9)
    assert (dark < 0.75 * fair).all()
    assert flushed[0] > 0.93 * fair[0]
    assert flushed[1] < 0.88 * fair[1]


@needs_assets
def test_brows_and_stubble_of_the_photographs_are_gone(assets: Assets, skins: dict[str, np.ndarray]) -> None:
    points = flat_body(SIZE).points
    scalp = flat_body(SIZE).covered & (points[..., 1] > 85)
    forehead = face() & (points[..., 1] > 30)
    photograph = from_srgb8(np.asarray(Image.open(assets.file(LIT)).convert("RGB")))
    assert photograph[scalp].mean() < 0.7 * photograph[forehead].mean()
    shaved = paint_skin(replace(VERA, hair=replace(VERA.hair, melanin=0.0)), assets)
    assert shaved[scalp].mean() > 0.8 * shaved[forehead].mean()


@needs_assets
def test_a_skin_is_made_once_and_anew_when_it_is_described_otherwise(
    assets: Assets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = np.full((4, 4, 3), 0.5, np.float32)
    calls: list[str] = []
    monkeypatch.setattr(skin_pictures, "paint_skin", lambda person, _: (calls.append(person.name), small)[1])
    first = skin_picture(VERA, assets, tmp_path)
    assert skin_picture(VERA, assets, tmp_path) == first
    assert calls == ["vera"]
    assert skin_picture(replace(VERA, age=0.5), assets, tmp_path) != first
    assert not list(tmp_path.glob("partial*"))


def test_folds_deepen_where_units_act_and_with_age() -> None:
    rest, smile = skin_state({}, 0.2), skin_state(SMILE, 0.2)
    assert np.abs(rest[..., 0]).max() < np.abs(smile[..., 0]).max()
    assert skin_state({}, 0.0)[..., 0].max() == 0
    assert skin_state(SMILE, 0.9)[..., 0].min() < 1.5 * smile[..., 0].min()
    left_only = skin_state({"mouthSmileLeft": 1.0}, 0.2) - rest
    rows = np.abs(left_only[..., 0]).sum(1)  # the face lies on its side: rows run from one cheek to the other
    half = len(rows) // 2
    assert max(rows[:half].sum(), rows[half:].sum()) > 20 * min(rows[:half].sum(), rows[half:].sum())
    left, bottom, width, height = face_box()
    assert 0 < left < left + width <= 1
    assert 0 < bottom < bottom + height < 1


def test_lips_are_moist_and_the_nose_shines_more_than_the_cheek() -> None:
    shown = surface(ELIAS)
    points = flat_body(len(shown)).points
    nose = np.linalg.norm(points - [0, -25, 38], axis=-1) < 8
    jaw = np.linalg.norm(np.abs(points) - [58, 60, 20], axis=-1) < 12
    lips = np.linalg.norm(points - [0, -72, 33], axis=-1) < 4
    assert shown[nose][:, 0].mean() < shown[jaw][:, 0].mean() - 0.05
    assert shown[lips][:, 2].mean() > 0.1
    assert shown[jaw][:, 2].max() == 0


def test_a_print_and_a_trim_are_dyed_over_and_folds_stay() -> None:
    cloth = np.zeros((200, 200, 4), np.uint8)
    cloth[...] = (40, 90, 160, 255)
    cloth[:, 60:70, :3] = (34, 77, 137)  # a fold
    cloth[80:120, 80:120, :3] = (230, 120, 40)  # a print
    cloth[150:, :, :3] = (200, 190, 180)  # not the garment
    dyed = dye(cloth, (120, 50, 50), Outfit(((0, 0, 1, 0.75),)))
    assert np.abs(dyed[100, 100, :3].astype(int) - dyed[20, 20, :3]).max() <= 3
    assert dyed[20, 65, 0] < dyed[20, 20, 0] - 5
    assert np.abs(dyed[20, 20, :3].astype(int) - (120, 50, 50)).max() <= 6
    assert (dyed[160] == cloth[160]).all()


@needs_assets
@pytest.mark.parametrize("item", ["female_casualsuit01", "male_casualsuit06"])
def test_makehumans_mark_is_gone_from_the_shirts(assets: Assets, item: str, tmp_path: Path) -> None:
    box = {"female_casualsuit01": (0.72, 0.18, 0.86, 0.28), "male_casualsuit06": (0.44, 0.12, 0.64, 0.2)}[
        item
    ]
    before = np.asarray(Image.open(assets.file(diffuse(item))).convert("RGB"), float)
    after = np.asarray(
        Image.open(clothes_picture(Clothes(colour=(90, 90, 90), item=item), assets, tmp_path)).convert("RGB"),
        float,
    )
    height, width = before.shape[:2]
    rows = slice(int(box[1] * height), int(box[3] * height))
    columns = slice(int(box[0] * width), int(box[2] * width))
    assert np.ptp(before[rows, columns].mean(-1)) > 60
    assert np.ptp(after[rows, columns].mean(-1)) < 30
    assert after[rows, columns].std(-1).max() < 2  # grey as asked: no colour left


@needs_assets
def test_everybodys_pictures_and_outfits_are_there(assets: Assets) -> None:
    assert {"vera", "elias", "amara"} < set(CAST)
    assert len(CAST) == 6
    for person in CAST.values():
        assert person.clothes.item in OUTFITS
        assets.item(f"clothes/{person.clothes.item}/{person.clothes.item}")
        for name in person.skin.pictures:
            assert assets.file(f"skins/textures/{name}.png").is_file()
