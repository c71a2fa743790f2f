"""What the kernels of the training renderer pass to one another, and how they are compiled.

A picture is drawn in tiles of 16x16 pixels, a tile in blocks of 8x2: one vector of sixteen lanes. Block i of
a tile stands at column i // 8 and row i % 8 of its blocks.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from render.cpu import lanes

TILE, LANES = 16, lanes.LANES  # pixels a side
BLOCK_WIDTH, BLOCK_HEIGHT = 8, 2
COLUMN_BLOCKS = TILE // BLOCK_HEIGHT  # blocks one above the other
TILE_BLOCKS = TILE // BLOCK_WIDTH * COLUMN_BLOCKS
BATCH = 32  # splats blended together: one bit each
CHUNK = 256  # Gaussians a thread projects at a time

# A splat is a record of sixteen floats, one cache line; its gradient has the same columns. In the list of
# splats the first two hold the box of pixels it may touch, 16 bits each of last and first, as int32 bits.
MEAN_X, MEAN_Y = 0, 1
ROWS, COLUMNS = 0, 1
CONIC_A, CONIC_B, CONIC_C = 2, 3, 4  # 3D
U_X, U_Y, V_X, V_Y = 2, 3, 4, 5  # surfels
LOG2_OPACITY, TILT_X, TILT_Y, RED, GREEN, BLUE, DEPTH, NORMAL_X, NORMAL_Y, NORMAL_Z = range(6, 16)
RECORD = 16

# Sums of a block, [planes, 16 lanes]: transmittance, colour and, when asked for, the moments of depth (less
# that of the tile's nearest splat) and the normal.
TRANSMITTANCE, SUM_RED, SUM_GREEN, SUM_BLUE, SUM_DEPTH, SUM_DEPTH2, SUM_X, SUM_Y, SUM_Z = range(9)
COLOUR_PLANES, ALL_PLANES = 4, 9

# Less transmittance than this ends a block of pixels, as in 3DGS and gsplat.
EXIT_TRANSMITTANCE = 1e-4

# Camera [25] float64: rotation by rows, translation, then these.
FOCAL_X, FOCAL_Y, CENTRE_X, CENTRE_Y, WIDTH, HEIGHT, LOW_X, HIGH_X, LOW_Y, HIGH_Y, EYE = range(12, 23)
CAMERA = 25

_SOURCES = sorted(Path(__file__).parent.glob("*.py"))
_VERSION = hashlib.sha256(b"".join(path.read_bytes() for path in _SOURCES)).hexdigest()[:12]


def kernel(function: Any) -> Any:
    """`render.cpu.lanes.kernel`, compiled anew when a file of this folder changes."""
    return lanes.kernel(function, _VERSION)


inlined = lanes.inlined
