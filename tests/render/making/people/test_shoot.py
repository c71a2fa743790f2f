"""A shoot comes back as it was written, and what is wrong with one is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from render.making.people.person import Shape
from render.making.people.shoot import (
    ShootError,
    Shot,
    Start,
    Strands,
    Surface,
    read_shoot,
    write_shots,
    write_start,
)

CAMERA = np.array([[1.0, 0, 0, 0.1], [0, 1, 0, 0.2], [0, 0, 1, 1.3], [0, 0, 0, 1]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"")
    shots = [
        Shot("a.png", 64, 48, 90.5, CAMERA),
        Shot(
            "b.png", 64, 48, 90.5, CAMERA, {"jawOpen": 0.5}, (10.0, -5.0), (30.0, -8.0), True, (8, 4, 32, 16)
        ),
    ]
    write_shots(tmp_path, "somebody", Shape({"chin/chin-triangle": 0.15}, (0.5, -1.0)), shots)
    triangle = Surface(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32))
    hair = Strands(np.arange(24, dtype=np.float32).reshape(2, 4, 3), np.full(2, 4e-5, np.float32))
    write_start(tmp_path, Start({"skin": triangle}, {"hair": hair}))
    return tmp_path


def test_a_shoot_comes_back_as_it_was_written(folder: Path) -> None:
    shoot = read_shoot(folder)
    assert (shoot.name, shoot.shape) == ("somebody", Shape({"chin/chin-triangle": 0.15}, (0.5, -1.0)))
    first, second = shoot.shots
    np.testing.assert_array_equal(first.camera_to_world, CAMERA)
    assert (first.gaze_deg, first.border, first.held_out, dict(first.weights)) == (None, None, False, {})
    assert (first.head_deg, second.head_deg) == (None, (30.0, -8.0))
    assert (second.gaze_deg, second.border, second.held_out) == ((10.0, -5.0), (8, 4, 32, 16), True)
    assert second.weights == {"jawOpen": 0.5}
    np.testing.assert_array_equal(shoot.start.surfaces["skin"].faces, [[0, 1, 2]])
    np.testing.assert_array_equal(
        shoot.start.strands["hair"].points, np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    )


def shot_with(**changes: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        header = json.loads((folder / "shoot.json").read_text())
        header["shots"][0] |= changes
        (folder / "shoot.json").write_text(json.dumps(header))

    return spoil


def start_with(**arrays: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        with np.load(folder / "start.npz") as file:
            np.savez(folder / "start.npz", **dict(file) | {k.replace("_", "."): v for k, v in arrays.items()})

    return spoil


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (shot_with(file="c.png"), "'c.png', which is not there"),
        (shot_with(file="../a.png"), "outside the folder"),
        (shot_with(width=0), "width 0"),
        (shot_with(focal_px=-1.0), "focal length"),
        (shot_with(weights={"jawOpen": "wide"}), "'wide'"),
        (shot_with(border=[40, 0, 32, 16]), r"border \[40, 0, 32, 16\]"),
        (shot_with(camera_to_world=(2 * CAMERA).tolist()), "no rotation and place"),
        (shot_with(held_out="no"), "held_out 'no'"),
        (shot_with(file="b.png"), "'b.png' twice"),
        (start_with(surface_skin_faces=np.array([[0, 1, 3]])), r"outside 0\.\.2"),
        (start_with(surface_wig_faces=np.array([[0, 1, 2]])), "surface.wig.faces"),
        (start_with(strands_hair_radius=np.zeros(2)), "strands.hair.radius"),
        (lambda folder: (folder / "start.npz").write_bytes(b"no zip"), "start.npz is no file"),
        (lambda folder: (folder / "shoot.json").write_text("{"), "no JSON"),
        (lambda folder: (folder / "shoot.json").unlink(), "is .* a shoot's folder"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, spoil: Callable[[Path], Any], words: str) -> None:
    spoil(folder)
    with pytest.raises(ShootError, match=words):
        read_shoot(folder)
