"""Slices one above the other: how straight, how even, and the even planes that could stand for them.

Positions and directions are DICOM's (LPS, mm; PS3.3 C.7.6.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medseg.shapes import FloatArray

EVEN_TOLERANCE_MM = 0.1  # positions are often rounded to 0.1 mm; a slice further off its place is a fault
TILT_TOLERANCE_DEG = 0.1  # rounded direction cosines alone reach 0.06 degrees; NIfTI readers square up to 0.1
MAX_PLANES_A_SLICE = 4  # of an even grid
MAX_KINDS = 12  # of gaps that a message lists


@dataclass(frozen=True, eq=False)
class SliceRun:
    """Parallel slices at different places, in order along the normal.

    Args:
        positions: (N, 3) centres of the first pixels in mm.
        row: (3,) unit vector in which the column index grows; `column` likewise for the row index.
    """

    positions: FloatArray
    row: FloatArray
    column: FloatArray

    @property
    def normal(self) -> FloatArray:
        return np.cross(self.row, self.column)

    @cached_property
    def heights(self) -> FloatArray:
        return self.positions @ self.normal

    @cached_property
    def offsets(self) -> FloatArray:
        """(N, 2) mm along pixel rows and columns from the first slice."""
        return (self.positions - self.positions[0]) @ np.stack([self.row, self.column], axis=1)

    @cached_property
    def shear(self) -> FloatArray:
        """(2,) mm sideways per mm of height, the median over pairs of slices half a stack apart.

        The median, so that one slice out of line is seen as such instead of bending the line.
        """
        lag = len(self.heights) // 2
        slopes = (self.offsets[lag:] - self.offsets[:-lag]) / (self.heights[lag:] - self.heights[:-lag])[:, None]
        return np.median(slopes, axis=0)

    @property
    def drift_mm(self) -> FloatArray:
        """(2,) mm sideways from the first to the last slice."""
        return (self.heights[-1] - self.heights[0]) * self.shear

    @cached_property
    def sideways_mm(self) -> FloatArray:
        """(N,) how far each slice lies from the line of the stack."""
        along = self.offsets - (self.heights - self.heights[0])[:, None] * self.shear
        return np.linalg.norm(along - np.median(along, axis=0), axis=1)

    @cached_property
    def tilt_deg(self) -> float:
        """Angle between the stack and the normal of its slices; 0 within the tolerance, or where the whole stack
        drifts by no more than positions are rounded.

        Positive where the slices move against the pixel columns (or rows, for a gantry swivelled sideways) on the
        way up: the sign of GantryDetectorTilt (0018,1120) in scans of patients on their back.
        """
        angle = float(np.degrees(np.arctan(np.linalg.norm(self.shear))))
        main = self.shear[np.argmax(np.abs(self.shear))]
        straight = angle <= TILT_TOLERANCE_DEG or np.linalg.norm(self.drift_mm) <= EVEN_TOLERANCE_MM
        return 0.0 if straight else float(-np.sign(main) * angle)

    @cached_property
    def even(self) -> bool:
        places = np.linspace(self.heights[0], self.heights[-1], len(self.heights))
        return bool(np.abs(self.heights - places).max() <= EVEN_TOLERANCE_MM)

    @cached_property
    def planes(self) -> int:
        """Planes of the even grid from the first to the last slice; the number of slices where they are even.

        Where slices are missing from an even lattice, its planes. Else as close as the closest slices, or if that
        were more than two planes a slice, so many, but never coarser than the middle gap.
        """
        if self.even:
            return len(self.heights)
        gaps, slices, extent = np.diff(self.heights), len(self.heights), float(np.ptp(self.heights))
        if (missing := _lattice_planes(self.heights, gaps)) <= MAX_PLANES_A_SLICE * slices:
            return int(missing)
        closest, middle = (int(np.ceil(extent / gap - 1e-6)) for gap in (gaps.min(), np.median(gaps)))
        return min(closest, max(middle, 2 * slices - 1)) + 1

    @property
    def step_mm(self) -> float:
        return float(np.ptp(self.heights)) / (self.planes - 1)


def _lattice_planes(heights: FloatArray, gaps: FloatArray) -> float:
    """Planes of the even lattice of which only some slices are there; infinity where there is none."""
    step = float(np.median(gaps[gaps < 1.5 * gaps.min()]))
    # Again with the step of the whole stack: over many slices the rounding of one gap adds up
    step = float(np.ptp(heights)) / float(np.round(gaps / step).sum())
    index = np.concatenate([[0.0], np.cumsum(np.round(gaps / step))])
    off = np.abs(heights - heights[0] - index * float(np.ptp(heights)) / index[-1]).max()
    return float(index[-1]) + 1 if off <= min(EVEN_TOLERANCE_MM, step / 4) else np.inf


def told_gaps(positions: FloatArray) -> str:
    """All distances between neighbouring slices in mm, how often, and where those lie that are not the commonest."""
    gaps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    kinds = _gap_kinds(gaps)
    commonest = max(kinds, key=lambda kind: len(kind[1]))[1]
    listed = ", ".join(f"{mm:.3g} mm ({_times(len(after))})" for mm, after in kinds[:MAX_KINDS])
    if others := kinds[MAX_KINDS:]:
        listed += f" and {len(others)} others up to {others[-1][0]:.3g} mm"
    places = [f"the {mm:.3g} mm {'one' if len(after) == 1 else 'ones'} after {_slices(after)}"
              for mm, after in kinds[:MAX_KINDS] if after is not commonest]  # fmt: skip
    return f"the slices are unevenly spaced: gaps of {listed}, {', '.join(places)} of {len(positions)}"


def _gap_kinds(gaps: FloatArray) -> list[tuple[float, list[int]]]:
    """Gaps that differ by no more than a tenth of a millimetre (rounded positions), and the slices (from 1) below."""
    order = np.argsort(gaps, kind="stable")
    kinds: list[list[int]] = []
    for index in order:
        if kinds and gaps[index] - gaps[kinds[-1][0]] <= EVEN_TOLERANCE_MM:
            kinds[-1].append(int(index))
        else:
            kinds.append([int(index)])
    return [(float(np.median(gaps[kind])), sorted(index + 1 for index in kind)) for kind in kinds]


def _slices(numbers: Sequence[int]) -> str:
    """`slice 3`, or `slices 1 to 4 and 7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    told = [f"{low}" if low == high else f"{low} to {high}" for low, high in runs]
    if len(told) > MAX_KINDS:
        told = [*told[:MAX_KINDS], f"{len(told) - MAX_KINDS} other places"]
    together = ", ".join(told[:-1]) + " and " + told[-1] if len(told) > 1 else told[0]
    return f"slice{'s' if len(numbers) > 1 else ''} {together}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
