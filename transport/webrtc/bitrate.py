"""How many bits per second each viewer gets, when one encode serves them all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

Level = Literal["full", "low"]
Key = TypeVar("Key")

SHARE_OF_ESTIMATE = 0.85  # of what the receiver says its link carries: a 1 Mb/s link then stays without loss
DEMOTE_BELOW = 0.5  # of the best viewer's budget: slower links get an encode of their own
PROMOTE_ABOVE = 0.6
PROBE_AFTER_S = 5.0  # a link that carries more than the low encode offers is tried at the full one
PROBE_GRACE_S = 3.0  # so long a newly promoted viewer neither falls back nor slows the others
PROBE_HEADROOM = 1.15
MAX_PROBE_WAIT_S = 80.0


@dataclass(frozen=True, slots=True)
class BitrateLimits:
    """Bits per second of one encode."""

    lowest: int = 150_000
    start: int = 600_000  # before a viewer's link is known
    highest: int = 2_500_000

    @classmethod
    def for_size(cls, width: int, height: int) -> BitrateLimits:
        """2.5 Mb/s for 512x512, growing with the square root of the area: 1280x720 gets 4.7 Mb/s."""
        highest = round(2_500_000 * (width * height / 512**2) ** 0.5)
        return cls(highest=max(600_000, highest))


@dataclass(slots=True)
class ViewerRate:
    """What is known of one viewer's link, and which encode it gets.

    `estimate` is the receiver's report (REMB), bits per second, None before the first. A viewer on this
    machine is `unlimited`: loopback is no network, and its estimates only mirror what is sent.
    """

    unlimited: bool = False
    estimate: int | None = None
    level: Level = "full"
    moved_at_s: float = float("-inf")
    probe_wait_s: float = PROBE_AFTER_S

    def budget(self, limits: BitrateLimits) -> int:
        if self.unlimited:
            return limits.highest
        if self.estimate is None:
            return limits.start
        return max(limits.lowest, min(round(self.estimate * SHARE_OF_ESTIMATE), limits.highest))


@dataclass(frozen=True, slots=True)
class Rates:
    """Targets of the two encodes; None where nobody needs one."""

    full: int | None
    low: int | None


def share_out(viewers: Mapping[Key, ViewerRate], limits: BitrateLimits, now_s: float) -> Rates:
    """Give every viewer its encode (in place) and both encodes their bitrates.

    The full encode runs at the smallest budget among its viewers, who all have at least half the best
    viewer's: one slow link cannot spoil the picture of the others, it moves to the low encode.
    """
    if not viewers:
        return Rates(None, None)
    budgets = {key: rate.budget(limits) for key, rate in viewers.items()}
    best = max(budgets.values())
    low_now = [budgets[key] for key, rate in viewers.items() if rate.level == "low"]
    for key, rate in viewers.items():
        in_grace = now_s - rate.moved_at_s < PROBE_GRACE_S
        if rate.level == "full":
            if budgets[key] < DEMOTE_BELOW * best and not in_grace:
                rate.level, rate.moved_at_s = "low", now_s
        elif budgets[key] >= PROMOTE_ABOVE * best:
            rate.level, rate.moved_at_s, rate.probe_wait_s = "full", now_s, PROBE_AFTER_S
        elif _may_probe(rate, min(low_now), now_s):
            rate.level, rate.moved_at_s = "full", now_s
            rate.probe_wait_s = min(2 * rate.probe_wait_s, MAX_PROBE_WAIT_S)
    full = [
        budget
        for key, budget in budgets.items()
        if viewers[key].level == "full" and budget >= DEMOTE_BELOW * best
    ]
    low = [budget for key, budget in budgets.items() if viewers[key].level == "low"]
    return Rates(min(full) if full else None, min(low) if low else None)


def _may_probe(rate: ViewerRate, low_bitrate: int, now_s: float) -> bool:
    """A viewer held down by its neighbours' links reports more than it is sent, but never far more."""
    if rate.estimate is None or now_s - rate.moved_at_s < rate.probe_wait_s:
        return False
    return rate.estimate * SHARE_OF_ESTIMATE >= PROBE_HEADROOM * low_bitrate
