"""Secondary questions that were named beforehand: each is judged as the primary one is, and adjusted by Holm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medseg.evaluation.entries import Json, Protocol
from medseg.evaluation.margin_tests import margin_tests
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.paired import CaseAgreement
from medseg.evaluation.presence import Presence
from medseg.evaluation.primary import Answer, Question
from medseg.evaluation.statistics import Interval, patient_means
from medseg.evaluation.verdict import EQUIVALENT, NON_INFERIOR, classify, guarded

ALPHA = 0.025  # one-sided, as the ends of a two-sided 95 % interval
PASSED = (EQUIVALENT, NON_INFERIOR)
SECONDARY_RULE = (
    "confirmatory only if the primary question is answered non-inferior or equivalent: one-sided t test that D lies "
    "above minus the margin, adjusted by Holm over the secondary questions and held against 0.025; shown where that "
    "holds and the question's own class, which is not adjusted, is non-inferior or equivalent"
)


def secondary_answers(
    label: str, rows: Mapping[str, Sequence[CaseAgreement]], raters: int, table: Presence, protocol: Protocol
) -> dict[Question, tuple[Answer, Interval]]:
    """The answer to each secondary question about a label, with D and its interval.

    Args:
        rows: by metric the cases that enter D.
        raters: how many.
        table: of the label's misses and false positives; its guards hold for every metric.
    """
    found: dict[Question, tuple[Answer, Interval]] = {}
    for question, margin in protocol.secondary.items():
        if question.label != label:
            continue
        mine = rows[question.metric]
        values = patient_means(np.array([row.difference for row in mine]), [row.patient for row in mine])
        low, high = METRICS[question.metric].range
        interval = protocol.interval(values, (low - high, high - low))
        class_, _ = guarded(classify(interval, margin, raters)[0], table, protocol.guard_margin)
        lower = interval.ci95[0] if interval.ci95 else interval.mean
        p = margin_tests(values, margin).p_noninferior
        found[question] = Answer(question, class_, lower, p), interval
    return found


def secondary_entry(
    answers: Mapping[Question, tuple[Answer, Interval]],
    adjusted: Mapping[Question, float],
    protocol: Protocol,
    primary_class: str,
) -> Json:
    """By question D, class, p before and after Holm, and whether it is shown: never where the primary one is not."""
    found: Json = {}
    for question, (answer, interval) in answers.items():
        p = adjusted.get(question, float("nan"))
        found[str(question)] = {
            "difference": {"mean": interval.mean, "ci95": interval.ci95, "n": interval.n},
            "margin": protocol.secondary[question],
            "class": answer.class_,
            "p": answer.p,
            "p_holm": p,
            "shown": bool(p < ALPHA) and primary_class in PASSED and answer.class_ in PASSED,
        }
    return {"questions": found, "rule": SECONDARY_RULE}
