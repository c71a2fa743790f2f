"""The sheet of faces and views: what lies where, and what is said of it. The path tracer is a stand-in."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.errors import UsageError
from engine.train.people import sheet
from render.making.people.builtin import VERA
from render.making.people.scene import renders
from render.making.people.scene.model import Moment, PersonModel
from tests.engine.train.people.small_shoot import average_person

pytestmark = [
    pytest.mark.skipif(find_spec("anny") is None, reason="anny is a development dependency"),
    pytest.mark.skipif(
        "VISAVIS_TESTDATA" not in os.environ, reason="MakeHuman's assets are in VISAVIS_TESTDATA"
    ),
]
SIZE = 48


class Flat(renders.Renders):
    """Red at rest, and green where a face acts."""

    def picture(self, model: PersonModel, moment: Moment, exposure: renders.Exposure) -> Path:
        border, camera = exposure.border, exposure.camera
        width, height = border[2:] if border else (camera.width, camera.height)
        pixels = np.zeros((height, width, 4), np.uint8)
        pixels[..., 1 if border else 2] = pixels[..., 3] = 255
        path = self.folder / f"{len(list(self.folder.glob('*.png')))}.png"
        cv2.imwrite(str(path), pixels)
        return path


def make(output: Path, pictures: Path) -> str:
    from render.avatars.file import save_avatar

    avatar = output.with_name("average.avatar")
    save_avatar(average_person(), avatar)
    makehuman = Path(os.environ["VISAVIS_TESTDATA"]) / "makehuman"
    return sheet.make_sheet(VERA, avatar, output, pictures, size=SIZE, makehuman=makehuman, blender=None)


def test_truth_lies_left_of_the_avatar_and_faces_in_the_picture_at_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheet, "Renders", Flat)
    said = make(tmp_path / "sheet.png", tmp_path / "pictures")
    assert "8 faces x 5 views" in said
    assert "worst" in said
    pixels = cv2.imread(str(tmp_path / "sheet.png"))
    assert pixels is not None
    assert pixels.shape == (8 * SIZE, 10 * SIZE, 3)
    rest, acting = pixels[:SIZE, :SIZE], pixels[SIZE : 2 * SIZE, :SIZE]
    assert (rest == (0, 0, 255)).all(), "a picture at rest is whole"
    green = (acting == (0, 255, 0)).all(2)
    assert 0.05 < green.mean() < 0.6
    assert (acting[~green] == (0, 0, 255)).all(), "around what acts lies rest"
    played = pixels[:SIZE, SIZE : 2 * SIZE]
    assert len(np.unique(played.reshape(-1, 3), axis=0)) > 50, "the avatar is drawn"


def test_a_name_that_is_no_picture_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"sheet\.txt: the name must end in"):
        make(tmp_path / "sheet.txt", tmp_path / "pictures")
