"""With an external truth (a phantom, histology): who is nearer to it, and was the verdict from agreement right?

Agreement with readers is no proof of correctness; where the truth is known it can be checked. Model and readers are
scored against the same truth case by case, and the difference is paired: it never goes over a consensus.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.errors import UsageError
from medseg.evaluation.entries import TRUTH, Protocol, signed
from medseg.evaluation.metrics import METRICS, SYMMETRIC
from medseg.evaluation.paired import CaseScores
from medseg.evaluation.scoring import PairScore
from medseg.evaluation.statistics import Interval, patient_means
from medseg.evaluation.verdict import EQUIVALENT, INFERIOR, MIN_RATERS, NON_INFERIOR, classify
from medseg.evaluation.words import counted
from medseg.shapes import FloatArray

NAN = float("nan")
RULE = (
    "difference = the model's score against the truth minus the mean of the readers' scores against it, positive where "
    "the model is nearer; empty masks as everywhere, a distance only in cases that the truth, the model and every "
    "reader marked"
)
RIGHT, WRONG, OPEN, NO_CLAIM = "right", "wrong", "open", "no claim"
AT_LEAST_AS_CLOSE, FARTHER, UNDECIDED = "at least as close", "farther", "undecided"
TRUTH_WORDS = {
    AT_LEAST_AS_CLOSE: "the model was at least as close to the truth as the readers, within the margin",
    FARTHER: "the model was farther from the truth than the readers, by more than the margin",
    UNDECIDED: "it stays open whether the model is as close to the truth as the readers, within the margin",
}
ANSWERS = {
    RIGHT: "The verdict '{verdict}' was right: {truth}",
    WRONG: "The verdict '{verdict}' was wrong: {truth}",
    OPEN: "Whether the verdict '{verdict}' was right stays open: {truth}",
    NO_CLAIM: "The verdict '{verdict}' claimed nothing that could be right or wrong: {truth}",
}


@dataclass(frozen=True)
class TruthCase:
    """One case: the model's score against the truth, each reader's, and the difference; NaN where undefined."""

    case: str
    patient: str
    model: float
    readers: Mapping[str, float]
    difference: float

    @property
    def reader_mean(self) -> float:
        """Mean over the readers who read the case."""
        known = [value for value in self.readers.values() if not np.isnan(value)]
        return float(np.mean(known)) if known else NAN


@dataclass(frozen=True)
class TruthComparison:
    """Model and readers against the truth, over the cases in which both can be scored.

    Args:
        model, readers: mean score against the truth, in the metric's unit.
        difference: model minus readers, turned so that positive is nearer to the truth.
        per_reader: model minus each reader, over the cases that this reader read; empty for anonymous readers.
        n_cases: cases that enter; `n` of the intervals is patients.
        left_out: cases with a truth that do not enter.
        rows: every case with a truth.
    """

    label: str
    metric: str
    model: Interval
    readers: Interval
    difference: Interval
    per_reader: Mapping[str, Interval]
    n_cases: int
    left_out: int
    rows: tuple[TruthCase, ...]
    rule: str = RULE


@dataclass(frozen=True)
class Check:
    """Whether an agreement verdict was right.

    Args:
        answer: `right`, `wrong`, `open` (the truth's interval crosses the margin, or there is none), or `no claim`
            (the verdict was inconclusive or descriptive).
        truth: what the truth says: `at least as close`, `farther` or `undecided`.
        sentence: in words.
        reasons: why the truth is undecided, where that is not the interval's width.
    """

    answer: str
    truth: str
    sentence: str
    reasons: tuple[str, ...] = ()


def truth_comparison(
    cases: Sequence[CaseScores],
    label: str,
    metric: str,
    raters: Sequence[str],
    model: str,
    protocol: Protocol | None = None,
    *,
    anonymous: bool = False,
) -> TruthComparison | None:
    """The model's distance to the truth beside the readers'; None where no case has a truth and a reading.

    Args:
        cases: with the pairs (TRUTH, name) of model and readers among their scores.
        protocol: for draws and seed.
        anonymous: reader K is not the same person in every case, so there is no row per reader.

    Raises:
        UsageError: a metric that depends on which of the two is the reference says nothing about who is nearer.
    """
    if metric not in SYMMETRIC:
        raise UsageError("no metric of nearness to a truth", expected="one of " + ", ".join(SYMMETRIC), got=metric)
    plan = protocol or Protocol()
    rows = [row for case in cases if (row := truth_case(case, label, metric, raters, model))]
    if not rows:
        return None
    entering = [row for row in rows if not np.isnan(row.difference)]
    kind = METRICS[metric]
    low, high = kind.range
    bounds = low - high, high - low

    def over_patients(values: Sequence[float], limits: tuple[float, float]) -> Interval:
        return plan.interval(patient_means(np.array(values), [row.patient for row in entering]), limits)

    per_reader = {
        rater: over_patients([signed(r.model - r.readers.get(rater, NAN), metric) for r in entering], bounds)
        for rater in ([] if anonymous else raters)
    }
    return TruthComparison(
        label,
        metric,
        over_patients([row.model for row in entering], kind.range),
        over_patients([row.reader_mean for row in entering], kind.range),
        over_patients([row.difference for row in entering], bounds),
        per_reader,
        len(entering),
        len(rows) - len(entering),
        tuple(rows),
    )


def truth_case(case: CaseScores, label: str, metric: str, raters: Sequence[str], model: str) -> TruthCase | None:
    """The scores of one case against the truth, or None where nothing was compared with it."""
    found = {
        name: pair
        for pair in case.of(label)
        if not pair.is_missing and (name := _against_truth(pair)) in {*raters, model}
    }
    if not found:
        return None
    defined = not METRICS[metric].is_distance or not any(pair.flag for pair in found.values())
    values = {name: float(pair.values[metric]) if defined else NAN for name, pair in found.items()}
    readers = {rater: values[rater] for rater in raters if rater in values}
    known: FloatArray = np.array([value for value in readers.values() if not np.isnan(value)])
    ours = values.get(model, NAN)
    difference = signed(ours - float(known.mean()), metric) if len(known) else NAN
    return TruthCase(case.case, case.patient, ours, readers, difference)


def truth_presence(cases: Sequence[CaseScores], label: str, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """By name: cases `read` that have a truth, `present` and `absent` there, of those `missed`, `false_positives`."""
    counted = ("read", "present", "missed", "absent", "false_positives")
    table: dict[str, dict[str, int]] = {name: dict.fromkeys(counted, 0) for name in names}
    for case in cases:
        for pair in case.of(label):
            name = _against_truth(pair)
            if name not in table or pair.is_missing:
                continue
            truth_ml, other_ml = pair.volume_a_ml, pair.volume_b_ml
            if pair.b == TRUTH:
                truth_ml, other_ml = other_ml, truth_ml
            counts = table[name]
            counts["read"] += 1
            counts["present"] += bool(truth_ml > 0)
            counts["missed"] += bool(truth_ml > 0 and other_ml == 0)
            counts["absent"] += bool(truth_ml == 0)
            counts["false_positives"] += bool(truth_ml == 0 and other_ml > 0)
    return table


def was_right(verdict: str, comparison: TruthComparison, margin: float | None) -> Check:
    """Whether the truth bears the agreement verdict out, by the same margin and the same kind of interval.

    `equivalent` and `non-inferior` claim that the model is no farther from the truth than the readers, within the
    margin; `inferior` claims that it is farther. The other classes claim nothing.

    Args:
        verdict: the class that agreement with the readers gave.
        margin: positive, in the metric's unit; without one, or with fewer patients than a verdict needs, the truth
            decides nothing.

    >>> from medseg.evaluation.statistics import Interval
    >>> mean = Interval(0.9, (0.88, 0.92), "bca", 0.1, 60)
    >>> near = Interval(-0.01, (-0.02, 0.0), "bca", 0.04, 60)
    >>> found = TruthComparison("liver", "dice", mean, mean, near, {}, 60, 0, ())
    >>> was_right("equivalent", found, 0.05).answer, was_right("inferior", found, 0.05).answer
    ('right', 'wrong')
    """
    truth, reasons = _truth_says(comparison.difference, margin)
    if verdict in (EQUIVALENT, NON_INFERIOR):
        answer = {AT_LEAST_AS_CLOSE: RIGHT, FARTHER: WRONG, UNDECIDED: OPEN}[truth]
    elif verdict == INFERIOR:
        answer = {AT_LEAST_AS_CLOSE: WRONG, FARTHER: RIGHT, UNDECIDED: OPEN}[truth]
    else:
        answer = NO_CLAIM
    words = f"{TRUTH_WORDS[truth]} ({_numbers(comparison, margin)})"
    text = ANSWERS[answer].format(verdict=verdict, truth=words)
    because = f" Reason: {'; '.join(reasons)}." if reasons else ""
    return Check(answer, truth, f"{text}.{because}", tuple(reasons))


def _truth_says(difference: Interval, margin: float | None) -> tuple[str, list[str]]:
    class_, reasons = classify(difference, margin, MIN_RATERS)  # the truth needs no second reader to compare with
    said = {EQUIVALENT: AT_LEAST_AS_CLOSE, NON_INFERIOR: AT_LEAST_AS_CLOSE, INFERIOR: FARTHER}
    return said.get(class_, UNDECIDED), reasons


def _against_truth(pair: PairScore) -> str:
    return pair.b if pair.a == TRUTH else pair.a if pair.b == TRUTH else ""


def _numbers(comparison: TruthComparison, margin: float | None) -> str:
    kind = METRICS[comparison.metric]
    digits = 2 if kind.unit else 3
    unit = f" {kind.unit}" if kind.unit else ""

    def shown(value: float, sign: str = "") -> str:
        return f"{value:{sign}.{digits}f}{unit}"

    found = comparison.difference
    if np.isnan(found.mean):
        return "no case in which both can be scored against the truth"
    between = f"95 % CI {shown(found.ci95[0])} to {shown(found.ci95[1])}" if found.ci95 else "no interval"
    limit = "no margin" if margin is None else f"margin -{shown(margin)}"
    return (
        f"{kind.title} against the truth {shown(comparison.model.mean)} vs {shown(comparison.readers.mean)}, "
        f"difference {shown(found.mean, '+')}, {between}, {limit}; {counted(comparison.n_cases, 'case')}, "
        f"{counted(found.n, 'patient')}"
    )
