"""The matrix of everybody with everybody: mean score of each pair of readers and models, with its n."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.errors import UsageError
from medseg.evaluation.entries import Protocol
from medseg.evaluation.metrics import SYMMETRIC
from medseg.evaluation.paired import CaseScores
from medseg.shapes import FloatArray, IntArray

INFINITE = {
    "diagonal": "an infinite distance counts as the image diagonal",
    "exclude": "an infinite distance is left out",
}
RULE = (
    "mean over the cases of a patient and then over patients, of the cases that both read and somebody marked; "
    "{infinite}; pairs rest on different cases where readings are missing"
)


@dataclass(frozen=True, eq=False)
class PairwiseMatrix:
    """Mean scores of all pairs, in the metric's unit.

    Args:
        names: readers, then models.
        mean: (N, N), symmetric; NaN on the diagonal (nobody is paired with themselves) and where no case was shared.
        cases, patients: (N, N) how many; 0 on the diagonal.
    """

    label: str
    metric: str
    names: tuple[str, ...]
    mean: FloatArray
    cases: IntArray
    patients: IntArray
    rule: str

    def as_dict(self) -> dict[str, object]:
        """Plain lists for a file."""
        return {
            "names": list(self.names),
            "mean": self.mean.tolist(),
            "n": self.cases.tolist(),
            "n_patients": self.patients.tolist(),
            "rule": self.rule,
        }


def pairwise_matrix(
    cases: Sequence[CaseScores],
    label: str,
    metric: str,
    raters: Sequence[str],
    models: Sequence[str] = (),
    protocol: Protocol | None = None,
) -> PairwiseMatrix:
    """Everybody with everybody, over the cases in which any of `raters` and `models` marked the structure.

    Args:
        protocol: for what infinite distances are in means; the image diagonal by default.

    Raises:
        UsageError: a metric that depends on which of the two is the reference has no symmetric matrix.
    """
    if metric not in SYMMETRIC:
        raise UsageError("no metric of a matrix of pairs", expected="one of " + ", ".join(SYMMETRIC), got=metric)
    plan = protocol or Protocol()
    names = (*raters, *models)
    place = {name: index for index, name in enumerate(names)}
    values: dict[tuple[int, int], dict[str, list[float]]] = {}
    for case in cases:
        if not any(case.presence(label, names).values()):
            continue
        for score in case.of(label):
            if score.is_missing or score.a not in place or score.b not in place or np.isnan(score.values[metric]):
                continue
            value = plan.in_means(score.values[metric], metric, case.diagonal_mm)
            if np.isnan(value):
                continue
            cell = place[score.a], place[score.b]
            values.setdefault((min(cell), max(cell)), {}).setdefault(case.patient, []).append(value)
    size = len(names), len(names)
    mean, number, patients = np.full(size, np.nan), np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    for (row, column), by_patient in values.items():
        for cell in ((row, column), (column, row)):
            mean[cell] = np.mean([np.mean(each) for each in by_patient.values()])
            number[cell] = sum(len(each) for each in by_patient.values())
            patients[cell] = len(by_patient)
    rule = RULE.format(infinite=INFINITE[plan.empty_policy])
    return PairwiseMatrix(label, metric, names, mean, number, patients, rule)
