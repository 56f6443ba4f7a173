"""Loops over the voxels of a flat float32 image that change each of them by itself, and the image's statistics.

Powers are made of a polynomial logarithm and exponential (wrong by less than 1e-6 of the range), because those of the C
library take five times as long and differ between machines. Loops run over slices from 0 on: with a first index that
might be negative the compiler makes no vector instructions.
"""

from __future__ import annotations

import numpy as np

from medseg.transforms.compiled import compiled
from medseg.transforms.kernels_noise import inlined, natural_log

LANES = 1024
_F = np.float32
ONE_OVER_LN_2 = np.float32(1.4426950408889634)
# 2^x for x between -1/2 and 1/2; fitted at Chebyshev's points, wrong by less than 2e-7
_E0, _E1, _E2, _E3, _E4, _E5, _E6 = np.array(
    (1.0, 0.69314720671062, 0.24022651213595259, 0.05550327214209535, 0.00961802560294165,
     0.0013400432165251623, 0.0001546973198244552), np.float32
)  # fmt: skip
_TINY = np.float32(1e-30)


@inlined
def two_to(y):
    """2 to the power y, for y between -120 and 120."""
    whole = np.floor(y + _F(0.5))
    f = y - whole
    p = (((((_E6 * f + _E5) * f + _E4) * f + _E3) * f + _E2) * f + _E1) * f + _E0
    bits = (np.int32(whole) + np.int32(127)) << np.int32(23)
    return p * np.int32(bits).view(np.float32)


@inlined
def power(share, exponent):
    """A share of 0 to 1 to a positive power; 0 and 1 stay exactly."""
    y = natural_log(max(share, _TINY)) * ONE_OVER_LN_2 * exponent
    return _F(0) if share <= _F(0) else two_to(max(y, _F(-120)))


@inlined
def clipped(value, low, high):
    """The value between the ends; NaN stays NaN."""
    value = low if value < low else value
    return high if value > high else value


@compiled
def about_centre(first, last, source, out, numbers):
    """`(source - centre) * factor + target`, clipped; numbers are centre, factor, target, low, high."""
    centre, factor, target, low, high = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    old, new = source[first:last], out[first:last]
    for i in range(old.size):
        new[i] = clipped((old[i] - centre) * factor + target, low, high)


@compiled
def window_share(first, last, source, out, numbers):
    """The share of the window, mapped to the output; numbers are low, high, width, output's low and width."""
    low, high, width, bottom, height = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    old, new = source[first:last], out[first:last]
    for i in range(old.size):
        new[i] = (clipped(old[i], low, high) - low) / width * height + bottom


@compiled
def window_contrast(first, last, source, out, numbers):
    """Differences inside the window times a factor; numbers are low, high, middle, factor - 1."""
    low, high, middle, more = numbers[0], numbers[1], numbers[2], numbers[3]
    old, new = source[first:last], out[first:last]
    for i in range(old.size):
        new[i] = old[i] + (clipped(old[i], low, high) - middle) * more


@compiled
def window_gamma(first, last, source, out, numbers):
    """The window's share to a power; numbers are low, high, width, gamma."""
    low, high, width, gamma = numbers[0], numbers[1], numbers[2], numbers[3]
    old, new = source[first:last], out[first:last]
    for i in range(old.size):
        inside = clipped(old[i], low, high)
        new[i] = old[i] + (power((inside - low) / width, gamma) * width + low - inside)


@compiled
def range_gamma(first, last, source, out, numbers):
    """The distance from `start` as a share of `width` to a power; numbers are start, width (signed), gamma."""
    start, width, gamma = numbers[0], numbers[1], numbers[2]
    old, new = source[first:last], out[first:last]
    for i in range(old.size):
        new[i] = power((old[i] - start) / width, gamma) * width + start


@compiled
def piecewise(first, last, source, out, numbers, heights, rises):
    """A curve of equal steps: numbers are low, steps per grey value; heights and rises belong to each step."""
    low, per_value = numbers[0], numbers[1]
    final = heights.size - 1
    old, new = source[first:last], out[first:last]
    for i in range(old.size):
        place = (old[i] - low) * per_value
        step = min(max(np.int32(place), 0), final)
        new[i] = heights[step] + rises[step] * (place - np.float32(step))


@compiled
def block_statistics(first, last, blocks, source, result):
    """Sum, sum of squares (both less the first voxel), minimum and maximum of each of `blocks` equal parts."""
    total, squares = np.empty(LANES), np.empty(LANES)
    least, most = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    origin = np.float64(source[0])
    for block in range(first, last):
        start, end = source.size * block // blocks, source.size * (block + 1) // blocks
        total[:], squares[:], least[:], most[:] = 0, 0, source[start], source[start]
        for row in range(start, end, LANES):
            values = source[row : min(row + LANES, end)]
            for lane in range(values.size):  # side by side, so that the order of the sums is fixed and fast
                value = values[lane]
                distance = np.float64(value) - origin
                total[lane] += distance
                squares[lane] += distance * distance
                least[lane] = value if value < least[lane] else least[lane]
                most[lane] = value if value > most[lane] else most[lane]
        result[block, 0], result[block, 1] = total.sum(), squares.sum()
        result[block, 2], result[block, 3] = least.min(), most.max()
