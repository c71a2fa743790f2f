"""What the avatar does while its driver's face is lost, and when it comes back.

Everything is a function of the time the caller gives: 150 ms of standing still (most losses are a blink of
the detector), then an easy return to neutral that goes on breathing and blinking, and a quick blend back to
the driver.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from render.motion import Motion, blend


@dataclass(frozen=True, slots=True)
class PresenceConfig:
    """Times in seconds; the idle motion is that of a person who sits and listens."""

    hold_s: float = 0.15
    ease_s: float = 0.9
    return_s: float = 0.12
    breath_period_s: float = 4.2
    breath_lift_m: float = 0.0012
    breath_nod_rad: float = math.radians(0.5)
    blink_period_s: float = 3.7
    blink_s: float = 0.25


class Presence:
    """Turns motions with gaps into a motion without."""

    def __init__(
        self,
        unit_names: Sequence[str],
        blink: NDArray[np.float64],
        config: PresenceConfig | None = None,
    ) -> None:
        """`unit_names` [U] are the rig's, and `blink` [U] the weights that shut its lids."""
        self._config = config if config is not None else PresenceConfig()
        self._rest = Motion.neutral(unit_names)
        self._blink = blink
        self._shown: Motion | None = None  # what `update` gave last
        self._shown_s = -math.inf
        self._seen_s = -math.inf  # when the driver was seen last
        self._lost = True
        self._held: Motion | None = None  # what was shown when the driver was lost
        self._blend_from: Motion | None = None  # what was shown when the driver came back
        self._blend_begin_s = -math.inf

    def update(self, motion: Motion | None, time_s: float) -> Motion:
        """What to show at `time_s`, given the driver's motion, or None while the face is lost."""
        shown = self._without_driver(time_s) if motion is None else self._with_driver(motion, time_s)
        self._shown, self._shown_s = shown, time_s
        return shown

    def _without_driver(self, time_s: float) -> Motion:
        if not self._lost:
            self._lost, self._held = True, self._shown
        idle = self._idle(time_s)
        if self._held is None:  # nobody was seen yet
            return idle
        eased = _smooth((time_s - self._seen_s - self._config.hold_s) / self._config.ease_s)
        return blend(self._held, idle, eased)

    def _with_driver(self, motion: Motion, time_s: float) -> Motion:
        if self._lost:
            self._lost = False
            # After a short gap the held motion is still close: blending would only add lag.
            if time_s - self._seen_s > self._config.hold_s or self._blend_from is not None:
                self._blend_from, self._blend_begin_s = self._shown, self._shown_s
        self._seen_s = time_s
        share = _smooth((time_s - self._blend_begin_s) / self._config.return_s)
        if self._blend_from is None or share >= 1.0:
            self._blend_from = None
            return motion
        return blend(self._blend_from, motion, share)

    def _idle(self, time_s: float) -> Motion:
        config = self._config
        breath = 0.5 - 0.5 * math.cos(2 * math.pi * time_s / config.breath_period_s)
        return replace(
            self._rest,
            weights=self._blink * blink_weight(time_s, config.blink_period_s, config.blink_s),
            # the chin lifts a little on breathing in
            head_rotation=np.array([-config.breath_nod_rad * breath, 0.0, 0.0]),
            head_translation=np.array([0.0, config.breath_lift_m * breath, 0.0]),
        )


def blink_weight(time_s: float, period_s: float, blink_s: float) -> float:
    """How far the lids are shut (0..1) at a time: one blink a period, each at its own moment within it.

    The moments look irregular, as people's are, and are the same in every run.
    """
    number = math.floor(time_s / period_s)
    # The golden ratio's multiples spread evenly and never repeat.
    begin_s = number * period_s + (number * 0.6180339887498949 % 1.0) * (period_s - blink_s)
    phase = (time_s - begin_s) / blink_s
    if not 0.0 < phase < 1.0:
        return 0.0
    # Lids fall about twice as fast as they rise.
    return _smooth(phase / 0.35) if phase < 0.35 else 1.0 - _smooth((phase - 0.35) / 0.65)


def _smooth(share: float) -> float:
    """Smoothstep: 0 below 0, 1 above 1, no jerk at either end."""
    share = float(np.clip(share, 0.0, 1.0))
    return share * share * (3.0 - 2.0 * share)
