"""A reader who reads a case again: agreement of readers with themselves, as a second band beside that between readers.

Nobody can agree more with a reader than the reader does; the band shows how much of the disagreement between readers
is a matter of the day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from medseg.errors import UsageError
from medseg.evaluation.entries import Protocol
from medseg.evaluation.metrics import METRICS, SYMMETRIC
from medseg.evaluation.paired import CaseScores
from medseg.evaluation.statistics import Interval, patient_means

NAN = float("nan")
RULE = (
    "mean over the pairs of readings by the same reader in a case, then over cases and patients; empty masks as "
    "between readers: overlap of two empty readings counts 1 where anybody marked the structure, a distance needs both"
)


@dataclass(frozen=True)
class IntraReader:
    """Agreement of readers with themselves.

    Args:
        pooled: mean over patients, every repeated reading counted; NaN without repeats.
        per_reader: the same for each reader who read something again.
        n_cases, n_pairs: with a repeated reading, and how many such pairs.
        rows: case, patient and mean over its repeated pairs, NaN where undefined.
    """

    label: str
    metric: str
    pooled: Interval
    per_reader: Mapping[str, Interval]
    n_cases: int
    n_pairs: int
    rows: tuple[tuple[str, str, float], ...]
    rule: str = RULE


def intra_reader(
    cases: Sequence[CaseScores],
    label: str,
    metric: str,
    repeats: Mapping[str, Sequence[str]],
    protocol: Protocol | None = None,
) -> IntraReader:
    """Agreement within readers, over the cases that a reader read more than once.

    Args:
        cases: whose scores hold the pairs of repeated readings under the names in `repeats`.
        repeats: by reader the names of all of that reader's readings.

    Raises:
        UsageError: a metric with a direction, or a reading that belongs to two readers.
    """
    if metric not in SYMMETRIC:
        raise UsageError("no metric of agreement", expected="one of " + ", ".join(SYMMETRIC), got=metric)
    owner = _owners(repeats)
    plan = protocol or Protocol()
    values: dict[str, list[tuple[str, str, float]]] = {}
    pairs = 0
    for case in cases:
        if not any(case.presence(label, {*owner, *_everybody(case, label)}).values()):
            continue
        found: dict[str, list[float]] = {}
        for score in case.of(label):
            reader = owner.get(score.a)
            if reader is None or owner.get(score.b) != reader or score.is_missing:
                continue
            defined = not (METRICS[metric].is_distance and score.flag)
            found.setdefault(reader, []).append(float(score.values[metric]) if defined else NAN)
        pairs += sum(len(scores) for scores in found.values())
        for reader, scores in found.items():
            values.setdefault(reader, []).append((case.case, case.patient, _mean(scores)))
        if found:
            everyone = [score for scores in found.values() for score in scores]
            values.setdefault("", []).append((case.case, case.patient, _mean(everyone)))
    rows = tuple(values.pop("", []))
    return IntraReader(
        label,
        metric,
        _interval(rows, metric, plan),
        {reader: _interval(values[reader], metric, plan) for reader in repeats if reader in values},
        len(rows),
        pairs,
        rows,
    )


def repeated_pairs(repeats: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """The pairs of readings by the same reader, to be scored.

    >>> repeated_pairs({"A": ["A", "A again"], "B": ["B"]})
    [('A', 'A again')]
    """
    return [pair for names in repeats.values() for pair in combinations(names, 2)]


def _owners(repeats: Mapping[str, Sequence[str]]) -> dict[str, str]:
    owner: dict[str, str] = {}
    for reader, names in repeats.items():
        for name in names:
            if owner.setdefault(name, reader) != reader:
                raise UsageError(
                    f"reading '{name}' belongs to two readers", expected="one reader", got=f"{owner[name]} and {reader}"
                )
    return owner


def _everybody(case: CaseScores, label: str) -> set[str]:
    return {name for score in case.of(label) for name in (score.a, score.b)}


def _interval(rows: Sequence[tuple[str, str, float]], metric: str, protocol: Protocol) -> Interval:
    means = patient_means(np.array([value for _, _, value in rows]), [patient for _, patient, _ in rows])
    return protocol.interval(means, METRICS[metric].range)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else NAN
