"""What the user is told about whose face was followed, and `--person` on the commands."""

from __future__ import annotations

import argparse
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from engine.cli import main
from engine.errors import UsageError
from engine.motion_file import load_motion
from engine.person import Sightings, add_person_argument, parse_person
from tests.engine.live.fakes import found
from tests.tracking.detect.films import Rgb, beside, clip, portrait
from tracking.detect.detection import Detection
from tracking.detect.person_choice import PersonChoice
from tracking.detect.quarter_turns import turned


def write_film(path: Path, pictures: list[Rgb]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(25))
        stream.height, stream.width = pictures[0].shape[:2]
        stream.bit_rate = 6_000_000
        for rgb in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_everything_is_told_once() -> None:
    sightings = Sightings("talk.mp4")
    told = [
        sightings.see(detection)
        for detection in (
            Detection.lost(0, 0, 64, 48),
            replace(found(), turn=1, people=1),
            replace(found(), turn=1, people=2),
            replace(found(), turn=1, people=3),
            replace(found(), turn=1, people=3, person=1),
            replace(found(), turn=1, people=3, person=0),
        )
    ]
    assert [note is not None for note in told] == [False, True, True, False, True, False]
    assert told[1] == "talk.mp4 lies on its side: it was turned a quarter clockwise"
    assert "2 people are seen in talk.mp4" in told[2]
    assert "--person left, right, largest or a number" in told[2]
    assert "another person" in told[4]
    assert sightings.notes == [note for note in told if note]


def test_a_chosen_person_who_never_came_is_an_error_that_names_the_value() -> None:
    sightings = Sightings("talk.mp4", PersonChoice.parse("3"))
    sightings.see(replace(Detection.lost(0, 0, 64, 48), people=2))
    with pytest.raises(UsageError, match=r"--person 3: 2 people are seen in talk\.mp4; give .* up to 2"):
        sightings.check_choice()
    nobody = Sightings("talk.mp4", PersonChoice.parse("3"))
    nobody.see(Detection.lost(0, 0, 64, 48))
    nobody.check_choice()  # that no face was found is told elsewhere


def test_a_wrong_choice_is_told_before_anything_is_done(capsys, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_person_argument(parser)
    assert parse_person(parser.parse_args([])) is None
    with pytest.raises(UsageError, match="--person middle: give left, right, largest"):
        parse_person(parser.parse_args(["--person", "middle"]))
    film = tmp_path / "film.mp4"
    film.touch()
    for command in (["track", film, "-o", "a.npz"], ["record", film, "-o", "a.mp4"], ["live"]):
        assert main([*map(str, command), "--person", "0"]) == 2
        assert "--person 0: give left, right, largest, or a number from 1" in capsys.readouterr().err


def test_a_film_upside_down_of_two_people_is_tracked_upright(
    capsys, tmp_path: Path, testdata_dir: Path, models_dir: Path
) -> None:
    model = models_dir / "face_landmarker.task"
    two = beside(
        *(
            portrait(clip(testdata_dir / "videos" / name, model, 10), 320)
            for name in ("lp_d14.mp4", "lp_d9.mp4")
        )
    )
    film = write_film(tmp_path / "two.mp4", [turned(rgb, 2) for rgb in two])
    assert main(["track", str(film), "-o", str(tmp_path / "a.npz"), "--person", "right"]) == 0
    told = capsys.readouterr()
    assert f"{film} is upside down: it was turned round" in told.err
    assert "10 frames" in told.out
    motion = load_motion(tmp_path / "a.npz")
    assert motion.face_seen.all()
    assert np.degrees(np.linalg.norm(motion.head_rotation, axis=1)).max() < 40  # an upright head
    assert main(["track", str(film), "-o", str(tmp_path / "b.npz"), "--person", "3"]) == 2
    assert "--person 3: 2 people are seen in" in capsys.readouterr().err
    assert not (tmp_path / "b.npz").exists()
