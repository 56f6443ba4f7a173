"""Is the model as close to the readers as they are to each other? The numbers of `agreement.json`, label by label.

Nothing here reads or writes a file; undefined numbers are NaN and become null where the file is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

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
from medseg.evaluation.metrics import METRICS, SYMMETRIC
from medseg.evaluation.paired import CaseAgreement, CaseScores, case_agreement, entering
from medseg.evaluation.presence import Presence, presence, reader_presence
from medseg.evaluation.statistics import Interval, patient_means, patients_for_power, ratio_interval
from medseg.evaluation.verdict import (
    DESCRIPTIVE,
    INCONCLUSIVE,
    WORST_FIRST,
    Finding,
    Study,
    classify,
    guarded,
    margin_share,
    readers_sentence,
    sentence,
    share_warning,
)
from medseg.shapes import FloatArray

__all__ = ["TRUTH", "Json", "LabelAgreement", "Protocol", "label_agreement", "verdict"]

D_BOUNDS = (-1.0, 1.0)  # of a difference of two shares


@dataclass(frozen=True)
class LabelAgreement:
    """One structure: the entry for the file, and what the verdict needs of it.

    Args:
        entry: the value under `labels` in `agreement.json`.
        rows: lines of `cases.csv`, every metric.
        finding: the judged metric, or None without a model.
        class_, reasons: of the judged metric, after the guard.
        human_human: mean of the judged metric among readers.
        study: cases and patients that enter the judged metric.
    """

    label: str
    entry: Json
    rows: tuple[CaseAgreement, ...]
    finding: Finding | None
    class_: str
    reasons: tuple[str, ...]
    human_human: Interval
    study: Study


def label_agreement(
    cases: Sequence[CaseScores], label: str, raters: Sequence[str], model: str | None, protocol: Protocol
) -> LabelAgreement:
    """Everything about one structure."""
    found = {
        metric: [row for case in cases if (row := case_agreement(case, label, metric, raters, model))]
        for metric in SYMMETRIC
    }
    rows = {
        metric: entering(found[metric], with_model=model is not None, with_readers=len(raters) > 1)
        for metric in SYMMETRIC
    }
    entry: Json = {
        "human_human": {m: _summary(rows[m], "human_human", m, protocol) for m in SYMMETRIC},
        "models": {},
        "leave_one_out": leave_one_out_entry(cases, label, raters, model),
        "presence": reader_presence(cases, label, raters),
        "consensus": {"staple": None},
        "kappa": None,
        "volume": volume_entry(cases, label, raters, None),
        "cases": {"marked": len(found["dice"]), "nobody_marked": len(cases) - len(found["dice"])},
    }
    if truth := truth_entry(cases, label, [*raters, *([model] if model else [])], protocol):
        entry["truth"] = truth
    everything = tuple(row for metric in SYMMETRIC for row in found[metric])
    judged = rows[protocol.metric]
    human = protocol.interval(_patients(judged, "human_human"), METRICS[protocol.metric].range)
    study = Study(len(judged), len({row.patient for row in judged}), len(raters))
    if model is None:
        reasons = ("there is no model to judge",)
        return LabelAgreement(label, entry, everything, None, DESCRIPTIVE, reasons, human, study)
    table = presence(cases, label, raters, model, draws=protocol.draws, seed=protocol.seed)
    finding, class_, reasons = _judge(label, judged, raters, table, protocol, human.mean)
    entry["models"][model] = {
        **_model_entry(rows, protocol),
        "presence": presence_entry(table, protocol.guard_margin),
        "volume": volume_entry(cases, label, raters, model),
    }
    entry["models"][model]["difference"][protocol.metric] |= {
        "margin": finding.margin,
        "margin_share": None if finding.margin is None else margin_share(finding.margin, human.mean, protocol.metric),
        "class": class_,
        "reasons": reasons,
        "n_for_80pct": finding.needed,
    }
    return LabelAgreement(label, entry, everything, finding, class_, tuple(reasons), human, study)


def _model_entry(rows: Mapping[str, Sequence[CaseAgreement]], protocol: Protocol) -> Json:
    scores = [metric for metric in SYMMETRIC if not METRICS[metric].is_distance]
    return {
        "model_human": {m: _summary(rows[m], "model_human", m, protocol) for m in SYMMETRIC},
        "difference": {m: _difference(rows[m], m, protocol) for m in SYMMETRIC},
        "delineation": {m: _delineation(rows[m], m, protocol) for m in scores},
        "williams": {m: _williams(rows[m], protocol) for m in scores},
        "alt_test": None,
        "distribution": None,
    }


def verdict(labels: Sequence[LabelAgreement], study: Study, protocol: Protocol) -> tuple[Json, str | None]:
    """Class, sentence and reasons over all labels, and the label that decided: the worst one speaks for the model."""
    marked = [label for label in labels if label.entry["cases"]["marked"]]
    if not marked:
        text = f"On {study.cases} cases ({study.patients} patients) nobody marked anything."
        return {"class": "descriptive", "sentence": text, "reasons": ["nobody marked anything"]}, None
    if marked[0].finding is None:
        worst = min(marked, key=lambda label: _last(signed(label.human_human.mean, protocol.metric)))
        text = readers_sentence(worst.label, protocol.metric, worst.human_human, worst.study, protocol.tolerance_mm)
        return {"class": "descriptive", "sentence": text, "reasons": list(worst.reasons)}, worst.label
    worst = min(marked, key=lambda label: (WORST_FIRST.index(label.class_), _last(_lower(label))))
    assert worst.finding is not None
    reasons = [f"{label.label}: {reason}" for label in marked for reason in label.reasons]
    reasons += [warning for label in marked if label.finding and (warning := share_warning(label.finding))]
    if len(marked) > 1:
        listed = ", ".join(f"{label.label} {label.class_}" for label in marked)
        reasons.insert(0, f"no primary label was named, so the worst one decides: {listed}")
    if absent := [label.label for label in labels if label not in marked]:
        reasons.append("not judged, because nobody marked it in any case: " + ", ".join(absent))
    return {
        "class": worst.class_,
        "sentence": sentence(worst.class_, worst.finding, worst.study, worst.reasons),
        "reasons": reasons,
        "label": worst.label,
        "metric": protocol.metric,
    }, worst.label


def _patients(rows: Sequence[CaseAgreement], key: str) -> FloatArray:
    """One mean per patient (N,) of a column of the rows."""
    return patient_means(np.array([getattr(row, key) for row in rows]), [row.patient for row in rows])


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
    return {"value": value, "ci95": interval}


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
            reasons.append(f"the difference lies near the margin; {needed} patients would do if it were 0")
            needed = None
    ours = _patients(rows, "model_human")
    finding = Finding(
        label,
        metric,
        human_human,
        float(ours.mean()) if len(ours) else np.nan,
        interval,
        margin,
        protocol.tolerance_mm,
        table,
        needed,
    )
    return finding, class_, [*reasons, *lowered]


def _lower(label: LabelAgreement) -> float:
    assert label.finding is not None
    interval = label.finding.difference
    return interval.ci95[0] if interval.ci95 else interval.mean


def _last(value: float) -> float:
    """NaN sorts behind every number."""
    return np.inf if np.isnan(value) else value
