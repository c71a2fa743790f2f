"""The capture time written into the picture, so that anyone can measure glass-to-glass latency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NUM_CELLS = 48  # Unix milliseconds, most significant bit first, black 0, white 1
CELL_PX = 8
WIDTH_PX = NUM_CELLS * CELL_PX

BLACK, WHITE, GREY = 16, 235, 128  # limited range luma; chroma without colour

_SHIFTS = np.arange(NUM_CELLS - 1, -1, -1, dtype=np.int64)


def draw_timecode(picture: NDArray[np.uint8], capture_ns: int) -> None:
    """Draw 48 cells of 8x8 pixels over the top-left corner, in place.

    Args:
        picture: RGB [H, W, 3] or I420 [H * 3/2, W]; at least 384 pixels wide and 8 high.
        capture_ns: Unix time in nanoseconds; drawn as whole milliseconds.

    Raises:
        ValueError: the picture is too small, or the time does not fit 48 bits.
    """
    width, height = _size(picture)
    milliseconds = capture_ns // 1_000_000
    if not 0 <= milliseconds < 1 << NUM_CELLS:
        raise ValueError(f"time {capture_ns} ns does not fit a timecode of {NUM_CELLS} bits")
    bits = np.repeat((milliseconds >> _SHIFTS) & 1, CELL_PX).astype(np.uint8)
    if picture.ndim == 3:
        picture[:CELL_PX, :WIDTH_PX] = (bits * 255)[None, :, None]
        return
    picture[:CELL_PX, :WIDTH_PX] = bits * (WHITE - BLACK) + BLACK
    for plane in _chroma(picture, width, height):
        plane[: CELL_PX // 2, : WIDTH_PX // 2] = GREY


def read_timecode(picture: NDArray[np.uint8]) -> int:
    """The Unix milliseconds drawn into a decoded picture, RGB [H, W, 3] or I420 [H * 3/2, W].

    Every cell is judged by the mean of its inner 4x4 pixels, which survives strong compression. A picture
    without a timecode gives some number: compare it with the clock.

    Raises ValueError when the picture is too small to hold one.
    """
    _size(picture)
    cells = picture[:CELL_PX, :WIDTH_PX].astype(np.float32)
    if picture.ndim == 3:
        cells = cells.mean(axis=2)
        middle = 127.5
    else:
        middle = (BLACK + WHITE) / 2
    inner = cells.reshape(CELL_PX, NUM_CELLS, CELL_PX)[2:6, :, 2:6].mean(axis=(0, 2))
    return int(np.sum((inner > middle).astype(np.int64) << _SHIFTS))


def _size(picture: NDArray[np.uint8]) -> tuple[int, int]:
    is_rgb = picture.ndim == 3
    height, width = picture.shape[0], picture.shape[1]
    if not is_rgb:
        height = height * 2 // 3
    if width < WIDTH_PX or height < CELL_PX:
        raise ValueError(f"a timecode needs {WIDTH_PX}x{CELL_PX} pixels, the picture has {width}x{height}")
    return width, height


def _chroma(picture: NDArray[np.uint8], width: int, height: int) -> list[NDArray[np.uint8]]:
    """Views of the U and V planes, [H/2, W/2] each."""
    planes = picture[height:].reshape(2, height // 2, width // 2)
    return [planes[0], planes[1]]
