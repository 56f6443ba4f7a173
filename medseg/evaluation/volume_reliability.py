"""How reproducible is the volume: intraclass correlation, the mixed model, and coefficients of variation beside them.

An ICC grows with the differences between patients; the coefficient of variation does not. Between readers it holds
everything that two readers differ by, within a reader only what the same reader differs by when reading again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.evaluation.icc import IccTable, icc
from medseg.evaluation.paired import CaseScores
from medseg.evaluation.smooth import SMOOTH_RULE, smooth_interval
from medseg.evaluation.statistics import DRAWS
from medseg.evaluation.variance_components import Components, variance_components
from medseg.shapes import FloatArray

CV_RULE = "sqrt(exp(variance of the natural logarithm of the volume) - 1), pooled over cases; " + SMOOTH_RULE


@dataclass(frozen=True)
class Variation:
    """A coefficient of variation as a share (0.1 is 10 %), NaN where nothing was read twice.

    Args:
        ci95: over drawn patients, or None.
        n_cases, n_patients: with at least two readings.
    """

    value: float
    ci95: tuple[float, float] | None
    n_cases: int
    n_patients: int
    rule: str = CV_RULE


@dataclass(frozen=True)
class VolumeReliability:
    """Everything about the readers' volumes of one structure.

    Args:
        icc: over the cases that all marked, or None below two.
        mixed: over all readings that marked it, or None where too few were read twice.
        between_readers: coefficient of variation of readings by different readers.
        within_reader: of repeated readings by the same reader; NaN without repeats.
        partly_read: cases left out because somebody read only some slices, so that volumes are not of one thing.
    """

    icc: IccTable | None
    mixed: Components | None
    between_readers: Variation
    within_reader: Variation
    partly_read: int


def volume_reliability(
    cases: Sequence[CaseScores],
    label: str,
    raters: Sequence[str],
    *,
    repeats: Mapping[str, Sequence[str]] | None = None,
    anonymous: bool = False,
    draws: int = DRAWS,
    seed: int = 0,
) -> VolumeReliability:
    """Reliability of the readers' volumes.

    Args:
        raters: names of the readings to compare, one per reader.
        repeats: by reader the names of all of that reader's readings, for the variation within a reader.
        anonymous: reader K is not the same person in every case.
    """
    volumes = [marked_volumes(case, label) for case in cases]
    whole = [(case, found) for case, found in zip(cases, volumes, strict=True) if found is not None]
    table = np.array([[np.log(found.get(rater, np.nan)) for rater in raters] for _, found in whole])
    table = table.reshape(len(whole), len(raters))
    patients = [case.patient for case, _ in whole]
    within = [
        (case.case, case.patient, [found[name] for name in names if name in found])
        for case, found in whole
        for names in (repeats or {}).values()
    ]
    between = [(case.case, case.patient, [found[name] for name in raters if name in found]) for case, found in whole]
    return VolumeReliability(
        icc(table, patients=patients, anonymous=anonymous, draws=draws, seed=seed),
        variance_components(table, patients=patients, anonymous=anonymous),
        reading_variation(between, draws=draws, seed=seed),
        reading_variation(within, draws=draws, seed=seed),
        len(cases) - len(whole),
    )


def marked_volumes(case: CaseScores, label: str) -> dict[str, float] | None:
    """Volume in ml by name of those who marked the structure; None where pairs were cut to slices that both read.

    A name whose volume differs from pair to pair was compared on different parts of the image.
    """
    found: dict[str, float] = {}
    for score in case.of(label):
        if score.is_missing:
            continue
        for name, volume in ((score.a, float(score.volume_a_ml)), (score.b, float(score.volume_b_ml))):
            if not np.isclose(found.setdefault(name, volume), volume, rtol=1e-9, atol=0.0):
                return None
    return {name: volume for name, volume in found.items() if volume > 0}


def reading_variation(
    groups: Iterable[tuple[str, str, Sequence[float]]], *, draws: int = DRAWS, seed: int = 0
) -> Variation:
    """Coefficient of variation of positive volumes read more than once.

    Args:
        groups: case, patient and the volumes of what is one thing; groups of fewer than two say nothing.

    >>> round(reading_variation([("c1", "p1", [1.0, 1.1]), ("c2", "p2", [5.0, 4.6])]).value, 4)
    0.0634
    """
    sums: dict[str, FloatArray] = {}
    cases = set()
    for case, patient, volumes in groups:
        if len(volumes) > 1:
            logs = np.log(np.asarray(volumes, dtype=np.float64))
            tally = sums.setdefault(patient, np.zeros(2))
            tally += (np.sum((logs - logs.mean()) ** 2), len(logs) - 1)
            cases.add(case)
    columns = np.array(list(sums.values())).reshape(-1, 2)
    if not len(columns):
        return Variation(float("nan"), None, 0, 0)
    value = float(np.sqrt(np.expm1(columns[:, 0].sum() / columns[:, 1].sum())))
    interval = smooth_interval(
        columns, lambda mean: np.log(mean[..., 0]) - np.log(mean[..., 1]), draws=draws, seed=seed
    )
    if interval is None:
        return Variation(value, None, len(cases), len(columns))
    with np.errstate(over="ignore"):
        low, high = (float(np.sqrt(np.expm1(np.exp(bound)))) for bound in interval)
    # a handful of patients may leave the logarithm of the variance without an upper end that a number could hold
    return Variation(value, (low, high) if np.isfinite(high) else None, len(cases), len(columns))
