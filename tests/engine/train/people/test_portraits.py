"""The picture of everybody: who is in it, where, and that they act."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.errors import UsageError
from engine.train.people.portraits import write_portraits
from render.errors import AvatarError

CELL = 64


def test_people_stand_two_in_a_row_and_act(tmp_path: Path) -> None:
    path = tmp_path / "people.png"
    line = write_portraits(["vera", "elias", "vera"], path, CELL)
    assert "vera, elias, vera, 512x128" in line
    picture = cv2.imread(str(path)).astype(float)
    cells = picture.reshape(2, CELL, 8, CELL, 3).swapaxes(1, 2)
    np.testing.assert_array_equal(cells[0, :4], cells[1, :4])
    rest, elias = cells[0, 0], cells[0, 4]
    assert np.abs(rest - elias).mean() > 3
    for acting in cells[0, 1:4]:
        assert np.abs(acting - rest).mean() > 0.3
    assert np.ptp(cells[1, 4:].reshape(-1, 3), axis=0).max() == 0, "nobody is there"


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must end in \.png"):
        write_portraits(["vera"], tmp_path / "a.jpg", CELL)
    with pytest.raises(UsageError, match="--size 2000"):
        write_portraits(["vera"], tmp_path / "a.png", 2000)
    with pytest.raises(AvatarError, match="no avatar nobody"):
        write_portraits(["nobody"], tmp_path / "a.png", CELL)
    assert not list(tmp_path.iterdir())
