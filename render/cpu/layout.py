"""How a frame's data lie in memory between the two kernels."""

from __future__ import annotations

CHUNK = 2048  # Gaussians a thread takes at a time
# A splat is written to so many lists of tile rows, and of tiles, whether it reaches them or not, and counted
# where it does: a loop of one to three turns would be mispredicted most of the time. So each list has one
# place to spare behind it, and there are lists behind the last one.
SIDE_BY_SIDE = 3
BLOCK = 128  # Gaussians projected together; the scratch stays in the L1 cache

# Columns of a record [RECORD] float32: everything the raster kernel needs to draw a splat, one cache line.
# The scratch planes [PLANES, BLOCK] of the projection start in the same order.
# The visible ellipse of a 3D splat is dy = SLOPE dx +- sqrt(REACH - BEND dx^2); its top lies at dx = TOP.
MEAN_X, MEAN_Y, SLOPE, TOP, REACH, BEND = range(6)
TILT_X, TILT_Y = SLOPE, TOP  # of surfels, which have no ellipse
DIMMING = 6  # of 3D splats: 1 over the squared radius at which alpha is ALPHA_MIN
BOX_ROWS, BOX_COLUMNS = 6, 7  # of surfels: last and first pixel row (column), 16 bits each, as int32 bits
CONIC_A, CONIC_B, LOG2_OPACITY = 8, 9, 10  # of 3D splats times POWER_SCALE, as is CONIC_C
CONIC_C, RED, GREEN, BLUE = 11, 12, 13, 14
DEPTH = 15  # a positive float, whose bits order like integers; 0 when the Gaussian is not drawn
DIRECTION_X, DIRECTION_Y, DIRECTION_Z = 16, 17, 18  # of the harmonics
ROWS, COLUMNS = 19, 20  # as those of surfels, of every splat
RECORD, PLANES = 16, 21

# What is left out: what lies behind a block of pixels that lets through less than EXIT_TRANSMITTANCE, a step
# of a byte at most, and 3D splats that would make up less than LEAST_SHARE of every pixel of a column of
# blocks, a quarter of a step. On heads both together change no byte by more than two; hundreds of faint
# splats over one another would add up to more.
EXIT_TRANSMITTANCE = 1.0 / 256.0
LEAST_SHARE = 1.0 / 1024.0

HUGE = 1e30  # a number of this size counts as infinite: its square would overflow
