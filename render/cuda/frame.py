"""One frame's buffers on the device and the launches that fill them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Layout = Literal["rgb8", "yuv420", "nv12", "float"]
Colorspace = Literal["bt709", "bt601"]


@dataclass(frozen=True)
class Statistics:
    """What a stage or a renderer has done so far."""

    pairs: int  # Gaussian-tile pairs of the last frame, of the picture in the batch that had most
    capacity: int  # pairs a picture has memory for
    overflows: int  # frames that had more pairs than that
    frames: int
    captures: int  # graphs recorded: 1 and one more for every change of capacity
