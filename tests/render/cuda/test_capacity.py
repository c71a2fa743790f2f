"""Buckets of pairs: up at once, down only after a long time."""

from render.cuda.capacity import LARGEST, SMALLEST, Capacity


def test_it_grows_before_it_is_full() -> None:
    capacity = Capacity(1000)
    assert not capacity.observe(800, 1000)
    assert capacity.observe(801, 1000)
    assert (capacity.pairs, capacity.overflows) == (2000, 0)


def test_it_grows_as_far_as_a_frame_needs_at_once() -> None:
    capacity = Capacity(1000)
    assert capacity.observe(7000, 1000)
    assert capacity.pairs == 16_000  # 7000 are more than 80 % of 8000
    assert capacity.overflows == 1


def test_a_late_count_is_held_against_what_its_frame_had() -> None:
    capacity = Capacity(1000)
    capacity.observe(1500, 1000)
    assert not capacity.observe(1500, 1000)  # started before the first count arrived
    assert (capacity.pairs, capacity.overflows) == (2000, 2)
    assert not capacity.observe(1500, 2000)
    assert capacity.overflows == 2


def test_it_shrinks_after_many_small_frames_in_a_row() -> None:
    capacity = Capacity(1000)
    capacity.observe(3000, 1000)
    assert capacity.pairs == 4000
    for _ in range(299):
        assert not capacity.observe(1100, 4000)
    assert not capacity.observe(1300, 4000)  # no longer small: the count starts again
    for _ in range(299):
        assert not capacity.observe(1100, 4000)
    assert capacity.observe(1100, 4000)
    assert capacity.pairs == 2000


def test_what_made_it_shrink_does_not_make_it_grow() -> None:
    capacity = Capacity(1000)
    capacity.observe(3000, 1000)
    changes = sum(capacity.observe(1190, capacity.pairs) for _ in range(2000))
    assert (changes, capacity.pairs) == (1, 2000)


def test_it_stays_within_its_limits() -> None:
    capacity = Capacity()
    assert not any(capacity.observe(0, SMALLEST) for _ in range(1000))
    assert capacity.pairs == SMALLEST
    assert capacity.observe(2**31 - 1, SMALLEST)
    assert capacity.pairs == LARGEST
    assert not capacity.observe(2**31 - 1, LARGEST)
