"""One encode for many links: slow viewers get the second encode, nobody is stuck there."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from transport.webrtc.bitrate import (
    DEMOTE_BELOW,
    PROBE_AFTER_S,
    PROBE_GRACE_S,
    BitrateLimits,
    ViewerRate,
    share_out,
)

LIMITS = BitrateLimits()


def test_one_viewer_gets_85_percent_of_what_its_link_carries() -> None:
    viewer = ViewerRate()
    assert share_out({1: viewer}, LIMITS, 0.0).full == LIMITS.start
    viewer.estimate = 1_000_000
    assert share_out({1: viewer}, LIMITS, 1.0).full == 850_000
    viewer.estimate = 10_000
    assert share_out({1: viewer}, LIMITS, 2.0).full == LIMITS.lowest
    viewer.estimate = 100_000_000
    assert share_out({1: viewer}, LIMITS, 3.0).full == LIMITS.highest
    assert viewer.level == "full"


def test_nobody_watching_needs_no_encode() -> None:
    rates = share_out({}, LIMITS, 0.0)
    assert rates.full is None
    assert rates.low is None


def test_a_slow_link_does_not_slow_the_others() -> None:
    fast = [ViewerRate(estimate=3_000_000) for _ in range(3)]
    slow = ViewerRate(estimate=400_000)
    rates = share_out(dict(enumerate([*fast, slow])), LIMITS, 0.0)
    assert slow.level == "low"
    assert rates.low == 340_000
    assert rates.full is not None
    assert rates.full >= 2_400_000


def test_links_that_differ_little_share_one_encode() -> None:
    viewers = {index: ViewerRate(estimate=estimate) for index, estimate in enumerate((2_000_000, 1_200_000))}
    rates = share_out(viewers, LIMITS, 0.0)
    assert rates.low is None
    assert rates.full == 1_020_000


def test_a_viewer_on_this_machine_needs_no_estimate() -> None:
    assert share_out({1: ViewerRate(unlimited=True, estimate=200_000)}, LIMITS, 0.0).full == LIMITS.highest


def test_a_good_link_beside_a_bad_one_is_tried_at_the_full_encode() -> None:
    """Receivers never report much more than they are sent, so the good link cannot show what it carries."""
    viewers = {
        "local": ViewerRate(unlimited=True),
        "bad": ViewerRate(estimate=300_000, level="low"),
        "good": ViewerRate(estimate=382_000, level="low"),  # 1.5 x what the low encode sends
    }
    share_out(viewers, LIMITS, 0.0)
    assert viewers["good"].level == "full"
    now = PROBE_GRACE_S - 0.1
    rates = share_out(viewers, LIMITS, now)
    assert viewers["good"].level == "full"
    assert rates.full == LIMITS.highest  # on trial it holds nobody back
    viewers["good"].estimate = 2_800_000
    share_out(viewers, LIMITS, PROBE_GRACE_S + 1)
    assert viewers["good"].level == "full"
    assert viewers["bad"].level == "low"


def test_failed_trials_become_rare() -> None:
    viewers = {
        "local": ViewerRate(unlimited=True),
        "bad": ViewerRate(estimate=300_000, level="low"),
        "capped": ViewerRate(estimate=382_000, level="low"),
    }
    trials = []
    for now in range(0, 200):
        before = viewers["capped"].level
        share_out(viewers, LIMITS, float(now))
        if before == "low" and viewers["capped"].level == "full":
            trials.append(now)
    gaps = [after - before for before, after in pairwise(trials)]
    assert len(trials) >= 3
    assert gaps == sorted(gaps)
    assert gaps[0] >= PROBE_AFTER_S


@given(
    estimates=st.lists(st.none() | st.integers(0, 10**9), min_size=1, max_size=12),
    steps=st.integers(1, 20),
)
def test_rates_stay_within_the_limits(estimates: list[int | None], steps: int) -> None:
    viewers = {index: ViewerRate(estimate=estimate) for index, estimate in enumerate(estimates)}
    for step in range(steps):
        rates = share_out(viewers, LIMITS, float(step))
        levels = {viewer.level for viewer in viewers.values()}
        assert (rates.low is not None) == ("low" in levels)
        assert rates.full is not None
        best = max(viewer.budget(LIMITS) for viewer in viewers.values())
        assert DEMOTE_BELOW * best <= rates.full <= LIMITS.highest
        assert rates.low is None or LIMITS.lowest <= rates.low <= LIMITS.highest
