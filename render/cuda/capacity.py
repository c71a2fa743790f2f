"""How many Gaussian-tile pairs to have memory for: buckets that double, switched with hysteresis."""

from __future__ import annotations

SMALLEST = 1 << 18
LARGEST = 1 << 30
_FULL = 0.8  # of a bucket: the next frame may need more
_IDLE = 0.3  # of a bucket: less than that would also fit, not full, into the next smaller
_PATIENCE = 300  # frames in a row that could do with less, before memory is given back


class Capacity:
    """The bucket that a run of frames needs; pairs are those of the fullest picture of a frame."""

    def __init__(self, smallest: int = SMALLEST) -> None:
        self.pairs = self._smallest = smallest
        self.overflows = 0  # frames that had more pairs than the bucket they were drawn with
        self._idle = 0

    def observe(self, pairs: int, had: int) -> bool:
        """Learn what a frame needed that was drawn with room for `had`; whether another bucket is due now."""
        self.overflows += pairs > had
        if pairs > _FULL * self.pairs and self.pairs < LARGEST:
            while pairs > _FULL * self.pairs and self.pairs < LARGEST:
                self.pairs *= 2
            self._idle = 0
            return True
        self._idle = self._idle + 1 if pairs < _IDLE * self.pairs and self.pairs > self._smallest else 0
        if self._idle < _PATIENCE:
            return False
        self.pairs //= 2
        self._idle = 0
        return True
