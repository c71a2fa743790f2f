"""Early warning: a loss that climbs instead of falling."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class LossWatch:
    """Compares the mean loss of the latest `window` steps with the lowest such mean of the phase.

    Windows, because steps with different pictures differ more than training changes.
    """

    def __init__(self, window: int, rise: float = 1.5) -> None:
        self.window = window
        self.rise = rise
        self.reset()

    def reset(self, past: Iterable[float] = ()) -> None:
        """Begin a phase, or go on behind the losses of its `past` steps."""
        self._latest: deque[float] = deque(maxlen=self.window)
        self._lowest = float("inf")
        self._warned = False
        for loss in past:
            self.see(loss)

    def see(self, loss: float) -> str | None:
        """Take one step's loss; returns one line of warning, once a phase, when it climbs."""
        self._latest.append(loss)
        if len(self._latest) < self.window:
            return None
        mean = sum(self._latest) / self.window
        self._lowest = min(self._lowest, mean)
        # Relative to a magnitude, because a loss with a regulariser may be negative.
        climbed = mean - self._lowest > (self.rise - 1) * max(abs(self._lowest), 1e-12)
        if self._warned or not climbed:
            return None
        self._warned = True
        return (
            f"the loss is climbing: {mean:.4g} over the last {self.window} steps, {self._lowest:.4g} at its "
            "best; if it goes on, start again with a lower rate"
        )
