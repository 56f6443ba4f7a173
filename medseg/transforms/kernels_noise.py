"""Standard normal numbers from a counter: the number of a voxel is a function of the seed and of its place alone.

The counter is made random by the last step of SplitMix64 (Steele, Lea, Flood 2014, Fast splittable pseudorandom number
generators); one 64-bit result gives two normal numbers (Box and Muller 1958). Logarithm, sine and cosine are
polynomials, because those of the C library differ between machines; sums, products and square roots do not.
`noise.normal_twin` does the same steps with torch.
"""

from __future__ import annotations

import numba
import numpy as np

from medseg.transforms.compiled import compiled

WEYL = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio
MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB
LN_2 = 0.6931471805599453
# ln(1 + f) = f - f^2 / 2 + f^3 * sum, for 1 + f between sqrt(1/2) and sqrt(2) (Cephes, logf)
LN_TERMS = (3.3333331174e-1, -2.4999993993e-1, 2.0000714765e-1, -1.6668057665e-1, 1.4249322787e-1,
            -1.2420140846e-1, 1.1676998740e-1, -1.1514610310e-1, 7.0376836292e-2)  # fmt: skip
# sin(pi x) = x * sum over x^2, for x between -1/2 and 1/2; fitted at Chebyshev's points, wrong by less than 2e-7
SIN_TERMS = (3.1415926535362915, -5.167712764624488, 2.5501633189461614, -0.5992521978176399,
             0.08205040179183101, -0.00702838639542626)  # fmt: skip
LANES = 512  # the two numbers of a counter lie this far from each other in the flat image
ROOT_HALF_BITS = 0x3F3504F3  # of sqrt(1/2) as float32

_F = np.float32
_LN = np.array(LN_TERMS, np.float32)
_SIN = np.array(SIN_TERMS, np.float32)
_LN_2 = np.float32(LN_2)
_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7, _L8 = _LN
_S0, _S1, _S2, _S3, _S4, _S5 = _SIN
_WEYL, _MIX_1, _MIX_2 = np.uint64(WEYL), np.uint64(MIX_1), np.uint64(MIX_2)
_BY_30, _BY_27, _BY_31, _BY_33 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(33)

inlined = numba.njit(inline="always", error_model="numpy")


@inlined
def mixed(counter, key):
    """64 random bits of a counter under a key."""
    z = counter * _WEYL + key
    z = (z ^ (z >> _BY_30)) * _MIX_1
    z = (z ^ (z >> _BY_27)) * _MIX_2
    return z ^ (z >> _BY_31)


@inlined
def natural_log(x):
    """The logarithm of a positive float32, to 1e-7 of itself."""
    bits = np.float32(x).view(np.int32)
    exponent = (bits - np.int32(ROOT_HALF_BITS)) >> np.int32(23)
    f = np.int32(bits - (exponent << np.int32(23))).view(np.float32) - _F(1)
    p = ((((((((_L8 * f + _L7) * f + _L6) * f + _L5) * f + _L4) * f + _L3) * f + _L2) * f + _L1) * f + _L0) * f
    square = f * f
    return (p * square - _F(0.5) * square) + f + np.float32(exponent) * _LN_2


@inlined
def sine_of_half_turns(x):
    """sin(pi x) for x between -1/2 and 1/2."""
    s = x * x
    return (((((_S5 * s + _S4) * s + _S3) * s + _S2) * s + _S1) * s + _S0) * x


@compiled
def draw_shares(start, share, turn):
    """Fills two buffers from the counters that follow `start`: shares above 0, and half turns between -1 and 1."""
    for lane in range(LANES):
        z = mixed(np.uint64(lane), start)
        share[lane] = (np.float32(np.int32(z >> _BY_33)) + _F(0.5)) * _F(2.0**-31)  # 31 bits: the tail ends at 6.6
        turn[lane] = np.float32(np.int32(z)) * _F(2.0**-31)


@compiled
def make_normal(first, second):
    """Shares and half turns become pairs of independent standard normal numbers."""
    for lane in range(LANES):
        radius = np.sqrt(natural_log(first[lane]) * _F(-2))
        turn = second[lane]
        away = abs(turn)
        sine = sine_of_half_turns(min(away, _F(1) - away))
        first[lane] = radius * sine_of_half_turns(_F(0.5) - away)
        second[lane] = radius * (sine if turn >= _F(0) else -sine)


@compiled
def add_normal(first, last, key, sigma, source, out):
    """`out = source + sigma * normal` for the blocks `first` to `last`, of 1024 voxels each, of the flat image."""
    a, b = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    for block in range(first, last):
        # Short loops over buffers, each of which the compiler turns into vector instructions: 5 ms for 128^3, not 25
        draw_shares(np.uint64(block * LANES) * _WEYL + key, a, b)
        make_normal(a, b)
        for part, normal in enumerate((a, b)):
            start = (2 * block + part) * LANES
            old, new = source[start : start + LANES], out[start : start + LANES]
            for lane in range(old.size):
                new[lane] = old[lane] + normal[lane] * sigma
