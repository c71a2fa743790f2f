"""Where is looked for a face, and how the tracker gets from there to the whole picture."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tracking.detect.face_boxes import LEAST_SHARE, FaceBox
from tracking.detect.person_choice import PersonChoice
from tracking.detect.quarter_turns import NUM_TURNS, turned
from tracking.detect.scene_cuts import SceneCuts
from tracking.detect.search_plan import Searcher, all_looks, apart, part_of, upright_looks
from tracking.detect.zoom import Zoom
from tracking.errors import TrackingError

SIZES = [(1920, 1080), (1080, 1920), (3840, 2160), (640, 480), (512, 512), (2560, 800)]


def face(x: float, y: float, size: float, score: float = 0.9) -> FaceBox:
    return FaceBox(x, y, size, score, np.array([(x - 1, y), (x + 1, y), (x, y + 2)], float))


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_every_face_from_a_twentieth_of_the_height_on_is_large_enough_in_some_look(width, height):
    random = np.random.default_rng(0)
    looks = upright_looks(width, height)
    for _ in range(500):
        size = height * random.uniform(0.052, min(0.9, 0.9 * width / height))
        x, y = random.uniform(0.5 * size, [width - 0.5 * size, height - 0.5 * size])
        shares = [
            size / max(look.width, look.height)
            for look in looks
            # A tenth of the face may lie outside.
            if look.left - 0.1 * size <= x - size / 2
            and x + size / 2 <= look.left + look.width + 0.1 * size
            and look.top - 0.1 * size <= y - size / 2
            and y + size / 2 <= look.top + look.height + 0.1 * size
        ]
        assert max(shares, default=0) >= LEAST_SHARE - 1e-9, (x, y, size)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_round_is_short_and_looks_in_all_turns_only_where_it_may(width, height):
    everything = all_looks(width, height, turned_too=True)
    assert {look.turn for look in everything} == set(range(NUM_TURNS))
    assert len(everything) < 220
    assert {look.turn for look in all_looks(width, height, turned_too=False)} == {0}
    for look in everything:
        across, down = (width, height) if look.turn % 2 == 0 else (height, width)
        assert look.left >= 0
        assert look.top >= 0
        assert look.left + look.width <= across + 1e-6
        assert look.top + look.height <= down + 1e-6


def test_a_look_at_a_turned_picture_is_that_part_of_it():
    class Eye:
        def look(self, rgb):
            self.seen = rgb
            return [face(12, 40, 30)]

    random = np.random.default_rng(0)
    rgb = random.integers(0, 255, (90, 160, 3), np.uint8)
    for turn in range(NUM_TURNS):
        eye = Eye()
        upright = turned(rgb, turn)
        for look in all_looks(160, 90, turned_too=True):
            if look.turn == turn:
                (found,) = Searcher(eye).faces(rgb, look)
                scale = max(look.width, look.height) / 128
                assert found.x == pytest.approx(look.left + 12 * scale)
                expected = part_of(upright, look.left, look.top, look.width, look.height)
                # Corners between pixels are rounded to either side.
                assert np.abs(eye.seen.mean((0, 1)) - expected.mean((0, 1))).max() < 6


@pytest.mark.parametrize("place", [(-200, 10), (5000, 5000), (-30.5, -30.5), (99.7, 49.7)])
def test_parts_beyond_the_picture_are_grey(place):
    part = part_of(np.full((50, 100, 3), 200, np.uint8), *place, 64.0, 64.0)
    assert part.shape == (128, 128, 3)
    assert set(np.unique(part)) <= {110, 200}


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_zoom_ends_with_the_whole_picture_in_steps_that_can_be_followed(width, height):
    random = np.random.default_rng(1)
    for _ in range(100):
        size = height * random.uniform(0.04, min(0.5, 0.5 * width / height))
        middle = random.uniform(0.5 * size, [width - 0.5 * size, height - 0.5 * size])
        zoom = Zoom(middle, size, width, height, 0.2)
        places = []
        for _ in range(80):
            left, top, across, down = zoom.window()
            assert left >= 0
            assert top >= 0
            assert left + across <= width
            assert top + down <= height
            places.append(np.array([*((middle - [left, top]) / [across, down]), size / across]))
            # The whole face is in it, but for what rounding takes.
            assert (
                np.abs((middle - [left, top]) - np.array([across, down]) / 2) + size / 2
                <= np.array([across, down]) / 2 + 2
            ).all()
            if zoom.done:
                break
            zoom.grow(middle, size)
        assert zoom.window() == (0, 0, width, height)
        for before, after in itertools.pairwise(places):
            moved = np.abs(after[:2] - before[:2]) * [1, height / width] / before[2]
            assert moved.max() < 0.12  # face sizes, with the windows' rounding; those of 0.16 were lost
            assert 1 - 1e-9 <= before[2] / after[2] < 1.13


def test_a_face_seen_twice_is_one_face():
    seen = [face(100, 100, 50, 0.8), face(106, 98, 45, 0.9), face(300, 100, 50, 0.7)]
    assert [f.score for f in apart(seen)] == [0.9, 0.7]


def test_choices_go_by_the_place_in_the_picture():
    people = [face(300, 50, 40), face(100, 60, 60), face(200, 50, 50)]
    names = {"left": 100, "right": 300, "largest": 100, "2": 200, "3": 300, " LEFT ": 100}
    for text, x in names.items():
        chosen = PersonChoice.parse(text).of(people)
        assert chosen is not None
        assert chosen.x == x
    assert PersonChoice.parse("4").of(people) is None
    assert PersonChoice.parse("left").of([]) is None


@pytest.mark.parametrize("text", ["middle", "0", "-1", "1.5", "", "99"])
def test_a_choice_that_is_none_is_named(text):
    with pytest.raises(TrackingError, match=r"left, right, largest, or a number") as raised:
        PersonChoice.parse(text)
    assert f"--person {text}:" in str(raised.value)


def test_a_cut_is_a_sudden_change_of_the_whole_picture():
    random = np.random.default_rng(0)
    coarse = random.integers(0, 255, (3, 9, 16, 3)).astype(np.uint8)
    a, b, c = (np.kron(rgb, np.ones((40, 40, 1), np.uint8)) for rgb in coarse)
    cuts = SceneCuts()
    assert [cuts.is_cut(rgb) for rgb in (a, a, b, b, b, a)] == [False, False, True, False, False, True]
    brighter = np.clip(a * 1.2, 0, 255).astype(np.uint8)
    assert not cuts.is_cut(brighter)
    assert not cuts.is_cut(np.zeros_like(a))  # someone covers the lens
    assert [cuts.is_cut(np.roll(a, 40 * i, 1)) for i in range(1, 9)][2:] == [False] * 6  # all of it moves
    assert c.shape == a.shape
