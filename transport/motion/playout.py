"""Plays a motion that came over a network: late, out of order, with gaps, and never with a jump.

Between two moments it interpolates. Past the newest it goes on as the last two did, ever more slowly, and
soon stands still. When something comes after all that changes what was shown, the difference fades away.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from dataclasses import replace

import numpy as np

from render.motion import Motion, blend, shifted
from transport.motion.wire import JOINTS, Told

_KEPT = 64  # moments
_BEYOND_S = 0.03  # a motion goes on for that long at most past its newest moment
_APART_S = 0.2  # moments further apart do not say how fast it goes
_EASE_S = 0.05  # after which a third of a difference is left
_LAGS_S, _LAGS = 5.0, 512  # over which the network's fastest way is looked for
_COVERED = 0.9  # share of the moments that come in time for the delay that is chosen
_MOST_DELAY_S = 0.4
_LONGER, _SHORTER = 0.5, 0.05  # of time, while the delay grows or shrinks: a film at half its speed at worst
_RESTART_S = 1.0  # times that differ by more from what was expected are of another clock, or a gap's end


class Playout:
    """One person's motion, moment by moment; times in nanoseconds, of whatever clock the caller has.

    `delay_s` says how long after the fastest message a moment is shown. Without, it is what the network
    needs: a moment more, and the time within which nine in ten messages come.
    """

    def __init__(self, delay_s: float | None = None) -> None:
        self._fixed_s = delay_s
        self._face, self._joints = _Track(), _Track()
        self._lags: deque[tuple[int, int]] = deque(maxlen=_LAGS)  # when it came; our clock less the sender's
        self._offset_ns: int | None = None  # the least of them: the network's fastest way
        self._interval_s = 1 / 30
        self._delay_s: float | None = delay_s
        self._asked_ns: int | None = None

    def put(self, told: Told, arrival_ns: int) -> None:
        """Take what a message told."""
        lag = arrival_ns - told.motion.time_ns
        if self._offset_ns is not None and abs(lag - self._offset_ns) > _RESTART_S * 1e9:
            self._lags.clear()
            self._face.restart()
            self._joints.restart()
        self._lags.append((arrival_ns, lag))
        while arrival_ns - self._lags[0][0] > _LAGS_S * 1e9:
            self._lags.popleft()
        self._offset_ns = min(lag for _, lag in self._lags)
        self._interval_s = 1 / told.fps
        (self._joints if told.kind == JOINTS else self._face).put(told.motion)

    @property
    def delay_s(self) -> float:
        """How long after the fastest message moments are shown at present."""
        return self._delay_s or 0.0

    def at(self, now_ns: int) -> Motion | None:
        """What to show now; None until a face came. To be asked in the order of time."""
        if self._offset_ns is None or not self._face.begun:
            return None
        self._adapt(now_ns)
        at_ns = now_ns - self._offset_ns - round(1e9 * self.delay_s)
        shown = self._face.at(at_ns)
        if self._joints.begun:
            shown = replace(shown, joints=self._joints.at(at_ns).joints)
        return shown

    def _adapt(self, now_ns: int) -> None:
        elapsed_s = 0.0 if self._asked_ns is None else (now_ns - self._asked_ns) / 1e9
        self._asked_ns = now_ns
        if self._fixed_s is not None:
            return
        lags = sorted(lag for _, lag in self._lags)
        late_s = (lags[int(_COVERED * (len(lags) - 1))] - lags[0]) / 1e9
        wanted = min(self._interval_s + late_s, _MOST_DELAY_S)
        if self._delay_s is None:
            self._delay_s = wanted
        change = wanted - self._delay_s
        self._delay_s += max(-_SHORTER * elapsed_s, min(_LONGER * elapsed_s, change))


class _Track:
    """Moments of the same units or joints, and what was shown of them."""

    def __init__(self) -> None:
        self._moments: list[Motion] = []  # in the order of their times
        self._times: list[int] = []
        self._at_ns: int | None = None  # what was asked last,
        self._pair: tuple[Motion, Motion] | None = None  # what it was made of,
        self._shown: Motion | None = None  # and what it was
        self._error: tuple[Motion, Motion, int] | None = None  # what was so, what was shown, and when

    @property
    def begun(self) -> bool:
        return bool(self._moments) or self._shown is not None

    def restart(self) -> None:
        """Forget all moments, for time starts anew; what was shown is left gently."""
        self._moments, self._times = [], []
        self._at_ns = self._pair = None

    def put(self, motion: Motion) -> None:
        row = bisect_right(self._times, motion.time_ns)
        if row and self._times[row - 1] == motion.time_ns:
            return
        if self._moments and not _alike(self._moments[0], motion):
            if row < len(self._moments):
                return  # late, and of a layout that is no more
            self._moments, self._times, row = [], [], 0
            self._pair = self._shown = self._error = None
        self._moments.insert(row, motion)
        self._times.insert(row, motion.time_ns)
        del self._moments[:-_KEPT], self._times[:-_KEPT]

    def at(self, at_ns: int) -> Motion:
        if not self._moments:
            assert self._shown is not None
            return self._shown
        at_ns = at_ns if self._at_ns is None else max(at_ns, self._at_ns)
        if self._shown is not None:
            before_ns = at_ns if self._at_ns is None else self._at_ns
            if self._pair is None or not _same(self._pair, self._around(before_ns)):
                self._error = _between(*self._around(before_ns), before_ns), self._shown, before_ns
        self._at_ns, self._pair = at_ns, self._around(at_ns)
        shown = _between(*self._pair, at_ns)
        if self._error is not None:
            so, seen, since_ns = self._error
            share = math.exp(-(at_ns - since_ns) / (1e9 * _EASE_S))
            if share < 1e-3:
                self._error = None
            else:
                shown = _possible(shifted(shown, so, seen, share), shown, so, seen)
        self._shown = shown
        return shown

    def _around(self, at_ns: int) -> tuple[Motion, Motion]:
        """The moments before and after, or the last two."""
        last = len(self._moments) - 1
        row = max(min(1, last), min(bisect_right(self._times, at_ns), last))
        return self._moments[max(0, row - 1)], self._moments[row]


def _same(first: tuple[Motion, Motion], second: tuple[Motion, Motion]) -> bool:
    return first[0] is second[0] and first[1] is second[1]


def _alike(first: Motion, second: Motion) -> bool:
    return first.unit_names == second.unit_names and first.joints.keys() == second.joints.keys()


def _between(before: Motion, after: Motion, at_ns: int) -> Motion:
    """A moment between two, or past them, as far as that is known."""
    length_s = (after.time_ns - before.time_ns) / 1e9
    if length_s <= 0 or at_ns <= before.time_ns:
        return replace(before, time_ns=at_ns)
    beyond_s = (at_ns - after.time_ns) / 1e9
    if beyond_s <= 0:
        return replace(blend(before, after, 1 + beyond_s / length_s), time_ns=at_ns)
    if length_s > _APART_S:
        return replace(after, time_ns=at_ns)
    way_s = _BEYOND_S * (1 - math.exp(-beyond_s / _BEYOND_S))
    guess = blend(before, after, 1 + way_s / length_s)
    return replace(_possible(guess, before, after), time_ns=at_ns)


def _possible(guess: Motion, *known: Motion) -> Motion:
    """A guess in which no unit goes further than it may for certain: an eye that shuts is shut, not more."""
    weights = [motion.weights for motion in known]
    return replace(
        guess,
        weights=np.clip(
            guess.weights, np.minimum(0.0, np.min(weights, 0)), np.maximum(1.0, np.max(weights, 0))
        ),
    )
