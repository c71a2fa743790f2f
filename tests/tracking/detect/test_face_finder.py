"""The face is found however small and whichever way up, and it is always the same person's."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.tracking.detect.films import (
    Clip,
    Rgb,
    as_frames,
    beside,
    clip,
    crossing,
    far_away,
    found_in,
    portrait,
    wall,
)
from tracking.detect.detection import Detection
from tracking.detect.face_boxes import FaceBoxes
from tracking.detect.face_finder import FaceFinder
from tracking.detect.person_choice import PersonChoice
from tracking.detect.picture_finder import PictureFinder
from tracking.detect.quarter_turns import turned

LOOKS_WHILE_LOST = 3
LOOKS_AT_ONE_FACE = 10  # close ones, in four turns, and one or two around


@pytest.fixture(scope="module")
def model(models_dir: Path) -> Path:
    return models_dir / "face_landmarker.task"


@pytest.fixture(scope="module")
def woman(testdata_dir: Path, model: Path) -> Clip:
    return clip(testdata_dir / "videos" / "lp_d14.mp4", model, 40)


@pytest.fixture(scope="module")
def man(testdata_dir: Path, model: Path) -> Clip:
    return clip(testdata_dir / "videos" / "lp_d9.mp4", model, 40)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One number, which counts the looks of the rough detector."""
    count, look = [0], FaceBoxes.look

    def counted(self: FaceBoxes, rgb: Rgb) -> object:
        count[0] += 1
        return look(self, rgb)

    monkeypatch.setattr(FaceBoxes, "look", counted)
    return count


def first(of: Clip, count: int) -> Clip:
    return Clip(of.pictures[:count], of.detections[:count])


def off(detections: list[Detection], truth: Clip) -> list[float]:
    """Mean distance of the landmarks of found frames from the truth, in face heights."""
    return [
        float(np.linalg.norm((d.landmarks - t.landmarks)[:, :2], axis=1).mean() / np.ptp(t.landmarks[:, 1]))
        for d, t in zip(detections, truth.detections, strict=True)
        if d.found
    ]


def side_of(detection: Detection, places: np.ndarray) -> int | None:
    """Which of the places [2] in pixels the face is at."""
    return int(np.abs(places - detection.landmarks[:, 0].mean()).argmin()) if detection.found else None


def test_a_face_that_the_detector_finds_gets_its_very_answer_and_costs_no_looks(model, woman, looks):
    with FaceFinder(model, live=True) as finder:
        got = found_in(finder, woman.pictures)
    for expected, detection in zip(woman.detections, got, strict=True):
        np.testing.assert_array_equal(detection.landmarks, expected.landmarks)
        np.testing.assert_array_equal(detection.scores, expected.scores)
        np.testing.assert_array_equal(detection.head_matrix, expected.head_matrix)
        assert (detection.turn, detection.person, detection.run, detection.found) == (0, 0, 1, True)
    # Three times in four turns, and for other people now and then.
    assert looks[0] <= 3 * 4 + 6


@pytest.mark.parametrize(
    ("share", "size", "at"),
    [
        (0.05, (1920, 1080), (0.3, 0.4)),
        (0.1, (1920, 1080), (0.96, 0.9)),
        (0.1, (3840, 2160), (0.04, 0.1)),
        (0.07, (1080, 1920), (0.5, 0.3)),
    ],
)
def test_small_faces_are_found_from_the_first_frame_on(model, woman, share, size, at):
    film = far_away(first(woman, 5), share, *size, at)
    with FaceFinder(model) as finder:
        got = found_in(finder, film.pictures)
    assert [(d.found, d.run, d.turn) for d in got] == [(True, 1, 0)] * 5
    assert max(off(got, film)) < 0.03  # 1.6 pixels of the smallest
    assert all((d.width, d.height) == size for d in got)


def test_live_a_small_face_is_found_soon_and_no_frame_is_looked_at_more_than_a_little(model, man, looks):
    film = far_away(first(man, 20), 0.07, 1280, 720, (0.7, 0.6))
    most, got = 0, []
    with FaceFinder(model, live=True) as finder:
        for frame in as_frames(film.pictures):
            before = looks[0]
            got.append(finder.detect(frame))
            most = max(most, looks[0] - before)
    assert most <= LOOKS_WHILE_LOST + LOOKS_AT_ONE_FACE
    seen = [d.found for d in got]
    assert all(seen[11:])  # a round over the upright picture takes ten frames
    assert max(off(got, film)) < 0.04  # while the crop grows the landmarks are a little late


def test_a_face_goes_away_comes_nearer_and_is_lost_for_a_while(model, woman):
    shares = [*np.geomspace(0.5, 0.06, 16), *np.geomspace(0.06, 0.5, 16)]
    pictures = []
    for share in shares:
        pictures += far_away(first(woman, 1), share, 1280, 720, (0.5, 0.5)).pictures
    pictures[16:16] = [wall(1280, 720)] * 4  # away at its smallest
    with FaceFinder(model) as finder:
        got = found_in(finder, pictures)
    assert [d.found for d in got] == [True] * 16 + [False] * 4 + [True] * 16
    assert {d.person for d in got} == {0}
    assert (got[0].run, got[-1].run) == (1, 2)


@pytest.mark.parametrize("turn", [1, 2, 3])
@pytest.mark.parametrize("live", [False, True])
def test_a_turned_film_is_turned_upright(model, man, turn, live):
    with FaceFinder(model, live=live) as finder:
        got = found_in(finder, [turned(rgb, turn) for rgb in man.pictures[:20]])
    seen = [d for d in got if d.found]
    assert len(seen) == 20 if not live else len(seen) >= 12
    assert {d.turn for d in seen} == {4 - turn}
    assert {(d.width, d.height) for d in seen} == {man.pictures[0].shape[1::-1]}
    assert max(off(got, first(man, 20))) < 0.02  # as if it had never been turned


def test_a_small_face_in_a_turned_film(model, woman):
    film = far_away(first(woman, 3), 0.08, 1280, 720, (0.6, 0.5))
    with FaceFinder(model) as finder:
        got = found_in(finder, [turned(rgb, 2) for rgb in film.pictures])
    assert [(d.found, d.turn) for d in got] == [(True, 2)] * 3
    assert max(off(got, film)) < 0.03


def test_rooms_and_skies_without_a_face_show_none(model, testdata_dir, looks):
    for path in sorted((testdata_dir / "hdri").glob("*.hdr")):
        light = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]
        room = (255 * (light / (1 + light)) ** 0.45).astype(np.uint8)
        views = [np.roll(room, 4 * i, 1)[60:420, :640] for i in range(30)]
        with FaceFinder(model) as finder:
            got = found_in(finder, views)
        assert not any(d.found for d in got), path
        assert {d.turn for d in got if d.found} <= {0}
        # One thorough search, then a few looks a frame.
        assert looks[0] < 200 + 30 * (LOOKS_WHILE_LOST + 2)
        looks[0] = 0


@pytest.mark.parametrize(("choice", "side"), [("left", 0), ("right", 1), ("2", 1), ("largest", 0)])
def test_one_of_two_people_is_chosen(model, woman, man, choice, side):
    film = beside(portrait(first(woman, 12), 360), portrait(first(man, 12), 240 + 120))
    if choice == "largest":  # the man's picture is the smaller one, on a wall
        small = [cv2.copyMakeBorder(rgb, 120, 0, 0, 120, cv2.BORDER_REPLICATE) for rgb in portrait(man, 240)]
        film = beside(portrait(first(woman, 12), 360), small[:12])
    for live in (False, True):
        with FaceFinder(model, person=PersonChoice.parse(choice), live=live) as finder:
            got = found_in(finder, film)
        sides = [side_of(d, np.array([180, 540])) for d in got]
        assert sides[-1] == side, (choice, live)
        assert set(sides) <= {side, None}
        assert live or None not in sides
        assert max(d.people for d in got) == 2


def test_a_person_who_is_not_there_is_not_found_and_the_others_are_counted(model, woman, man):
    film = beside(portrait(first(woman, 6), 360), portrait(first(man, 6), 360))
    with FaceFinder(model, person=PersonChoice.parse("3")) as finder:
        got = found_in(finder, film)
    assert not any(d.found for d in got)
    assert got[-1].people == 2


def test_the_first_person_is_kept_and_a_second_is_noticed(model, woman, man):
    film = beside(portrait(woman, 360), portrait(man, 360))
    alone = [rgb.copy() for rgb in film[:8]]
    for rgb in alone:
        rgb[:, 360:] = 128
    with FaceFinder(model, live=True) as finder:
        got = found_in(finder, [*alone, *film[8:]])
    assert [side_of(d, np.array([180, 540])) for d in got] == [0] * 40
    assert got[7].people == 1
    assert got[-1].people == 2


@pytest.mark.parametrize("choice", ["left", "right"])
def test_people_who_cross_are_not_mixed_up(model, woman, man, choice):
    film, places = crossing(portrait(man, 300), portrait(woman, 300), 1280)
    which = 0 if choice == "left" else 1
    with FaceFinder(model, person=PersonChoice.parse(choice)) as finder:
        got = found_in(finder, film)
    clear = np.abs(places[:, 0] - places[:, 1]) > 100
    sides = [side_of(d, p) for d, p, apart in zip(got, places, clear, strict=True) if apart and d.found]
    assert set(sides) == {which}
    assert len(sides) > 25  # of 40: the one behind is hidden for a while
    assert [d.found for d in got[-8:]] == [True] * 8
    assert {d.person for d in got} == {0}


@pytest.mark.parametrize("live", [False, True])
def test_a_cut_to_another_person_and_back_is_told(model, woman, man, live):
    a, b = portrait(woman, 480), portrait(man, 480)
    with FaceFinder(model, live=live) as finder:
        got = found_in(finder, [*a[:12], *b[:12], *a[12:24], *a[30:40]])
    assert all(d.found for d in got)
    assert [d.person for d in got] == [0] * 12 + [1] * 12 + [0] * 22
    assert got[11].run != got[12].run  # the smoothing begins anew


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_single_pictures_are_searched_and_turned_too(model, woman, man, turn):
    small = far_away(first(woman, 1), 0.07, 1280, 720, (0.8, 0.3))
    both = beside(portrait(first(woman, 1), 360), portrait(first(man, 1), 360))
    with PictureFinder(model) as finder:
        (got,) = [finder.detect(f) for f in as_frames([turned(small.pictures[0], turn)])]
    assert (got.found, got.turn) == (True, (4 - turn) % 4)
    assert max(off([got], small)) < 0.04
    with PictureFinder(model, PersonChoice.parse("right")) as finder:
        (got,) = [finder.detect(f) for f in as_frames([turned(both[0], turn)])]
    assert (got.found, got.turn, got.people) == (True, (4 - turn) % 4, 2)
    assert side_of(got, np.array([180, 540])) == 1
