"""One picture and the moment it was taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Frame:
    """A captured picture; the timestamp travels with the pixels through every stage."""

    rgb: NDArray[np.uint8]  # [H, W, 3], C-contiguous, display orientation
    capture_ns: int  # live: Unix time at arrival; file: presentation time from the start of the stream
    index: int  # 0, 1, 2, ... in reading order

    @property
    def width(self) -> int:
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        return int(self.rgb.shape[0])
