"""How far readers' surfaces lie apart, as the tolerance of NSD: taken from other patients than the one it judges.

Nikolov et al. (J Med Internet Res 23(7):e26151, 2021) set each organ's tolerance to the 95th percentile of the
distances between experts' surfaces. A tolerance taken from the cases that it then judges would forgive those readers
their own disagreement, so here every patient is judged by the distances of all the other patients' readers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from medseg.errors import UsageError
from medseg.evaluation.paired import CaseScores, kind_of
from medseg.evaluation.scoring import PairScore
from medseg.evaluation.spread import Spread
from medseg.shapes import FloatArray, IntArray

QUANTILE = 0.95
RULE = (
    "quantile of the distances between two readers' surfaces, both directions, by area; every patient weighs the same "
    "and so does every pair of readers within a patient; the judged patient's own readers are left out"
)


@dataclass(frozen=True)
class Tolerance:
    """The tolerance that judges one patient.

    Args:
        mm: the tolerance.
        quantile: of the readers' distances, 0 to 1.
        n_patients, n_pairs: the other patients and their pairs of readers that it was taken from.
    """

    mm: float
    quantile: float
    n_patients: int
    n_pairs: int

    def as_dict(self) -> dict[str, object]:
        """What stands in a file."""
        return {**asdict(self), "rule": RULE}


def reader_tolerances(
    cases: Sequence[CaseScores], label: str, raters: Sequence[str], *, quantile: float = QUANTILE
) -> dict[str, Tolerance]:
    """The tolerance of every patient of `cases` for one structure.

    Args:
        cases: scored with `keep_gaps=True`. Pairs in which a reader marked nothing have no distance and are left out.
        quantile: 0 to 1.

    Raises:
        UsageError: the quantile is no share, the distances were not kept, or fewer than two patients have two readers
            who marked the structure: then nobody else's distances are there to judge by.
    """
    if not 0 < quantile < 1:
        raise UsageError("wrong quantile of a tolerance", expected="a share between 0 and 1", got=str(quantile))
    spreads: dict[str, list[Spread]] = {}
    for case in cases:
        for score in case.of(label):
            if kind_of(score, raters, None) == "human-human" and score.flag == "":
                spreads.setdefault(case.patient, []).extend(_kept(score))
    if len(spreads) < 2:
        raise UsageError(
            "no tolerance from the readers", where=label, got=f"{len(spreads)} patients with two readers who marked it",
            expected="at least 2, because a patient is never judged by its own readers", do="Give a tolerance in mm.",
        )  # fmt: skip
    quantiles = leave_one_out_quantiles(spreads, quantile)
    pairs = {patient: len(found) // 2 for patient, found in spreads.items()}
    everyone = leave_one_out_quantiles(spreads, quantile, names=[""])[""]  # who has no pair is judged by all who have
    return {
        patient: Tolerance(
            quantiles.get(patient, everyone), quantile, len(spreads) - (patient in spreads),
            sum(pairs.values()) - pairs.get(patient, 0),
        )
        for patient in dict.fromkeys(case.patient for case in cases)
    }  # fmt: skip


def leave_one_out_quantiles(
    spreads: Mapping[str, Sequence[Spread]], quantile: float, names: Sequence[str] | None = None
) -> dict[str, float]:
    """Per name the smallest distance in mm within which that share of all other names' surfaces lies.

    >>> near, far = (Spread(np.array([mm]), np.array([5.0])) for mm in (1.0, 3.0))
    >>> leave_one_out_quantiles({"a": [near], "b": [near], "c": [far]}, 0.6)
    {'a': 3.0, 'b': 3.0, 'c': 1.0}
    """
    order, mm, weight, owner = _sorted(spreads)
    upto, place = np.cumsum(weight), {name: k for k, name in enumerate(order)}
    found = {}
    for name in order if names is None else names:
        own = np.cumsum(np.where(owner == place[name], weight, 0.0)) if name in place else np.zeros(len(mm))
        others = upto - own
        reached = int(np.searchsorted(others, quantile * others[-1] * (1 - 1e-12)))
        found[name] = float(mm[min(reached, len(mm) - 1)])
    return found


def with_tolerances(cases: Sequence[CaseScores], label: str, tolerances_mm: Mapping[str, float]) -> list[CaseScores]:
    """The same cases with the NSD of one structure at each patient's own tolerance.

    Args:
        cases: scored with `keep_gaps=True`.
        tolerances_mm: by patient.

    Empty and missing masks score as before: no tolerance makes a missed structure near.
    """
    return [
        replace(
            case,
            scores=[
                _at(score, tolerances_mm[case.patient]) if score.label == label else score for score in case.scores
            ],
            _by_label={},
        )
        for case in cases
    ]


def _at(score: PairScore, tolerance_mm: float) -> PairScore:
    if score.flag:
        return score
    _kept(score)
    assert score.gap is not None
    return replace(score, values={**score.values, "nsd": score.gap.nsd(tolerance_mm)})


def _kept(score: PairScore) -> tuple[Spread, Spread]:
    if score.gap is None:
        raise UsageError("the distances between surfaces were not kept", do="Score with keep_gaps=True.")
    return score.gap.there, score.gap.back


def _sorted(spreads: Mapping[str, Sequence[Spread]]) -> tuple[list[str], FloatArray, FloatArray, IntArray]:
    """Names, and all distances ascending with their weights (each name's sum to 1) and the number of their name."""
    mm, weight, owner = [], [], []
    for number, several in enumerate(spreads.values()):
        for spread in several:
            mm.append(spread.mm)
            weight.append(spread.weight / (spread.total * len(several)))
            owner.append(np.full(len(spread.mm), number))
    distances = np.concatenate(mm)
    order = np.argsort(distances, kind="stable")
    return list(spreads), distances[order], np.concatenate(weight)[order], np.concatenate(owner)[order]
