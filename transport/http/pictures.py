"""Background pictures sent by the page: checked, decoded, cut to the stream's shape and blurred."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from transport.http.controls import ControlError

MAX_JPEG_BYTES = 6 * 1024 * 1024
MAX_PIXELS = 24_000_000  # decoded, 72 MB
MAX_BLUR = 0.05  # the strongest blur's standard deviation, of the picture's width


def background_from_jpeg(data: bytes, width: int, height: int, blur: float) -> NDArray[np.uint8]:
    """A JPEG as RGB [height, width, 3], covering the whole; `blur` from 0 (none) to 1 (strongest).

    Raises ControlError for anything that is no JPEG of a sensible size.
    """
    import cv2

    size = jpeg_size(data)
    if size is None:
        raise ControlError("this file is no JPEG picture that can be read; choose another one")
    if size[0] * size[1] > MAX_PIXELS:
        raise ControlError(f"the picture has {size[0]}x{size[1]} pixels, at most 24 million are taken")
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ControlError("this JPEG picture is damaged; choose another one")
    scale = max(width / bgr.shape[1], height / bgr.shape[0])
    covering = (max(width, round(bgr.shape[1] * scale)), max(height, round(bgr.shape[0] * scale)))
    bgr = cv2.resize(bgr, covering, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    top, left = (covering[1] - height) // 2, (covering[0] - width) // 2
    bgr = bgr[top : top + height, left : left + width]
    if blur > 0:
        bgr = cv2.GaussianBlur(bgr, (0, 0), sigmaX=max(0.5, min(blur, 1.0) * MAX_BLUR * width))
    return np.ascontiguousarray(bgr[..., ::-1], np.uint8)


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height from a JPEG's header, without decoding it; None when there is none.

    Source: ITU-T T.81, annex B.
    """
    if not data.startswith(b"\xff\xd8"):
        return None
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            height = int.from_bytes(data[position + 5 : position + 7], "big")
            width = int.from_bytes(data[position + 7 : position + 9], "big")
            return (width, height) if width and height else None
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None
