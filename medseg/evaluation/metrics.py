"""The table of metrics: what each is called, which way is better, its unit and what it says about empty masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from medseg.evaluation.overlap import (
    dice,
    iou,
    precision,
    relative_volume_difference,
    sensitivity,
    symmetric_volume_difference,
    volume_difference,
    volumetric_similarity,
)
from medseg.evaluation.surface import assd, hd, hd95, masd, nsd, signed_surface_distance
from medseg.shapes import BoolArray, FloatArray, Triple

INFINITE = float("inf")
Measure = Callable[[BoolArray, BoolArray, Triple], float]

OVERLAP_RULE = (
    "one mask empty: 0; both empty: 1 in a case where any reader or the model marked the structure, "
    "else the case is left out"
)
DISTANCE_RULE = (
    "one mask empty: infinite (null with a flag in files, the image diagonal in plain means); both empty: undefined; "
    "enters the paired difference only in cases that everyone marked"
)
DIRECTED_RULE = (
    "{empty} empty: undefined, left out of means and seen in their n ({other} is 0 there); the other one empty: 0; "
    "both empty: 1 in a case where any reader or the model marked the structure, else the case is left out"
)
DIFFERENCE_RULE = (
    "{empty}; both empty: 0 in a case where any reader or the model marked the structure, else the case is left out"
)


@dataclass(frozen=True)
class Metric:
    """One line of `METRICS`; calling it measures two masks.

    Args:
        title: the name in tables.
        unit: `mm`, or empty for a share.
        higher_is_better: False for distances, whose differences are turned so that positive favours the model.
        empty_rule: what happens to empty masks, in words.
        function: `(reference, prediction, spacing_mm) -> float`.
        directed: exchanging the two masks changes the value, so there is no mean over pairs of equal readers and no
            paired difference D; it is printed where one of the two is the reference.
        range: smallest and largest value that the metric can take.
        agreed: value of two empty masks in a case where somebody else marked the structure; NaN: undefined.
    """

    title: str
    unit: str
    higher_is_better: bool
    empty_rule: str
    function: Measure
    directed: bool = False
    range: tuple[float, float] = (0.0, 1.0)
    agreed: float = 1.0

    def __call__(self, reference: BoolArray, prediction: BoolArray, spacing_mm: Triple) -> float:
        return self.function(reference, prediction, spacing_mm)

    @property
    def is_distance(self) -> bool:
        """Whether it is infinite for a missed structure and small for a good one."""
        return not self.higher_is_better and not self.directed

    def fill_infinite(self, values: FloatArray, diagonal_mm: FloatArray | float) -> FloatArray:
        """The values with an infinite distance replaced by the image diagonal, for plain means."""
        return np.where(np.isinf(values), diagonal_mm, values)


def _distance(title: str, function: Measure) -> Metric:
    return Metric(title, "mm", False, DISTANCE_RULE, function, range=(0.0, INFINITE), agreed=float("nan"))


def _difference(title: str, unit: str, function: Measure, largest: float, one_empty: str) -> Metric:
    rule = DIFFERENCE_RULE.format(empty=one_empty)
    lowest = -1.0 if np.isinf(largest) and not unit else -largest
    return Metric(title, unit, False, rule, function, directed=True, range=(lowest, largest), agreed=0.0)


METRICS: dict[str, Metric] = {
    "dice": Metric("Dice", "", True, OVERLAP_RULE, dice),
    "iou": Metric("IoU", "", True, OVERLAP_RULE, iou),
    "nsd": Metric("NSD", "", True, OVERLAP_RULE, nsd),
    "hd95": _distance("HD95", hd95),
    "assd": _distance("ASSD", assd),
    "hd": _distance("HD", hd),
    "masd": _distance("MASD", masd),
    "volumetric_similarity": Metric("Volumetric similarity", "", True, OVERLAP_RULE, volumetric_similarity),
    "sensitivity": Metric(
        "Sensitivity", "", True, DIRECTED_RULE.format(empty="reference", other="precision"), sensitivity, directed=True
    ),
    "precision": Metric(
        "Precision", "", True, DIRECTED_RULE.format(empty="prediction", other="sensitivity"), precision, directed=True
    ),
    "volume_difference": _difference(
        "Volume difference", "ml", volume_difference, INFINITE, "one mask empty: the other one's volume, with its sign"
    ),
    "relative_volume_difference": _difference(
        "Relative volume difference", "", relative_volume_difference, INFINITE,
        "reference empty: undefined, left out of means and seen in their n; prediction empty: -1",
    ),
    "symmetric_volume_difference": _difference(
        "Symmetric volume difference", "", symmetric_volume_difference, 2.0, "one mask empty: -2 or 2"
    ),
    "signed_surface_distance": Metric(
        "Signed surface distance", "mm", False, "any mask empty: undefined, left out of means and seen in their n",
        signed_surface_distance, directed=True, range=(-INFINITE, INFINITE), agreed=float("nan"),
    ),
}  # fmt: skip
SYMMETRIC = tuple(key for key, metric in METRICS.items() if not metric.directed)
MAIN = ("dice", "iou", "nsd", "hd95", "assd")
