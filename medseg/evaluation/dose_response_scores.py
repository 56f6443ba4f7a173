"""The Dice of one challenged prediction with every reference, by the rules of `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medseg.evaluation.overlap_matrix import dice_matrices
from medseg.imaging.regions import Reading
from medseg.shapes import FloatArray

UNTRANSFORMED = "untransformed prediction"
RESAMPLING = "resampling alone"
EXPERTS = "experts"
TRUTH = "truth"
ALL = "all structures"
RESERVED = (UNTRANSFORMED, RESAMPLING, EXPERTS, TRUTH)  # names that no rater may have
_JUDGED = "\0judged"
EMPTY_RULE = (
    "Dice of two masks of which one is empty: 0 (a miss or a false positive). Both empty: against an expert or the "
    "truth 1 where anybody else marked the structure in the case, else the case is left out; against the untransformed "
    "prediction left out."
)


@dataclass(frozen=True)
class DoseScore:
    """One structure of one challenged prediction against one reference; `dice` is None where it is not counted."""

    label: str
    reference: str
    dice: float | None

    def to_json(self) -> list[Any]:
        return [self.label, self.reference, self.dice]


def score_dose(
    judged: Reading, untransformed: Reading, references: Mapping[str, Reading], labels: Sequence[str]
) -> list[DoseScore]:
    """Scores of a prediction that was mapped back, all readings on the case's own grid.

    A structure that a reference did not look for is missing and has no line.

    Args:
        references: experts and the truth; may be empty.
    """
    readings = {**references, _JUDGED: judged, UNTRANSFORMED: untransformed}
    names = list(readings)
    place = names.index(_JUDGED)
    found = []
    for label, matrix in dice_matrices(readings, labels, threads=1).items():
        marked = bool(np.any(np.diag(matrix)[: place + 1] == 1))  # by an expert, the truth or this prediction
        for row, name in enumerate(names):
            if name != _JUDGED and readings[name].was_read(label):
                value = _counted(matrix, row, place, agreed=marked and name != UNTRANSFORMED)
                found.append(DoseScore(label, name, value))
    return found


def score_resampling(carried: Reading, untransformed: Reading, labels: Sequence[str]) -> list[DoseScore]:
    """What is lost by resampling labels there and back: the best that a perfectly equivariant model can reach."""
    matrices = dice_matrices({"carried": carried, "own": untransformed}, labels, threads=1)
    return [DoseScore(label, RESAMPLING, _counted(matrix, 0, 1, agreed=False)) for label, matrix in matrices.items()]


def _counted(matrix: FloatArray, row: int, column: int, *, agreed: bool) -> float | None:
    value = float(matrix[row, column])
    if not np.isnan(value):
        return value
    both_empty = np.isnan(matrix[row, row]) and np.isnan(matrix[column, column])
    return 1.0 if agreed and both_empty else None
