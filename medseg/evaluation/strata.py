"""D by site, scanner, size or phase: where the model may be nearer to the readers and where not, as an exploration.

Strata were not planned, are small and many: nothing here is a verdict. P values are adjusted by Benjamini and Hochberg
over all strata of all factors that were looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.evaluation.entries import Protocol
from medseg.evaluation.margin_tests import t_test
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.multiplicity import benjamini_hochberg
from medseg.evaluation.paired import CaseAgreement
from medseg.evaluation.statistics import Interval, patient_means
from medseg.shapes import FloatArray

UNKNOWN = "not stated"
NOTE = (
    "exploratory: D per stratum; p of a two-sided paired t test that D is 0 in the stratum, adjusted by Benjamini and "
    "Hochberg over all strata shown; no verdict rests on them"
)


@dataclass(frozen=True)
class Stratum:
    """D in the cases of one value of one factor.

    Args:
        human_human, model_human: means over patients, in the metric's unit.
        difference: D with its interval; `n` is patients.
        p, p_adjusted: that D is 0; NaN below two patients or without spread.
    """

    factor: str
    value: str
    n_cases: int
    n_patients: int
    human_human: float
    model_human: float
    difference: Interval
    p: float
    p_adjusted: float
    note: str = NOTE


def strata(
    rows: Sequence[CaseAgreement],
    factors: Mapping[str, Mapping[str, str]],
    protocol: Protocol | None = None,
    *,
    bounds: tuple[float, float] | None = None,
) -> list[Stratum]:
    """A line for every value of every factor, factors in their order and values sorted; `not stated` comes last.

    Args:
        rows: cases of one label and metric that enter D, as from `entering`; those whose D is NaN are left out.
        factors: by factor (site, scanner ...) the value of each case id; a case without one is `not stated`.
        protocol: for draws and seed.
        bounds: smallest and largest possible D; by default from the metric's range where METRICS has it.
    """
    plan = protocol or Protocol()
    known = [row for row in rows if not np.isnan(row.difference)]
    groups: dict[tuple[str, str], list[CaseAgreement]] = {}
    for factor, value_of in factors.items():
        values = {row.case: value_of.get(row.case) or UNKNOWN for row in known}
        for value in sorted(set(values.values()), key=lambda value: (value == UNKNOWN, value)):
            groups[factor, value] = [row for row in known if values[row.case] == value]
    tested = {key: _p(_patients(group, "difference")) for key, group in groups.items()}
    adjusted = benjamini_hochberg(tested)  # a stratum that cannot be tested was asked about as well
    return [
        Stratum(
            *key,
            len(group),
            len({row.patient for row in group}),
            float(_patients(group, "human_human").mean()),
            float(_patients(group, "model_human").mean()),
            plan.interval(_patients(group, "difference"), _bounds(group) if bounds is None else bounds),
            tested[key],
            adjusted[key],
        )
        for key, group in groups.items()
    ]


def _patients(rows: Sequence[CaseAgreement], key: str) -> FloatArray:
    return patient_means(np.array([getattr(row, key) for row in rows]), [row.patient for row in rows])


def _bounds(rows: Sequence[CaseAgreement]) -> tuple[float, float]:
    metric = METRICS.get(rows[0].metric)
    if metric is None:
        return -np.inf, np.inf
    low, high = metric.range
    return low - high, high - low


def _p(values: FloatArray) -> float:
    if len(values) < 2 or np.ptp(values) <= 1e-12:
        return float("nan")
    return float(t_test(values).pvalue)
