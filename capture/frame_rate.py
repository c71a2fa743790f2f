"""How many frames a second a film has, measured on its frames' own times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np

FALLBACK_FPS = 30.0
# What a file or a driver states is believed up to here: above, it is the clock's tick (1000, 90000) and not
# the frames'. Cameras that film faster store slow motion.
_MOST_STATED = 480.0
_MOST_FPS = 1000.0
_ALIKE = 0.002  # share of a rate
_NEAR = 0.1  # of the usual step: frames this near count, dropped and doubled ones do not
_USUAL_RATES = (
    *(Fraction(rate) for rate in (10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120, 240)),
    *(Fraction(rate * 1000, 1001) for rate in (15, 24, 30, 48, 60, 120, 240)),
    Fraction(25, 2),
)


def frame_rate(ticks: Iterable[int | None], tick_s: Fraction, stated: Sequence[Fraction | None]) -> float:
    """Frames per second from the times of a film's first frames.

    It is the median of the steps between frames, so that dropped frames, pauses and a jittering clock change
    nothing; steps near it are averaged, for a file may count in whole milliseconds.

    Args:
        ticks: presentation times in any order, None where the file has none.
        tick_s: seconds of one.
        stated: what the file says, most trusted first; used where fewer than two frames have a time.
    """
    measured = _measured([tick for tick in ticks if tick is not None], tick_s, stated)
    return measured if measured is not None else plausible(stated)


def plausible(stated: Iterable[Fraction | float | None]) -> float:
    """The first of the stated rates that can be one; 30 when none can."""
    return next((float(rate) for rate in stated if rate and 0 < rate <= _MOST_STATED), FALLBACK_FPS)


def _measured(ticks: list[int], tick_s: Fraction, stated: Sequence[Fraction | None]) -> float | None:
    times = np.unique(np.asarray(ticks, np.int64))
    if len(times) < 2:
        return None
    steps = np.diff(times).astype(float)
    pairs = (times[2:] - times[:-2]) / 2
    # Film shown as television lasts two and three fields in turn: there, two steps are the regular thing.
    if len(pairs) > 2 and _spread(pairs) < 0.5 * _spread(steps):
        steps = pairs
    step = float(np.sort(steps)[(len(steps) - 1) // 2])  # one that there is, and not between two
    # a tick more or less is rounding, but where frames are a tick apart it is a dropped one
    near = steps[np.abs(steps - step) <= min(max(_NEAR * step, 1.0), 0.6 * step)]
    step = float(near.mean())
    fps = 1 / (step * float(tick_s))
    if not 0 < fps <= _MOST_FPS:
        return None
    # A stated or usual rate is meant where ticks, or jitter above them, cannot tell it from the measured one.
    jitter = float(near.std())
    doubt = 1e-5 + (1 / len(near) + (2 * jitter / len(near) ** 0.5 if jitter > 1 else 0)) / step
    for known in (stated, _USUAL_RATES):
        meant = [float(rate) for rate in known if rate and abs(float(rate) - fps) <= doubt * fps]
        if meant:
            # of two as near as 24 and 23.976, the first
            return min(meant, key=lambda rate: int(abs(rate / fps - 1) / _ALIKE))
    return fps


def _spread(steps: np.ndarray) -> float:
    return float(np.abs(steps - steps.mean()).mean())
