"""How far the eyes look up, which the irises hardly show: lids hide them above and below.

The detector's scores see it better, and a little more with the head's pitch, on which they depend. The
factors are those of a ridge regression on random faces of the built-in people, as `making.make_head_pose`
films them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracking.detect.detection import score_columns

Array = NDArray[np.float64]

_UP, _DOWN, _PITCH_PER_DEGREE = 0.61, 0.74, 0.011  # weights of looking up per score, and per degree of pitch


def gaze_up(scores: Array, angles: Array) -> Array:
    """How far the eyes look up [T], as a weight of the look units (down: below 0), but for a person's rest.

    Scores [T, 52] and head angles [T, 3] in degrees. Shut eyes count as looking ahead.
    """
    looks_up, looks_down, shut = (
        scores[:, score_columns(start)].mean(1) for start in ("eyeLookUp", "eyeLookDown", "eyeBlink")
    )
    return (1 - shut) * (_UP * looks_up - _DOWN * looks_down - _PITCH_PER_DEGREE * angles[:, 1])
