"""A slice of a validation case in pixels, for programs that show no SVG: left the reference, right the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medseg.report.palette import RATER_COLOURS
from medseg.report.png import WINDOW_HU, png

SIDE = 320  # pixels of a panel's longer side, about
GAP = 6
Plane = npt.NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Seen:
    """An axial slice as it lies on the page: rows from the front, columns from the patient's right.

    Args:
        case: its id.
        structure: what is judged worst in this case; empty when nothing is marked.
        place: number of the slice on the plan's grid, from the feet.
        pixel_mm: height and width of a pixel.
        reference, prediction: class indices (rows, columns), -1 where nobody read.
        hu: (rows, columns) in HU, or None: then the outlines stand alone.
    """

    case: str
    structure: str
    place: int
    pixel_mm: tuple[float, float]
    reference: Plane
    prediction: Plane
    hu: Plane | None


def side_by_side(seen: Seen) -> bytes:
    """The slice twice as a PNG file in colour, with the outlines of the reference and of the prediction.

    Each structure has its own colour, the same in both; grey values between -160 and 240 HU.
    """
    rows, columns = _enlarged(seen.reference.shape, seen.pixel_mm)
    ground = np.zeros((len(rows), len(columns)), np.uint8) if seen.hu is None else _grey(seen.hu[np.ix_(rows, columns)])
    panels = [_outlined(ground, plane[np.ix_(rows, columns)]) for plane in (seen.reference, seen.prediction)]
    return png(np.concatenate([panels[0], np.zeros((len(rows), GAP, 3), np.uint8), panels[1]], axis=1))


def _enlarged(shape: Sequence[int], pixel_mm: tuple[float, float]) -> tuple[Plane, Plane]:
    """Which row and which column each pixel of a panel shows, so that a pixel is as wide as high."""
    sizes = [n * mm for n, mm in zip(shape, pixel_mm, strict=True)]
    lengths = [max(1, round(size / max(sizes) * SIDE)) for size in sizes]
    rows, columns = (np.arange(length) * n // length for length, n in zip(lengths, shape, strict=True))
    return rows, columns


def _grey(hu: Plane) -> npt.NDArray[np.uint8]:
    low, high = WINDOW_HU
    return np.rint((np.clip(hu, low, high) - low) / (high - low) * 255).astype(np.uint8)


def _outlined(ground: npt.NDArray[np.uint8], classes: Plane) -> npt.NDArray[np.uint8]:
    """The ground in colour with a line one pixel wide inside the border of every class."""
    drawn = np.repeat(ground[:, :, None], 3, axis=2)
    padded = np.pad(classes, 1, mode="edge")
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    edge = np.logical_or.reduce([each != classes for each in neighbours])
    for index in np.unique(classes[classes > 0]).tolist():
        drawn[edge & (classes == index)] = _rgb(RATER_COLOURS[(index - 1) % len(RATER_COLOURS)])
    return drawn


def _rgb(colour: str) -> tuple[int, int, int]:
    """`#56b4e9` as three numbers.

    >>> _rgb("#56b4e9")
    (86, 180, 233)
    """
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return red, green, blue
