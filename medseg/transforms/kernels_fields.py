"""Loops over a channel (X, Y, Z) for changes that vary smoothly with the place: fields made of one vector per axis."""

from __future__ import annotations

import numpy as np

from medseg.transforms.compiled import compiled
from medseg.transforms.kernels_points import ONE_OVER_LN_2, power, two_to


@compiled
def add_bump(first, last, source, out, x_side, y_side, z_side, numbers):
    """`out = source + strength * bump`; numbers are the product's least value, one over its height, strength."""
    least, per_height, strength = numbers[0], numbers[1], numbers[2]
    for x in range(first, last):
        for y in range(source.shape[1]):
            side = x_side[x] * y_side[y]
            old, new = source[x, y], out[x, y]
            for z in range(new.size):
                new[z] = old[z] + (side * z_side[z] - least) * per_height * strength


@compiled
def bump_gamma(first, last, source, out, x_side, y_side, z_side, numbers):
    """The share of the range to a power where the bump is 1, itself where it is 0, mixed between.

    Numbers are the product's least value, one over its height, the range's low end and width, gamma.
    """
    least, per_height, low, width, gamma = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    for x in range(first, last):
        for y in range(source.shape[1]):
            side = x_side[x] * y_side[y]
            old, new = source[x, y], out[x, y]
            for z in range(new.size):
                share = (old[z] - low) / width
                weight = (side * z_side[z] - least) * per_height
                new[z] = (share + (power(share, gamma) - share) * weight) * width + low


@compiled
def times_field(first, last, source, out, x_terms, y_terms, z_terms, coefficients, zero):
    """`(source - zero) * exp(field) + zero`; the field is a sum of products of the terms (voxels, degree + 1)."""
    degrees = z_terms.shape[1]
    mixed = np.empty(degrees, np.float32)
    exponent = np.empty(source.shape[2], np.float32)
    for x in range(first, last):
        for y in range(source.shape[1]):
            for k in range(degrees):
                value = np.float32(0)
                for i in range(degrees):
                    for j in range(degrees):
                        value += coefficients[i, j, k] * x_terms[x, i] * y_terms[y, j]
                mixed[k] = value * ONE_OVER_LN_2
            exponent[:] = mixed[0]
            for k in range(1, degrees):
                for z in range(exponent.size):
                    exponent[z] += mixed[k] * z_terms[z, k]
            old, new = source[x, y], out[x, y]
            for z in range(new.size):
                new[z] = (old[z] - zero) * two_to(exponent[z]) + zero


@compiled
def add_slope(first, last, source, out, x_side, y_side, z_side, factor):
    """`source * factor` plus the sum of the three vectors."""
    for x in range(first, last):
        for y in range(source.shape[1]):
            side = x_side[x] + y_side[y]
            old, new = source[x, y], out[x, y]
            for z in range(new.size):
                new[z] = old[z] * factor + (side + z_side[z])
