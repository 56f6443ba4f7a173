"""From numbers to one of five classes, and to a sentence that says no more than the class allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.evaluation.metrics import METRICS
from medseg.evaluation.presence import FALSE_POSITIVE, MISSED, Presence
from medseg.evaluation.statistics import Interval
from medseg.evaluation.words import counted, percent, were

EQUIVALENT, NON_INFERIOR, INCONCLUSIVE = "equivalent", "non-inferior", "inconclusive"
INFERIOR, DESCRIPTIVE = "inferior", "descriptive"
CLASSES = (EQUIVALENT, NON_INFERIOR, INCONCLUSIVE, INFERIOR, DESCRIPTIVE)
# a model passes only if every label passes, so the worst label speaks for it
WORST_FIRST = (INFERIOR, INCONCLUSIVE, DESCRIPTIVE, NON_INFERIOR, EQUIVALENT)
ONE_STEP_DOWN = {EQUIVALENT: NON_INFERIOR, NON_INFERIOR: INCONCLUSIVE}
MIN_RATERS, MIN_PATIENTS = 2, 20
LARGE_SHARE = 0.5  # of the readers' own disagreement

CLAIMS = {
    EQUIVALENT: "the model agreed with a reader as closely as readers agreed with each other "
    "(within inter-expert variability)",
    NON_INFERIOR: "the model agreed with a reader no less, within the margin, than readers agreed with each other",
    INCONCLUSIVE: "it stays open whether the model agrees with a reader as closely as readers agree with each other",
    INFERIOR: "the model agreed with a reader less than readers agreed with each other",
    DESCRIPTIVE: "the agreement is described and not judged",
}
SLIGHTLY_LESS = "the model agreed with a reader slightly less, within the margin, than readers agreed with each other"
STATED = "stated by the user"
CAP = "This shows agreement within the margin with these readers, not correctness."


@dataclass(frozen=True)
class Study:
    """What a sentence says about the study: numbers of cases, patients and readers."""

    cases: int
    patients: int
    raters: int


@dataclass(frozen=True)
class Finding:
    """The judged metric of one label: what a verdict is made of.

    `human_human` and `model_human` are means over patients; `presence` is None without readers to hold it against;
    `margin_source` says who gave the margin, and when.
    """

    label: str
    metric: str
    human_human: float
    model_human: float
    difference: Interval
    margin: float | None
    tolerance_mm: float
    presence: Presence | None
    needed: int | None = None
    margin_source: str = STATED


def classify(difference: Interval, margin: float | None, raters: int) -> tuple[str, list[str]]:
    """The class of a paired difference and, for `descriptive`, every reason.

    From the 95 % interval [lo, hi] of D and the margin m: inferior (hi < -m), equivalent (-m < lo and hi < m),
    non-inferior (-m < lo), else inconclusive.
    """
    reasons = []
    if raters < MIN_RATERS:
        reasons.append(f"fewer than {MIN_RATERS} readers, so there is no human-human agreement to compare with")
    elif difference.n < MIN_PATIENTS:  # with one reader there is no D of anybody
        reasons.append(f"{counted(difference.n, 'patient')}; at least {MIN_PATIENTS} are needed for a verdict")
    if margin is None:
        reasons.append("no margin was given")
    if difference.n > 1 and difference.ci95 is None:
        reasons.append(f"no interval ({difference.method.removeprefix('none: ')})")
    if reasons or margin is None or difference.ci95 is None:
        return DESCRIPTIVE, reasons
    low, high = difference.ci95
    if high < -margin:
        return INFERIOR, []
    if low > -margin:
        return (EQUIVALENT if high < margin else NON_INFERIOR), []
    return INCONCLUSIVE, []


def guarded(found: str, presence: Presence | None, guard_margin: float) -> tuple[str, list[str]]:
    """The class after the guard: one step lower when a worse miss or false-positive rate cannot be excluded."""
    if presence is None or found not in ONE_STEP_DOWN:
        return found, []
    reasons = []
    for kind, words in ((MISSED, "miss rate"), (FALSE_POSITIVE, "false-positive rate")):
        guard = presence.guards[kind]
        if guard.exceeds(guard_margin):
            reasons.append(
                f"the {words} may exceed a left-out reader's by up to {percent(guard.upper)} "
                f"({counted(guard.patients, 'patient')}; guard margin {percent(guard_margin)}), "
                "so the class is one step lower"
            )
    return (ONE_STEP_DOWN[found] if reasons else found), reasons


def margin_share(margin: float, human_human: float, metric: str) -> float:
    """The margin over the readers' own disagreement: 1 - mean for scores, the mean itself for distances.

    >>> round(margin_share(0.05, 0.98, "dice"), 2)  # enormous for a kidney
    2.5
    """
    disagreement = human_human if METRICS[metric].is_distance else 1.0 - human_human
    return margin / disagreement if disagreement > 0 else float("inf")


def share_warning(finding: Finding) -> str | None:
    """A warning when the margin is more than half of what readers themselves disagree by."""
    if finding.margin is None or np.isnan(finding.human_human):
        return None
    share = margin_share(finding.margin, finding.human_human, finding.metric)
    if share <= LARGE_SHARE + 1e-9:  # 1 - 0.9 is a little below 0.1
        return None
    shown = f"{percent(share)} of" if np.isfinite(share) else "larger than any share of"
    return (
        f"{_label(finding.label)}: the margin {_number(finding.margin, finding.metric)} is {shown} the readers' own "
        "disagreement; a smaller one would be more convincing"
    )


def sentence(found: str, finding: Finding, study: Study, reasons: Sequence[str] = ()) -> str:
    """The verdict in words: class, numbers, misses, and what it does not show."""
    parts = [f"On {_extent(study)} {_claim(found, finding)}: {_numbers(finding)}."]
    if finding.presence is not None and finding.presence.findings:
        by = "at least two readers" if study.raters > 1 else "the reader"
        findings = counted(finding.presence.findings, "finding")
        parts.append(
            f"{finding.presence.missed} of {findings} present for {by} {were(finding.presence.missed)} missed."
        )
    if finding.presence is not None and finding.presence.absent:
        parts.append(
            f"In {finding.presence.false_positives} of {counted(finding.presence.absent, 'case')} without a finding "
            "the model marked one."
        )
    if found in (EQUIVALENT, NON_INFERIOR):
        parts.append(CAP)
    if found == INCONCLUSIVE and finding.needed is not None:
        parts.append(f"About {counted(finding.needed, 'patient')} would be needed to decide at this margin.")
    if found in (DESCRIPTIVE, INCONCLUSIVE) and reasons:
        parts.append(f"Reason: {'; '.join(reasons)}.")
    return " ".join(parts)


def readers_sentence(label: str, metric: str, mean: Interval, study: Study, tolerance_mm: float) -> str:
    """The sentence of a study without a model: how close the readers are."""
    if study.raters < MIN_RATERS or np.isnan(mean.mean):
        return f"On {_extent(study, readers=False)} there are no two readers to compare."
    interval = f" (95 % CI {_range(mean.ci95, metric)})" if mean.ci95 else ""
    return (
        f"On {_extent(study)} readers agreed with each other "
        f"at {_label(label)}, {_name(metric, tolerance_mm)} {_number(mean.mean, metric)}{interval}."
    )


def nothing_sentence(study: Study) -> str:
    """The sentence of a study in which nobody marked anything."""
    return f"On {_extent(study, readers=False)} nobody marked anything."


def _extent(study: Study, *, readers: bool = True) -> str:
    """Cases, patients and readers, each in the right number."""
    who = f", {counted(study.raters, 'reader')}" if readers else ""
    return f"{counted(study.cases, 'case')} ({counted(study.patients, 'patient')}{who})"


def _claim(found: str, finding: Finding) -> str:
    interval = finding.difference.ci95
    if found in (EQUIVALENT, NON_INFERIOR) and interval is not None and interval[1] < 0:
        return SLIGHTLY_LESS
    return CLAIMS[found]


def _numbers(finding: Finding) -> str:
    name = f"{_label(finding.label)}, {_name(finding.metric, finding.tolerance_mm)}"
    if np.isnan(finding.difference.mean):
        only = (
            "" if np.isnan(finding.model_human) else f" {_number(finding.model_human, finding.metric)} with the reader"
        )
        return f"{name}{only or ' is not defined'}"
    interval = (
        f"95 % CI {_range(finding.difference.ci95, finding.metric)}" if finding.difference.ci95 else "no interval"
    )
    margin = (
        "no margin"
        if finding.margin is None
        else f"margin -{_number(finding.margin, finding.metric)}, {finding.margin_source}"
    )
    return (
        f"{name} {_number(finding.model_human, finding.metric)} vs {_number(finding.human_human, finding.metric)}, "
        f"difference {_number(finding.difference.mean, finding.metric, sign='+')} ({interval}; {margin})"
    )


def _label(label: str) -> str:
    """The structure's name; of bare folders only the value is known."""
    return f"label {label}" if label.isdigit() else label


def _name(metric: str, tolerance_mm: float) -> str:
    return f"NSD at {tolerance_mm:g} mm" if metric == "nsd" else METRICS[metric].title


def _range(interval: tuple[float, float] | None, metric: str) -> str:
    assert interval is not None
    return f"{_number(interval[0], metric)} to {_number(interval[1], metric)}"


def _number(value: float, metric: str, sign: str = "") -> str:
    unit = METRICS[metric].unit
    return f"{value:{sign}.{2 if unit else 3}f}" + (f" {unit}" if unit else "")
