"""Distances from one surface's elements to another surface, summed up so that every metric can be asked of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medseg.evaluation.nearest import Points
from medseg.evaluation.surface_rules import PERCENTILE, ROUNDING_MM
from medseg.shapes import BoolArray, FloatArray


@dataclass(frozen=True, eq=False)
class Spread:
    """How much of a surface lies how far from another.

    Elements of equal distance stand together, so a spread is small however large the surface.

    Args:
        mm: distances (N,), ascending.
        weight: (N,) of the elements at each: area in mm2, or their number.
        outward: sum of distances times weights with a minus sign for elements inside the other mask; NaN when unknown.

    >>> spread = Spread(np.array([0.0, 3.0]), np.array([3.0, 1.0]))
    >>> spread.mean, spread.largest, spread.percentile(50), spread.within(2.0)
    (0.75, 3.0, 0.0, 3.0)
    """

    mm: FloatArray
    weight: FloatArray
    outward: float = float("nan")

    @property
    def total(self) -> float:
        """Weight of the whole surface; 0 for an empty mask's."""
        return float(self.weight.sum())

    @property
    def mean(self) -> float:
        """Weighted mean distance in mm, NaN without elements, infinite to an empty mask's surface."""
        return self.sum / self.total if len(self.mm) else float("nan")

    @property
    def sum(self) -> float:
        """Distances times weights."""
        return float(self.mm @ self.weight)

    @property
    def largest(self) -> float:
        """Largest distance in mm, NaN without elements."""
        return float(self.mm[-1]) if len(self.mm) else float("nan")

    def within(self, tolerance_mm: float) -> float:
        """Weight of what lies at most so far away."""
        return float(self.weight[self.mm <= tolerance_mm + ROUNDING_MM].sum())

    def percentile(self, q: float = PERCENTILE) -> float:
        """The q-th percentile in mm, linear between order statistics; the weights are numbers of elements."""
        if not len(self.mm):
            return float("nan")
        upto = np.cumsum(self.weight)
        place = q / 100 * (float(upto[-1]) - 1)
        low = np.floor(place)
        below, above = self.mm[np.searchsorted(upto, [low, min(low + 1, upto[-1] - 1)], side="right")]
        return float(below) if below == above else float(below + (above - below) * (place - low))

    def share_percentile(self, q: float = PERCENTILE) -> float:
        """The smallest distance in mm within which q percent of the weight lies."""
        if not len(self.mm):
            return float("nan")
        upto = np.cumsum(self.weight)
        return float(self.mm[min(int(np.searchsorted(upto / upto[-1], q / 100)), len(self.mm) - 1)])


def spread_between(points: Points, weight: FloatArray | None, other: Points, inside: BoolArray | None = None) -> Spread:
    """How far points with these weights (N,), 1 each for None, lie from others; infinitely far when there are none.

    Args:
        inside: which of the frame's numbers lie inside the other mask, for `outward`.
    """
    if not len(points):
        return Spread(np.zeros(0), np.zeros(0))
    weight = np.ones(len(points)) if weight is None else weight
    if not len(other):
        return Spread(np.array([np.inf]), np.array([weight.sum()]))
    signed: FloatArray = np.full(len(points), np.nan)
    if inside is not None:
        signed = np.where(inside.take(points.keys), -weight, weight)
    distances, weights, outward = [], [], 0.0
    for found, mm in points.answers(other):
        if len(mm) == 1:  # a shell
            distances.append(mm)
            weights.append(np.array([weight[found].sum()]))
            outward += float(mm[0] * signed[found].sum())
        else:  # beyond the shells: one by one
            order = np.argsort(mm)
            distances.append(mm[order])
            weights.append(weight[found[order]])
            outward += float(mm @ signed[found])
    return Spread(np.concatenate(distances), np.concatenate(weights), outward)


def pooled(spreads: list[Spread]) -> Spread:
    """Several spreads as one."""
    if not spreads:
        return Spread(np.zeros(0), np.zeros(0))
    mm, weight = np.concatenate([s.mm for s in spreads]), np.concatenate([s.weight for s in spreads])
    order = np.argsort(mm, kind="stable")
    return Spread(mm[order], weight[order])
