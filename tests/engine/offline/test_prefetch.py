"""A pipeline stage in a thread: order, errors, and an end that leaves no thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from engine.offline.prefetch import prefetched


def threads() -> int:
    return sum(thread.name == "prefetch" for thread in threading.enumerate())


def test_everything_comes_in_order() -> None:
    with prefetched(range(1000), depth=3) as items:
        assert list(items) == list(range(1000))
        assert list(items) == []
    assert threads() == 0


def test_it_runs_ahead_by_the_depth_and_no_more() -> None:
    made = []
    enough = threading.Event()

    def items() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            if i == 3:
                enough.set()
            yield i

    with prefetched(items(), depth=3) as ahead:
        assert enough.wait(10)  # three queued, one waiting to be
        assert next(ahead) == 0
        assert len(made) <= 6  # two taken or waiting, three queued, one being made
    assert threads() == 0
    assert len(made) < 100


def test_an_error_is_raised_after_what_came_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ZeroDivisionError("third")

    seen = []
    with pytest.raises(ZeroDivisionError, match="third"), prefetched(items()) as ahead:
        seen.extend(iter(lambda: next(ahead), None))
    assert seen == [1, 2]
    assert threads() == 0


def test_leaving_early_ends_the_thread() -> None:
    def fail() -> None:
        with prefetched(iter(int, 1), depth=1) as ahead:
            next(ahead)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert threads() == 0
