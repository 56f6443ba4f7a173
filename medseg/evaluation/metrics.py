"""The table of metrics: what each is called, which way is better, its unit and what it says about empty masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from medseg.evaluation.overlap import dice, iou
from medseg.evaluation.surface import assd, hd95, nsd
from medseg.shapes import BoolArray, FloatArray, Triple

Measure = Callable[[BoolArray, BoolArray, Triple], float]

OVERLAP_RULE = (
    "one mask empty: 0; both empty: 1 in a case where any reader or the model marked the structure, "
    "else the case is left out"
)
DISTANCE_RULE = (
    "one mask empty: infinite (null with a flag in files, the image diagonal in plain means); both empty: undefined; "
    "enters the paired difference only in cases that everyone marked"
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
    """

    title: str
    unit: str
    higher_is_better: bool
    empty_rule: str
    function: Measure

    def __call__(self, reference: BoolArray, prediction: BoolArray, spacing_mm: Triple) -> float:
        return self.function(reference, prediction, spacing_mm)

    @property
    def is_distance(self) -> bool:
        return not self.higher_is_better

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest value that the metric can take."""
        return (0.0, float("inf")) if self.is_distance else (0.0, 1.0)

    def fill_infinite(self, values: FloatArray, diagonal_mm: FloatArray | float) -> FloatArray:
        """The values with an infinite distance replaced by the image diagonal, for plain means."""
        return np.where(np.isinf(values), diagonal_mm, values)


METRICS: dict[str, Metric] = {
    "dice": Metric("Dice", "", True, OVERLAP_RULE, dice),
    "iou": Metric("IoU", "", True, OVERLAP_RULE, iou),
    "nsd": Metric("NSD", "", True, OVERLAP_RULE, nsd),
    "hd95": Metric("HD95", "mm", False, DISTANCE_RULE, hd95),
    "assd": Metric("ASSD", "mm", False, DISTANCE_RULE, assd),
}
