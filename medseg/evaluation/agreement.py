"""Is a model as close to the readers as they are to each other? The numbers of `agreement.json`, label by label.

Nothing here reads or writes a file; undefined numbers are NaN and become null where the file is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from medseg.evaluation.confirmatory import secondary_answers, secondary_entry
from medseg.evaluation.entries import (
    TRUTH,
    Json,
    Protocol,
    leave_one_out_entry,
    presence_entry,
    signed,
    summary,
    truth_entry,
    volume_entry,
)
from medseg.evaluation.interchangeability import device_panel, equivalence_index
from medseg.evaluation.margin_tests import margin_tests
from medseg.evaluation.metrics import METRICS, SYMMETRIC
from medseg.evaluation.paired import CaseAgreement, CaseScores, case_agreement, entering
from medseg.evaluation.planning import planning_entry
from medseg.evaluation.presence import Presence, presence, reader_presence
from medseg.evaluation.primary import Answer, Question, decide
from medseg.evaluation.secondary import alt_test_entry, distribution_entry, fields, two_way_entry
from medseg.evaluation.signed_distance import signed_bias
from medseg.evaluation.statistics import Interval, patient_means, patients_for_power, ratio_interval
from medseg.evaluation.verdict import (
    DESCRIPTIVE,
    INCONCLUSIVE,
    Finding,
    Study,
    classify,
    guarded,
    margin_share,
    nothing_sentence,
    readers_sentence,
    sentence,
    share_warning,
)
from medseg.evaluation.volume_entries import volume_block
from medseg.evaluation.words import counted
from medseg.shapes import FloatArray

__all__ = ["TRUTH", "Json", "Judgement", "LabelAgreement", "Protocol", "judge_model", "label_agreement", "verdict"]

D_BOUNDS = (-1.0, 1.0)  # of a difference of two shares
Rows = Mapping[str, Sequence[CaseAgreement]]


@dataclass(frozen=True)
class Judgement:
    """What the verdict needs of one model and structure: the judged metric.

    Args:
        finding: the numbers of the judged metric.
        class_, reasons: after the guard.
        study: cases and patients that enter the judged metric.
        differences: D by patient.
        p: one-sided, that D lies above minus the margin; NaN without a margin.
        warnings: what must be said beside the class.
        secondary: answers to the confirmatory questions about this structure, with D and its interval.
    """

    finding: Finding
    class_: str
    reasons: tuple[str, ...]
    study: Study
    differences: Mapping[str, float]
    p: float = float("nan")
    warnings: tuple[str, ...] = ()
    secondary: Mapping[Question, tuple[Answer, Interval]] = field(default_factory=dict)


@dataclass(frozen=True)
class LabelAgreement:
    """One structure: the entry for the file, and what the verdicts need of it.

    Args:
        entry: the value under `labels` in `agreement.json`.
        rows: by model lines of `cases.csv`, every metric; under an empty name without a model.
        judged: by model.
        human_human: mean of the judged metric among readers.
        study: cases and patients that enter it.
    """

    label: str
    entry: Json
    rows: Mapping[str, tuple[CaseAgreement, ...]]
    judged: Mapping[str, Judgement]
    human_human: Interval
    study: Study
    marked: int = field(default=0)


def label_agreement(
    cases: Sequence[CaseScores], label: str, raters: Sequence[str], models: Sequence[str], protocol: Protocol
) -> LabelAgreement:
    """Everything about one structure."""
    found = {model: _all_rows(cases, label, raters, model) for model in (*models, *([] if models else [""]))}
    kept = {model: _entering(rows, raters, model) for model, rows in found.items()}
    shared = {metric: _shared([kept[model][metric] for model in kept]) for metric in SYMMETRIC}
    marked = {row.case for rows in found.values() for row in rows["dice"]}
    only = models[0] if len(models) == 1 else None
    entry: Json = {
        "human_human": {m: _summary(shared[m], "human_human", m, protocol) for m in SYMMETRIC},
        "models": {},
        "leave_one_out": {} if protocol.anonymous else leave_one_out_entry(cases, label, raters, only, protocol),
        "presence": {} if protocol.anonymous else reader_presence(cases, label, raters),
        "consensus": {"staple": None},
        "kappa": None,
        "volume": volume_block(volume_entry(cases, label, raters, None), cases, label, raters, None, protocol),
        "cases": {"marked": len(marked), "nobody_marked": len(cases) - len(marked)},
    }
    if truth := truth_entry(cases, label, [*raters, *models], protocol):
        entry["truth"] = truth
    judged: dict[str, Judgement] = {}
    for model in models:
        judged[model], entry["models"][model] = judge_model(cases, label, raters, model, protocol, kept[model])
        if len(models) > 1 and not protocol.anonymous:
            entry["models"][model]["leave_one_out"] = leave_one_out_entry(cases, label, raters, model, protocol)
    rows = {model: tuple(row for metric in SYMMETRIC for row in found[model][metric]) for model in found}
    human = protocol.interval(_patients(shared[protocol.metric], "human_human"), METRICS[protocol.metric].range)
    study = _study(shared[protocol.metric], raters)
    return LabelAgreement(label, entry, rows, judged, human, study, len(marked))


def judge_model(
    cases: Sequence[CaseScores],
    label: str,
    raters: Sequence[str],
    model: str,
    protocol: Protocol,
    rows: Rows | None = None,
) -> tuple[Judgement, Json]:
    """One model and structure: what the verdict needs, and the entry under `models`.

    Args:
        rows: the cases that enter by metric, where they are known already.
    """
    rows = _entering(_all_rows(cases, label, raters, model), raters, model) if rows is None else rows
    judged = rows[protocol.metric]
    table = presence(cases, label, raters, model, draws=protocol.draws, seed=protocol.seed)
    human = _patients(judged, "human_human")
    mean = float(human.mean()) if len(human) else np.nan
    finding, class_, reasons = _judge(label, judged, raters, table, protocol, mean)
    values = _patients(judged, "difference")
    tests = margin_tests(values, finding.margin) if finding.margin else None
    entry: Json = {
        **_model_entry(rows, protocol),
        "presence": presence_entry(table, protocol.guard_margin),
        "volume": volume_block(volume_entry(cases, label, raters, model), cases, label, raters, model, protocol),
        "equivalence_index": {protocol.metric: fields(equivalence_index(finding.difference))},
        "device_panel": fields(device_panel(_patients(rows["dice"], "difference"))),
        "sensitivity": {
            "margin_tests": fields(tests) if tests else None,
            "two_way": two_way_entry(cases, label, raters, model, protocol),
        },
        "alt_test": alt_test_entry(cases, label, raters, model, protocol),
        "distribution": distribution_entry(cases, label, raters, model, protocol),
        "planning": planning_entry(finding.difference, finding.margin, len(raters)),
    }
    bias = signed_bias(cases, label, raters, model, draws=protocol.draws, seed=protocol.seed)
    entry["signed_surface_distance"] = bias.as_dict()
    entry["difference"][protocol.metric] |= {
        "margin": finding.margin,
        **_share(finding.margin, mean, protocol.metric),
        "class": class_,
        "reasons": reasons,
        "n_for_80pct": finding.needed,
    }
    by_patient = dict(zip(_owners(judged, "difference"), values.tolist(), strict=True))
    p = tests.p_noninferior if tests else np.nan
    warnings = (bias.warning,) if bias.warning else ()
    secondary = secondary_answers(label, rows, len(raters), table, protocol)
    study = _study(judged, raters)
    return Judgement(finding, class_, tuple(reasons), study, by_patient, p, warnings, secondary), entry


def _share(margin: float | None, human_human: float, metric: str) -> Json:
    """The margin as a share of the readers' disagreement; where they do not disagree, a flag says so beside null."""
    share = None if margin is None else margin_share(margin, human_human, metric)
    infinite = share is not None and np.isinf(share)
    return {"margin_share": None if infinite else share} | ({"margin_share_flag": "infinite"} if infinite else {})


def _all_rows(cases: Sequence[CaseScores], label: str, raters: Sequence[str], model: str) -> dict:
    return {
        metric: [row for case in cases if (row := case_agreement(case, label, metric, raters, model or None))]
        for metric in SYMMETRIC
    }


def _entering(rows: Rows, raters: Sequence[str], model: str) -> dict[str, list[CaseAgreement]]:
    with_model, with_readers = bool(model), len(raters) > 1
    return {m: entering(found, with_model=with_model, with_readers=with_readers) for m, found in rows.items()}


def _shared(rows: Sequence[Sequence[CaseAgreement]]) -> list[CaseAgreement]:
    """The first model's rows of the cases that enter for every model: one mean among readers for all of them."""
    common = set.intersection(*({row.case for row in found} for found in rows))
    return [row for row in rows[0] if row.case in common]


def _study(rows: Sequence[CaseAgreement], raters: Sequence[str]) -> Study:
    return Study(len(rows), len({row.patient for row in rows}), len(raters))


def _model_entry(rows: Rows, protocol: Protocol) -> Json:
    scores = [metric for metric in SYMMETRIC if not METRICS[metric].is_distance]
    return {
        "human_human": {m: _summary(rows[m], "human_human", m, protocol) for m in SYMMETRIC},
        "model_human": {m: _summary(rows[m], "model_human", m, protocol) for m in SYMMETRIC},
        "difference": {m: _difference(rows[m], m, protocol) for m in SYMMETRIC},
        "delineation": {m: _delineation(rows[m], m, protocol) for m in scores},
        "williams": {m: _williams(rows[m], protocol) for m in scores},
    }


def verdict(
    labels: Sequence[LabelAgreement], model: str | None, study: Study, protocol: Protocol
) -> tuple[Json, str | None]:
    """Class, sentence and reasons over all labels, and the label that decided.

    The primary question decides; without one the worst label speaks for the model.
    """
    marked = [label for label in labels if label.marked]
    if not marked:
        return {
            "class": "descriptive",
            "sentence": nothing_sentence(study),
            "reasons": ["nobody marked anything"],
        }, None
    if model is None:
        return _readers_verdict(marked, protocol)
    answers = [_answer(label, model, protocol.metric) for label in marked]
    named = protocol.primary if protocol.primary in [answer.question for answer in answers] else None
    secondary = {question: answer for label in marked for question, answer in label.judged[model].secondary.items()}
    apart = [answer for question, (answer, _) in secondary.items() if question not in {one.question for one in answers}]
    decision = decide([*answers, *(apart if named else ())], named, secondary)
    worst = next(label for label in marked if label.label == decision.decided_by.label)
    reasons = [f"{label.label}: {reason}" for label in marked for reason in label.judged[model].reasons]
    reasons += [warning for label in marked if (warning := share_warning(label.judged[model].finding))]
    reasons += [f"{label.label}: {warning}" for label in marked for warning in label.judged[model].warnings]
    if len(marked) > 1:
        listed = ", ".join(f"{label.label} {label.judged[model].class_}" for label in marked)
        how = "so the worst one decides" if named is None else "which decides"
        what = "no primary label was named" if named is None else f"the primary question is {named}"
        reasons.insert(0, f"{what}, {how}: {listed}")
    if protocol.primary and named is None:
        reasons.insert(0, f"the primary question {protocol.primary} was not answered: nobody marked it")
    if absent := [label.label for label in labels if label not in marked]:
        reasons.append("not judged, because nobody marked it in any case: " + ", ".join(absent))
    ours = worst.judged[model]
    class_ = DESCRIPTIVE if protocol.primary and named is None else ours.class_
    found: Json = {
        "class": class_,
        "sentence": sentence(class_, ours.finding, ours.study, ours.reasons),
        "reasons": reasons,
        "label": worst.label,
        "metric": protocol.metric,
    }
    if named:
        found["primary"] = str(named)
        found["exploratory_p"] = {str(question): p for question, p in decision.exploratory.items()}
        if secondary:
            found["secondary"] = secondary_entry(secondary, decision.secondary, protocol, class_)
    return found, worst.label


def _readers_verdict(marked: Sequence[LabelAgreement], protocol: Protocol) -> tuple[Json, str | None]:
    worst = min(marked, key=lambda label: _last(signed(label.human_human.mean, protocol.metric)))
    tolerance = protocol.tolerance_of(worst.label)
    text = readers_sentence(worst.label, protocol.metric, worst.human_human, worst.study, tolerance)
    return {"class": "descriptive", "sentence": text, "reasons": ["there is no model to judge"]}, worst.label


def _answer(label: LabelAgreement, model: str, metric: str) -> Answer:
    judged = label.judged[model]
    interval = judged.finding.difference
    lower = interval.ci95[0] if interval.ci95 else interval.mean
    return Answer(Question(label.label, metric), judged.class_, lower, judged.p)


def _patients(rows: Sequence[CaseAgreement], key: str) -> FloatArray:
    """One mean per patient (N,) of a column of the rows."""
    return patient_means(np.array([getattr(row, key) for row in rows]), [row.patient for row in rows])


def _owners(rows: Sequence[CaseAgreement], key: str) -> list[str]:
    """The patients of `_patients`, in their order."""
    return list(dict.fromkeys(row.patient for row in rows if not np.isnan(getattr(row, key))))


def _summary(rows: Sequence[CaseAgreement], key: str, metric: str, protocol: Protocol) -> Json:
    return summary([getattr(row, key) for row in rows], [row.patient for row in rows], metric, protocol)


def _bounds(metric: str) -> tuple[float, float]:
    return (-np.inf, np.inf) if METRICS[metric].is_distance else D_BOUNDS


def _difference(rows: Sequence[CaseAgreement], metric: str, protocol: Protocol) -> Json:
    interval = protocol.interval(_patients(rows, "difference"), _bounds(metric))
    return {
        "mean": interval.mean,
        "ci95": interval.ci95,
        "method": interval.method,
        "sd": interval.sd,
        "n": sum(not np.isnan(row.difference) for row in rows),
        "n_patients": interval.n,
        "margin": None,
        "class": "descriptive",
        "n_for_80pct": None,
    }


def _delineation(rows: Sequence[CaseAgreement], metric: str, protocol: Protocol) -> Json:
    """D over the cases that everyone marked: outlines alone, without misses and false positives."""
    drawn = [row for row in rows if row.everyone_marked]
    interval = protocol.interval(_patients(drawn, "difference"), _bounds(metric))
    return {"mean": interval.mean, "ci95": interval.ci95, "n": len(drawn)}


def _williams(rows: Sequence[CaseAgreement], protocol: Protocol) -> Json:
    """Williams index (1976) as a ratio of patient means; 1 when the model is one more reader."""
    both = [row for row in rows if not np.isnan(row.difference)]
    ours, theirs = (_patients(both, key) for key in ("model_human", "human_human"))
    value, interval = ratio_interval(ours, theirs, draws=protocol.draws, seed=protocol.seed)
    return {"value": value, "ci95": interval, "n": len(both)}


def _judge(
    label: str,
    rows: Sequence[CaseAgreement],
    raters: Sequence[str],
    table: Presence,
    protocol: Protocol,
    human_human: float,
) -> tuple[Finding, str, list[str]]:
    metric, margin = protocol.metric, protocol.margins.get(label)
    interval = protocol.interval(_patients(rows, "difference"), _bounds(metric))
    class_, reasons = classify(interval, margin, len(raters))
    class_, lowered = guarded(class_, table, protocol.guard_margin)
    needed = None
    if margin and class_ == INCONCLUSIVE and not lowered:
        needed = patients_for_power(interval.sd, margin)
        if needed <= interval.n:  # enough for a true difference of 0, so it is not the number that leaves it open
            reasons.append(f"the difference lies near the margin; {counted(needed, 'patient')} would do if it were 0")
            needed = None
    ours = _patients(rows, "model_human")
    finding = Finding(
        label,
        metric,
        human_human,
        float(ours.mean()) if len(ours) else np.nan,
        interval,
        margin,
        protocol.tolerance_of(label),
        table,
        needed,
        protocol.margin_source,
    )
    return finding, class_, [*reasons, *lowered]


def _last(value: float) -> float:
    """NaN sorts behind every number."""
    return np.inf if np.isnan(value) else value
