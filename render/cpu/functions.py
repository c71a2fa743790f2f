"""Functions of one float32 that LLVM can vectorise, where those of `math` are a call per element."""

from __future__ import annotations

import math

import numpy as np

from render.cpu.lanes import bits_float, float_bits, inlined

LOG2_E = 1.0 / math.log(2.0)

F = np.float32


@inlined
def exp_lane(x):
    """e^x, relative error 1e-7, limited to 1e-38 .. 1e38; vectorises where math.exp is a call per element."""
    y = min(max(x * F(LOG2_E), F(-126)), F(127))
    whole = np.int32(np.int32(y + F(126.5)) - np.int32(126))
    f = y - F(whole)
    p = F(0.00132764715)
    p = p * f + F(0.00967554153)
    p = p * f + F(0.0555071327)
    p = p * f + F(0.240221197)
    p = p * f + F(0.693146967)
    p = p * f + F(1.00000007)
    return p * bits_float(np.int32(np.int32(whole + np.int32(127)) << np.int32(23)))


@inlined
def log2_lane(x):
    """log2 of a positive normal number, absolute error 2e-7."""
    bits = float_bits(x)
    # mantissa in sqrt(1/2) .. sqrt(2)
    exponent = np.int32(np.int32(bits - np.int32(0x3F3504F3)) >> np.int32(23))
    m = bits_float(np.int32(bits - np.int32(exponent << np.int32(23))))
    t = (m - F(1)) / (m + F(1))
    t2 = t * t
    series = F(1) + t2 * (F(1 / 3) + t2 * (F(1 / 5) + t2 * F(1 / 7)))
    return F(exponent) + F(2 * LOG2_E) * t * series
