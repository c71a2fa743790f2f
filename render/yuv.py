"""RGB to limited-range YUV."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Colorspace = Literal["bt709", "bt601"]

_RED_BLUE = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}  # shares of luma


def yuv_matrix(colorspace: Colorspace) -> NDArray[np.float32]:
    """Rows Y, U, V of factors of red, green and blue in 0..255 and an offset, [3, 4].

    Limited range: Y 16..235, U and V 16..240 around 128. Source: ITU-R BT.601 and BT.709.
    """
    red, blue = _RED_BLUE[colorspace]
    luma = np.array([red, 1 - red - blue, blue])
    rows = [
        219 * luma,
        112 * (np.array([0, 0, 1]) - luma) / (1 - blue),
        112 * (np.array([1, 0, 0]) - luma) / (1 - red),
    ]
    return np.column_stack([np.array(rows) / 255, (16, 128, 128)]).astype(np.float32)
