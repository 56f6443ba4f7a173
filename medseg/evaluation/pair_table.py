"""All pairs of one structure as arrays, cases by readers: what tests that leave readers out start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from medseg.evaluation.metrics import METRICS
from medseg.evaluation.paired import CaseScores
from medseg.evaluation.statistics import patient_means
from medseg.shapes import BoolArray, FloatArray


@dataclass(frozen=True, eq=False)
class PairTable:
    """Scores of every pair, turned so that more is better (distances are negative), NaN where a pair is missing.

    Args:
        raters: names of the R readers.
        patients: the patient of each of N cases.
        model: (N, R) model with each reader; all NaN without a model.
        human: (N, R, R) reader with reader, symmetric, the diagonal NaN: nobody is paired with themselves.
        marked: (N,) whether at least one reader marked the structure.
    """

    raters: tuple[str, ...]
    patients: tuple[str, ...]
    model: FloatArray
    human: FloatArray
    marked: BoolArray

    def without(self, rater: str) -> PairTable:
        """The table of the other readers."""
        keep = [index for index, name in enumerate(self.raters) if name != rater]
        human = self.human[:, keep][:, :, keep]
        return replace(self, raters=tuple(self.raters[k] for k in keep), model=self.model[:, keep], human=human)

    def playing(self, rater: str) -> PairTable:
        """The table in which this reader plays the model; cases that no reader marked are left out."""
        played = replace(self, model=self.human[:, self.raters.index(rater)]).without(rater)
        return played.of_cases(np.flatnonzero(self.marked))

    def of_cases(self, chosen: Sequence[int] | np.ndarray) -> PairTable:
        """The table of some cases, in their given order."""
        patients = tuple(self.patients[index] for index in chosen)
        return PairTable(self.raters, patients, self.model[chosen], self.human[chosen], self.marked[chosen])

    def differences(self) -> FloatArray:
        """D of each case (N,): mean over model-human pairs minus mean over human-human pairs; NaN without either."""
        upper = np.triu_indices(len(self.raters), 1)
        return row_means(self.model) - row_means(self.human[:, *upper])

    def patient_differences(self) -> FloatArray:
        """D of each patient that has one (P,)."""
        return patient_means(self.differences(), self.patients)


def pair_table(
    cases: Sequence[CaseScores], label: str, metric: str, raters: Sequence[str], model: str | None
) -> PairTable:
    """The table of one structure and metric over the cases in which anybody marked the structure.

    A distance enters only in cases in which everybody marked the structure, as in `case_agreement`, so that the
    differences of both are the same.
    """
    rows = [
        (case, marks)
        for case in cases
        if any((marks := case.presence(label, [*raters, *([model] if model else [])])).values())
    ]
    table = PairTable(
        tuple(raters),
        tuple(case.patient for case, _ in rows),
        np.full((len(rows), len(raters)), np.nan),
        np.full((len(rows), len(raters), len(raters)), np.nan),
        np.array([any(marks.get(rater, False) for rater in raters) for _, marks in rows], dtype=bool),
    )
    for row, (case, marks) in enumerate(rows):
        if METRICS[metric].is_distance and not _everyone_marked(case, label, marks, raters, model):
            continue
        _fill(table, row, case, label, metric, model)
    return table


def row_means(values: FloatArray) -> FloatArray:
    """Mean of each row (N,) over what is not NaN; NaN where nothing is left.

    >>> row_means(np.array([[1.0, np.nan], [np.nan, np.nan]]))
    array([ 1., nan])
    """
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _fill(table: PairTable, row: int, case: CaseScores, label: str, metric: str, model: str | None) -> None:
    sign = -1.0 if METRICS[metric].is_distance else 1.0
    place = {name: index for index, name in enumerate(table.raters)}
    for score in case.of(label):
        if score.is_missing:
            continue
        value, a, b = sign * score.values[metric], place.get(score.a), place.get(score.b)
        if a is not None and b is not None:
            table.human[row, a, b] = table.human[row, b, a] = value
        elif model is not None and a is not None and score.b == model:
            table.model[row, a] = value
        elif model is not None and b is not None and score.a == model:
            table.model[row, b] = value


def _everyone_marked(
    case: CaseScores, label: str, marks: dict[str, bool], raters: Sequence[str], model: str | None
) -> bool:
    names = {*raters, *([model] if model else [])}
    return all(marks.values()) and not any(
        score.flag for score in case.of(label) if not score.is_missing and {score.a, score.b} <= names
    )
