"""How a frame's data lie in memory between the two kernels."""

from __future__ import annotations

CHUNK = 2048  # Gaussians a thread takes at a time
BLOCK = 128  # Gaussians projected together; the scratch stays in the L1 cache

# Columns of a record [RECORD] float32: everything the raster kernel needs to draw a splat, one cache line.
# The scratch planes [PLANES, BLOCK] of the projection start in the same order.
MEAN_X, MEAN_Y, CONIC_A, CONIC_B, CONIC_C, LOG2_OPACITY, TILT_X, TILT_Y = range(8)
ROWS, COLUMNS = 8, 9  # last and first pixel row (column) of the box, 16 bits each, as int32 bits
RED, GREEN, BLUE = 10, 11, 12
# The visible ellipse of a 3D splat is dy = SLOPE dx +- sqrt(REACH - BEND dx^2); its top lies at dx = TOP.
SLOPE, TOP, REACH, BEND = TILT_X, TILT_Y, 13, 14  # the tilt is for surfels only
DEPTH = 15  # a positive float, whose bits order like integers; 0 when the Gaussian is not drawn
DIRECTION_X, DIRECTION_Y, DIRECTION_Z = 16, 17, 18  # of the harmonics
RECORD, PLANES = 16, 19

HUGE = 1e30  # a number of this size counts as infinite: its square would overflow
