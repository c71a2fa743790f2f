"""Thinner avatars, made beside the stream."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.live.deadline import SHARES
from engine.live.fewer import FewerGaussians
from tests.engine.live.fakes import small_avatar


def at_once(work: Callable[[], None]) -> None:
    work()


def test_closing_ends_the_making() -> None:
    waiting: list[Callable[[], None]] = []
    fewer, avatar = FewerGaussians(waiting.append), small_avatar()
    fewer(avatar, SHARES[0])
    fewer.close()
    waiting.pop()()
    assert fewer(avatar, SHARES[0]) is avatar  # neither made nor failed


def test_the_whole_avatar_is_shown_until_the_thinner_one_is_made() -> None:
    waiting: list[Callable[[], None]] = []
    fewer, avatar = FewerGaussians(waiting.append), small_avatar()
    share = SHARES[-1]
    assert fewer(avatar, 1.0) is avatar
    assert fewer(avatar, share) is avatar
    assert len(waiting) == 1  # begun with the first call, once
    waiting.pop()()
    num = avatar.gaussians.num_gaussians
    assert fewer(avatar, share).gaussians.num_gaussians == round(share * num)
    assert fewer(avatar, 1.0) is avatar


def test_another_avatar_is_never_shown_in_the_place_of_the_chosen_one() -> None:
    waiting: list[Callable[[], None]] = []
    fewer, first, second = FewerGaussians(waiting.append), small_avatar(), small_avatar()
    fewer(first, SHARES[0])
    fewer(second, SHARES[0])
    waiting[0]()
    assert fewer(second, SHARES[0]) is second


def test_what_fails_beside_the_stream_is_raised_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(avatar: object, before_each: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("engine.live.fewer.importance", fails)
    fewer, avatar = FewerGaussians(at_once), small_avatar()
    fewer(avatar, SHARES[0])
    with pytest.raises(ZeroDivisionError):
        fewer(avatar, SHARES[0])
