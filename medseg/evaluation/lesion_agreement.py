"""Lesion detection of a model held against readers as readers are held against each other, with the same D.

Of the two directions of a pair of readers both count: each is the reference once. D is signed so that positive favours
the model, also for false positives per case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from medseg.evaluation.instances import DEFAULT_RULE, LesionPair
from medseg.evaluation.paired import CaseAgreement
from medseg.evaluation.statistics import (
    DRAWS,
    Interval,
    mean_interval,
    patient_means,
    rate_difference_interval,
)
from medseg.shapes import BoolArray, FloatArray

NAN = float("nan")
SIZE_EDGES_ML = (0.1, 1.0, 10.0)  # spheres of 5.8, 12.4 and 26.7 mm
SHARE = (0.0, 1.0)
COUNT = (0.0, float("inf"))
EMPTY_RULE = (
    "no lesion in both: 1 in a case where any reader or the model has one, else the case is left out and counted; no "
    "lesion in one: 0, a miss or a false positive"
)


@dataclass(frozen=True)
class LesionMeasure:
    """One way to look at a pair, given which of the two is the reference.

    Args:
        range: smallest and largest value.
        higher_is_better: False for counts of false positives.
    """

    title: str
    range: tuple[float, float]
    higher_is_better: bool
    empty_rule: str
    function: Callable[[LesionPair, str], float]

    @property
    def difference_range(self) -> tuple[float, float]:
        return self.range[0] - self.range[1], self.range[1] - self.range[0]


LESION_MEASURES: dict[str, LesionMeasure] = {
    "lesion_f1": LesionMeasure("lesion F1", SHARE, True, EMPTY_RULE, lambda pair, _: pair.f1),
    "panoptic_quality": LesionMeasure(
        "panoptic quality", SHARE, True, EMPTY_RULE, lambda pair, _: pair.panoptic_quality
    ),
    "lesion_sensitivity": LesionMeasure(
        "lesion sensitivity",
        SHARE,
        True,
        "a reference without lesions gives no chance: that pair is left out of the mean",
        lambda pair, reference: pair.sensitivity(reference),
    ),
    "lesion_false_positives": LesionMeasure(
        "false-positive lesions per case",
        COUNT,
        False,
        "no lesion: 0",
        lambda pair, reference: pair.false_positives(reference),
    ),
    "segmentation_quality": LesionMeasure(
        "IoU of matched lesions",
        SHARE,
        True,
        "nothing matched: undefined, that pair is left out of the mean; see lesion F1 for misses",
        lambda pair, _: pair.segmentation_quality,
    ),
}


@dataclass(frozen=True)
class CaseLesions:
    """The lesion pairs of one case, of all structures."""

    case: str
    patient: str
    pairs: Sequence[LesionPair]

    def of(self, label: str) -> list[LesionPair]:
        """The pairs of one structure in which both read."""
        return [pair for pair in self.pairs if pair.label == label and not pair.is_missing]


@dataclass(frozen=True)
class LesionAgreement:
    """One measure of one structure over patients.

    Args:
        human_human, model_human: means over the cases that enter D (without a model, all readers' cases).
        difference: D with its interval, positive where the model is nearer to the readers.
        n_cases: cases that enter; `n` of the intervals is patients.
        left_out: cases that were read but enter nothing: nobody has a lesion, or the measure is undefined there.
        rows: one per case with a lesion, as in `cases.csv`.
    """

    measure: str
    human_human: Interval
    model_human: Interval
    difference: Interval
    n_cases: int
    left_out: int
    rows: tuple[CaseAgreement, ...]
    empty_rule: str
    lesion_rule: str


@dataclass(frozen=True)
class SizeClass:
    """Detection of the reference's lesions of one size, every reader the reference once, pooled over lesions.

    Args:
        low_ml, high_ml: sizes from the first up to below the second.
        lesions: of the readers, each lesion of each reader counted.
        model, readers: share that the model, and on average another reader, found; NaN without lesions.
        difference_ci95: of model minus readers over drawn patients; None without lesions or where no draw differs.
        model_false_positives, reader_false_positives: lesions of this size that the reference has not, per case.
        n_patients: with such lesions.
    """

    low_ml: float
    high_ml: float
    lesions: int
    model: float
    readers: float
    difference_ci95: tuple[float, float] | None
    model_false_positives: float
    reader_false_positives: float
    n_patients: int


def lesion_agreement(
    cases: Sequence[CaseLesions],
    label: str,
    measure: str,
    raters: Sequence[str],
    model: str | None,
    *,
    lesion_rule: str = str(DEFAULT_RULE),
    draws: int = DRAWS,
    seed: int = 0,
) -> LesionAgreement:
    """The paired difference of one of `LESION_MEASURES`, over cases that have both a model and two readers.

    Args:
        lesion_rule: what the lesions were made by, passed through.
    """
    kind = LESION_MEASURES[measure]
    read = [case for case in cases if case.of(label)]
    rows = [row for case in read if (row := lesion_row(case, label, measure, raters, model))]
    entering = [
        row for row in rows
        if not (np.isnan(row.human_human) and len(raters) > 1) and not (np.isnan(row.model_human) and model)
    ]  # fmt: skip
    patients = [row.patient for row in entering]

    def over_patients(key: str, bounds: tuple[float, float]) -> Interval:
        values = patient_means(np.array([getattr(row, key) for row in entering]), patients)
        return mean_interval(values, draws=draws, seed=seed, bounds=bounds)

    return LesionAgreement(
        measure,
        over_patients("human_human", kind.range),
        over_patients("model_human", kind.range),
        over_patients("difference", kind.difference_range),
        len(entering),
        len(read) - len(entering),
        tuple(rows),
        kind.empty_rule,
        lesion_rule,
    )


def lesion_row(
    case: CaseLesions, label: str, measure: str, raters: Sequence[str], model: str | None
) -> CaseAgreement | None:
    """The means of one case, NaN where no pair defines them; None where nobody has a lesion."""
    names = {*raters, *([model] if model else [])}
    pairs = [pair for pair in case.of(label) if {pair.a, pair.b} <= names]
    has = {name: bool(pair.lesions_ml(name)) for pair in pairs for name in (pair.a, pair.b)}
    if not any(has.values()):
        return None
    kind = LESION_MEASURES[measure]
    human = [kind.function(pair, name) for pair in pairs if model not in _names(pair) for name in _names(pair)]
    ours = [kind.function(pair, _reader(pair, model)) for pair in pairs if model in _names(pair)]
    human_human, model_human = _mean(human), _mean(ours)
    sign = 1.0 if kind.higher_is_better else -1.0
    difference = sign * (model_human - human_human)
    everyone = all(has.values())
    return CaseAgreement(case.case, case.patient, label, measure, human_human, model_human, difference, everyone)


def detection_by_size(
    cases: Sequence[CaseLesions],
    label: str,
    raters: Sequence[str],
    model: str | None,
    *,
    edges_ml: Sequence[float] = SIZE_EDGES_ML,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[SizeClass]:
    """How many of the lesions of each size were found, from the smallest class to the largest.

    A lesion's size is the reference's; a false positive's is its own. Each reader is the reference once: of the others
    the mean counts, so that a case read by many weighs no more for the readers than for the model.
    """
    found = []
    for size in pairwise([0.0, *sorted(edges_ml), float("inf")]):
        table, extra, lesions = _tally(cases, label, raters, model, size)
        chances, seen = table[:, :, 0].sum(axis=0), table[:, :, 1].sum(axis=0)
        with np.errstate(invalid="ignore"):
            model_rate, reader_rate = (seen / chances).tolist()
        (ours, our_chances), (theirs, their_chances) = (table[:, column, ::-1].T for column in (0, 1))
        interval = None
        if chances.all() and len(table) > 1:
            interval = rate_difference_interval((ours, our_chances), (theirs, their_chances), draws=draws, seed=seed)
        interval = None if interval is None or interval[0] == interval[1] else interval
        patients = int(np.count_nonzero(table[:, :, 0].any(axis=1)))
        found.append(SizeClass(*size, lesions, model_rate, reader_rate, interval, *extra, n_patients=patients))
    return found


def _tally(
    cases: Sequence[CaseLesions], label: str, raters: Sequence[str], model: str | None, size: tuple[float, float]
) -> tuple[FloatArray, tuple[float, float], int]:
    """Per patient (P, 2, 2) for model and other readers the lesions of that size and those found; false positives per
    case of both, and the readers' lesions.
    """
    tallies: dict[str, FloatArray] = {}
    lesions, read, extra = 0, np.zeros(2), np.zeros(2)
    for case in cases:
        pairs = case.of(label)
        for reference in raters:
            sights = _sights(pairs, reference, raters, model, size)
            lesions += next((int(sight[0]) for sight in sights if sight is not None), 0)
            for column, sight in enumerate(sights):
                if sight is not None:
                    tallies.setdefault(case.patient, np.zeros((2, 2)))[column] += sight[:2]
                    extra[column] += sight[2]
                    read[column] += 1
    table = np.array(list(tallies.values())).reshape(-1, 2, 2)
    with np.errstate(invalid="ignore"):
        ours, theirs = (extra / read).tolist()
    return table, (ours, theirs), lesions


def _sights(
    pairs: Sequence[LesionPair], reference: str, raters: Sequence[str], model: str | None, size: tuple[float, float]
) -> tuple[FloatArray | None, FloatArray | None]:
    """What the model saw of the reference's lesions in one case, and what the other readers saw on average."""
    ours = [_sight(pair, reference, size) for pair in pairs if {reference, model} == {*_names(pair)}]
    others = [_sight(pair, reference, size) for pair in pairs if reference in _names(pair) and _both(pair, raters)]
    return (ours[0] if ours else None), (np.mean(others, axis=0) if others else None)


def _sight(pair: LesionPair, reference: str, size: tuple[float, float]) -> FloatArray:
    """The reference's lesions of that size, those of them that were found, and the other's that the reference lacks."""
    other = pair.b if pair.a == reference else pair.a
    own, others = _of_size(pair.lesions_ml(reference), size), _of_size(pair.lesions_ml(other), size)
    found, matched = pair.matched(reference), pair.matched(other)
    return np.array([own.sum(), (own & found).sum(), (others & ~matched).sum()], dtype=np.float64)


def _of_size(lesions_ml: Sequence[float], size: tuple[float, float]) -> BoolArray:
    volumes = np.asarray(lesions_ml, dtype=np.float64)
    return (volumes >= size[0]) & (volumes < size[1])


def _names(pair: LesionPair) -> tuple[str, str]:
    return pair.a, pair.b


def _both(pair: LesionPair, raters: Sequence[str]) -> bool:
    return pair.a in raters and pair.b in raters


def _reader(pair: LesionPair, model: str | None) -> str:
    return pair.a if pair.b == model else pair.b


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else NAN
