"""Where one participant's pictures go: a broadcast to browsers, a virtual camera, whatever comes next."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Sink(Protocol):
    """Takes the pictures of one participant, each in the thread that draws them.

    A recording of a broadcast is no sink: it is a `transport.webrtc.broadcast.Tap`, which takes the packets
    already encoded for the viewers and costs 4 us a picture instead of a second encode.
    """

    @property
    def watched(self) -> bool:
        """Whether it wants every picture; while no sink does, one is drawn now and then for newcomers."""
        ...

    def put(self, picture: NDArray[np.uint8], capture_ns: int) -> None:
        """Take the newest picture: I420 [H * 3/2, W], BT.601 limited range, even sizes.

        Must not block: the next picture is drawn after it returns. The picture may be kept but not changed,
        for the other sinks have it too. `capture_ns`: Unix time of the frame behind it. What it raises ends
        the participant.
        """
        ...

    def close(self) -> None:
        """Show nothing more and free what it holds; from any thread, twice does no harm."""
        ...
