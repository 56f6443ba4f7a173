"""Who found the structure and who did not: misses and false positives of the model and of each reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.evaluation.paired import CaseScores
from medseg.evaluation.statistics import DRAWS, exact_upper_bound, rate_difference_interval
from medseg.shapes import FloatArray

GUARD_MARGIN = 0.10
RULE = (
    "a reader is left out; the structure is present when at least half of the other readers marked it; "
    "the left-out reader and the model are both held against that"
)
MISSED, FALSE_POSITIVE = "miss_rate", "false_positive_rate"


@dataclass(frozen=True)
class RateGuard:
    """A rate of the model beside that of a left-out reader, and how much worse the model may be.

    Args:
        model, readers: the two rates, NaN without a chance.
        difference_ci95: interval of their difference over drawn patients, or None.
        upper: upper bound of the difference; where a count is 0, from the exact bound. NaN without a chance.
        patients: patients with at least one chance.
    """

    model: float
    readers: float
    difference_ci95: tuple[float, float] | None
    upper: float
    patients: int

    def exceeds(self, margin: float) -> bool:
        """Whether a rate this much worse cannot be excluded; False where the data hold no chance at all."""
        return bool(self.upper > margin)


@dataclass(frozen=True)
class Presence:
    """Counts over cases.

    Args:
        findings: cases in which at least two readers (one, if there is only one) marked the structure.
        missed: of those, cases in which the model did not.
        absent: cases in which no reader marked it.
        false_positives: of those, cases in which the model did.
        guards: `miss_rate` and `false_positive_rate`.
    """

    findings: int
    missed: int
    absent: int
    false_positives: int
    guards: Mapping[str, RateGuard]


def presence(
    cases: Sequence[CaseScores], label: str, raters: Sequence[str], model: str, *, draws: int = DRAWS, seed: int = 0
) -> Presence:
    """The presence table of one structure and its guards."""
    counts = dict.fromkeys(("findings", "missed", "absent", "false_positives"), 0)
    tallies: dict[str, dict[str, FloatArray]] = {MISSED: {}, FALSE_POSITIVE: {}}
    for case in cases:
        found = case.presence(label, [*raters, model])
        marked = {name: found[name] for name in raters if name in found}
        if model not in found or not marked:
            continue
        votes = sum(marked.values())
        counts["findings"] += votes >= min(2, len(raters))
        counts["missed"] += votes >= min(2, len(raters)) and not found[model]
        counts["absent"] += votes == 0
        counts["false_positives"] += votes == 0 and found[model]
        for kind in tallies:
            tally = tallies[kind].setdefault(case.patient, np.zeros(3))
            tally += _left_out(marked, found[model], kind)
    guards = {kind: _guard(np.array(list(tally.values())).reshape(-1, 3), draws, seed)
              for kind, tally in tallies.items()}  # fmt: skip
    return Presence(guards=guards, **counts)


def reader_presence(cases: Sequence[CaseScores], label: str, raters: Sequence[str]) -> dict[str, dict[str, int]]:
    """Per reader: cases `read`, cases `marked`, and how often it missed or added a finding against the others."""
    table = {rater: {"read": 0, "marked": 0, "missed": 0, "false_positives": 0} for rater in raters}
    for case in cases:
        found = case.presence(label, raters)
        for rater, marked in found.items():
            others = [other for name, other in found.items() if name != rater]
            present = bool(others) and 2 * sum(others) >= len(others)
            table[rater]["read"] += 1
            table[rater]["marked"] += marked
            table[rater]["missed"] += present and not marked
            table[rater]["false_positives"] += bool(others) and not present and marked
    return table


def _left_out(marked: Mapping[str, bool], model: bool, kind: str) -> FloatArray:
    """Chances, the model's events and the left-out readers' events of one case, summed over the left-out readers."""
    total = np.zeros(3)
    for rater, own in marked.items():
        others = [other for name, other in marked.items() if name != rater]
        if others:
            present = 2 * sum(others) >= len(others)
            if present == (kind == MISSED):
                total += (1, model != present, own != present)
    return total


def _guard(tally: FloatArray, draws: int, seed: int) -> RateGuard:
    """The guard from (patients, 3) chances, model's events and readers' events."""
    chances, ours, theirs = tally.T if len(tally) else np.zeros((3, 0))
    patients = int(np.count_nonzero(chances))
    if not patients:
        return RateGuard(float("nan"), float("nan"), None, float("nan"), 0)
    model, readers = float(ours.sum() / chances.sum()), float(theirs.sum() / chances.sum())
    interval = rate_difference_interval((ours, chances), (theirs, chances), draws=draws, seed=seed)
    upper = interval[1] if interval else 1.0
    if not ours.sum() or not theirs.sum():  # drawing patients cannot make an event that never happened
        upper = max(upper, exact_upper_bound(int(np.count_nonzero(ours)), patients) - readers)
    return RateGuard(model, readers, interval, upper, patients)
