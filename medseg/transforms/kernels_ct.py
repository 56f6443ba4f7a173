"""Compiled loops of the parallel-beam projection: many planes at once, the planes innermost."""

from __future__ import annotations

import numpy as np

from medseg.shapes import FloatArray
from medseg.transforms.compiled import compiled


@compiled
def project_angles(
    first: int,
    last: int,
    image: FloatArray,
    places: FloatArray,
    directions: FloatArray,
    middle: float,
    sinogram: FloatArray,
) -> None:
    """Adds every pixel of `image` (P, N) to the two bins that it falls between, for angles `first` to `last`.

    Args:
        places: (P, 2), pixel centres in bins from the middle of the plane.
        directions: (A, 2), unit vectors along the detector.
        middle: bin on which the middle of the plane falls.
        sinogram: (A, S, N), zeros to which is added.
    """
    for angle in range(first, last):
        for pixel in range(image.shape[0]):
            place = places[pixel, 0] * directions[angle, 0] + places[pixel, 1] * directions[angle, 1] + middle
            bin_ = np.uint32(place)  # never negative, and unsigned numbers need no check for it
            share = image.dtype.type(place - bin_)
            rest = image.dtype.type(1) - share
            for plane in range(image.shape[1]):
                value = image[pixel, plane]
                sinogram[angle, bin_, plane] += value * rest
                sinogram[angle, bin_ + np.uint32(1), plane] += value * share


@compiled
def backproject_pixels(
    first: int,
    last: int,
    sinogram: FloatArray,
    places: FloatArray,
    directions: FloatArray,
    middle: float,
    image: FloatArray,
) -> None:
    """Adds to pixels `first` to `last` of `image` (P, N) what the rays through them carry; arguments as above."""
    for pixel in range(first, last):
        for angle in range(sinogram.shape[0]):
            place = places[pixel, 0] * directions[angle, 0] + places[pixel, 1] * directions[angle, 1] + middle
            bin_ = np.uint32(place)  # never negative, and unsigned numbers need no check for it
            share = image.dtype.type(place - bin_)
            rest = image.dtype.type(1) - share
            for plane in range(image.shape[1]):
                image[pixel, plane] += (
                    sinogram[angle, bin_, plane] * rest + sinogram[angle, bin_ + np.uint32(1), plane] * share
                )
