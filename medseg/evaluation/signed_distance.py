"""Does the model draw a structure larger or smaller than the readers do, and by more than they differ themselves?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from medseg.evaluation.paired import CaseScores
from medseg.evaluation.statistics import DRAWS, Interval, mean_interval, patient_means

KEY = "signed_surface_distance"
RULE = (
    "mean over the area of both surfaces of the distance from one to the other, positive where the first-named mask "
    "reaches beyond the other; cases that both marked; the readers' own range is that of reader minus reader, each way"
)


@dataclass(frozen=True)
class SignedBias:
    """Signed surface distances in mm, means over patients; positive: drawn larger.

    A range of few readers is narrow: a true further reader lies outside that of two about every other time. So the
    warning also says whether all of the model's interval lies outside.

    Args:
        model: the model minus the readers, with its interval.
        per_reader: the model minus each reader; NaN without a common case.
        readers: each reader minus the other readers.
        largest: largest distance, sign aside, of one reader minus another; NaN with fewer than two.
        n_cases: in which the model and a reader marked the structure.
    """

    model: Interval
    per_reader: Mapping[str, float]
    readers: Mapping[str, float]
    largest: float
    n_cases: int

    @property
    def readers_range(self) -> tuple[float, float] | None:
        """Of one reader minus another; None with fewer than two readers."""
        return None if np.isnan(self.largest) else (-self.largest, self.largest)

    @property
    def is_biased(self) -> bool:
        """Whether the model's mean lies outside the readers' own range; False where that is unknown."""
        return bool(abs(self.model.mean) > self.largest)

    @property
    def is_certain(self) -> bool:
        """Whether its whole interval does."""
        if self.model.ci95 is None:
            return False
        low, high = self.model.ci95
        return bool(low > self.largest or high < -self.largest)

    @property
    def warning(self) -> str:
        """One sentence, or nothing.

        >>> interval = Interval(1.2, (1.0, 1.4), "bca", 0.5, 60)
        >>> SignedBias(interval, {}, {}, 0.4, 60).warning.rpartition(", ")[2]
        'all outside their own range of -0.40 to +0.40 mm'
        """
        if not self.is_biased:
            return ""
        way = "larger" if self.model.mean > 0 else "smaller"
        interval = self.model.ci95
        shown = "" if interval is None else f" (95 % CI {interval[0]:+.2f} to {interval[1]:+.2f})"
        where = "all outside" if self.is_certain else "the mean outside"
        return (
            f"drawn {abs(self.model.mean):.2f} mm {way} than by the readers{shown}, "
            f"{where} their own range of -{self.largest:.2f} to +{self.largest:.2f} mm"
        )

    def as_dict(self) -> dict[str, object]:
        """What stands in a file."""
        return {
            "mean_mm": self.model.mean,
            "ci95_mm": self.model.ci95,
            "method": self.model.method,
            "sd_mm": self.model.sd,
            "n": self.n_cases,
            "n_patients": self.model.n,
            "per_reader_mm": dict(self.per_reader),
            "readers_mm": dict(self.readers),
            "readers_range_mm": self.readers_range,
            "outside_readers_range": self.is_biased,
            "interval_outside_readers_range": self.is_certain,
            "warning": self.warning,
            "rule": RULE,
        }


def signed_bias(
    cases: Sequence[CaseScores], label: str, raters: Sequence[str], model: str, *, draws: int = DRAWS, seed: int = 0
) -> SignedBias:
    """How much larger the model draws a structure than the readers, beside how they differ among themselves."""
    pairs = [abs(_mean(cases, label, a, [b])) for a, b in combinations(raters, 2)]
    values, patients = _against(cases, label, model, raters)
    return SignedBias(
        mean_interval(patient_means(np.array(values), patients), draws=draws, seed=seed),
        {rater: _mean(cases, label, model, [rater]) for rater in raters},
        {rater: _mean(cases, label, rater, [other for other in raters if other != rater]) for rater in raters},
        max((value for value in pairs if not np.isnan(value)), default=float("nan")),
        len(values),
    )


def _mean(cases: Sequence[CaseScores], label: str, name: str, others: Sequence[str]) -> float:
    values, patients = _against(cases, label, name, others)
    return float(patient_means(np.array(values), patients).mean()) if values else float("nan")


def _against(
    cases: Sequence[CaseScores], label: str, name: str, others: Sequence[str]
) -> tuple[list[float], list[str]]:
    """Per case the mean of name minus others, and the patient; only cases with a value."""
    values, patients = [], []
    for case in cases:
        found = [
            score.values[KEY] if score.b == name else -score.values[KEY]  # a pair's value is its second minus its first
            for score in case.of(label)
            if name in (score.a, score.b) and (score.a in others or score.b in others)
        ]
        found = [value for value in found if not np.isnan(value)]
        if found:
            values.append(float(np.mean(found)))
            patients.append(case.patient)
    return values, patients
