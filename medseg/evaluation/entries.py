"""The parts of a label's entry in `agreement.json`: summaries over patients and what stands beside the difference D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from medseg.evaluation.metrics import METRICS
from medseg.evaluation.paired import CaseScores, kind_of
from medseg.evaluation.presence import GUARD_MARGIN, RULE, Presence
from medseg.evaluation.primary import Question
from medseg.evaluation.scoring import PairScore, Tolerance, others_of, tolerance_of
from medseg.evaluation.statistics import DRAWS, Interval, mean_interval, patient_means
from medseg.evaluation.surface import DEFAULT_TOLERANCE_MM
from medseg.evaluation.verdict import STATED
from medseg.evaluation.volumes import BlandAltman, bland_altman
from medseg.shapes import FloatArray

EmptyPolicy = Literal["diagonal", "exclude"]
TRUTH = "truth"  # the external truth's name among readers
Json = dict[str, Any]


@dataclass(frozen=True)
class Protocol:
    """What was decided before looking.

    Args:
        metric: key of METRICS that is judged; the others are described.
        margins: positive margin per label in the metric's unit; a label without one is described.
        tolerance_mm: of NSD, one for all labels or one by label.
        guard_margin: how much worse the miss and the false-positive rate may be.
        draws, seed: of the bootstrap.
        primary: the one question that decides; without it the worst label does.
        anonymous: reader K is another person in every case.
        margin_source: who gave the margin, and when, in words.
        secondary: confirmatory questions beside the primary one, each with its margin.
        empty_policy: what an infinite distance is in plain means: the image's diagonal, or left out.
    """

    metric: str = "dice"
    margins: Mapping[str, float] = field(default_factory=dict)
    tolerance_mm: Tolerance = DEFAULT_TOLERANCE_MM
    guard_margin: float = GUARD_MARGIN
    draws: int = DRAWS
    seed: int = 0
    primary: Question | None = None
    anonymous: bool = False
    margin_source: str = STATED
    secondary: Mapping[Question, float] = field(default_factory=dict)
    empty_policy: EmptyPolicy = "diagonal"

    def interval(self, values: FloatArray, bounds: tuple[float, float]) -> Interval:
        """Mean and interval of one value per patient (N,)."""
        return mean_interval(values, draws=self.draws, seed=self.seed, bounds=bounds)

    def tolerance_of(self, label: str) -> float:
        """NSD's tolerance for a label, in mm."""
        return tolerance_of(self.tolerance_mm, label)

    def in_means(self, value: float, metric: str, diagonal_mm: float) -> float:
        """A score as it enters plain means; NaN is left out."""
        replacement = diagonal_mm if self.empty_policy == "diagonal" else np.nan
        return float(METRICS[metric].fill_infinite(np.array(value), replacement))


def summary(values: Sequence[float], patients: Sequence[str], metric: str, protocol: Protocol) -> Json:
    """Mean over patients, its interval, median and 5th percentile over patients, and the number of cases.

    Args:
        values: one per case; NaN values are left out.
        patients: the patient of each case.
    """
    means = patient_means(np.array(values, dtype=np.float64), patients)
    interval = protocol.interval(means, METRICS[metric].range)
    median, low = np.percentile(means, [50, 5]) if len(means) else (np.nan, np.nan)
    found: Json = {"mean": interval.mean, "ci95": interval.ci95, "median": float(median), "p5": float(low)}
    if METRICS[metric].is_distance:  # the bad tail of a distance is the upper one
        found["p95"] = float(np.percentile(means, 95)) if len(means) else np.nan
    return found | {"n": int(np.count_nonzero(~np.isnan(values))), "n_patients": interval.n}


def signed(value: float, metric: str) -> float:
    """The value turned so that more is better."""
    return -value if METRICS[metric].is_distance else value


def leave_one_out_entry(
    cases: Sequence[CaseScores], label: str, raters: Sequence[str], model: str | None, protocol: Protocol
) -> Json:
    """Per rater: mean score of that rater and of the model against the majority of the others.

    In the judged metric with intervals: `rater_ci95`, and with a model `model_ci95` and `difference_ci95`.
    """
    found: Json = {}
    for rater in raters:
        consensus = others_of(rater)
        pairs = [(case, _pair(case, label, consensus, rater), _pair(case, label, consensus, model)) for case in cases]
        comparable = [(case.patient, own, ours) for case, own, ours in pairs if own and (ours or model is None)]
        found[rater] = {metric: _left_out(comparable, metric, model is not None, protocol) for metric in METRICS}
    return found


def _left_out(
    pairs: Sequence[tuple[str, PairScore, PairScore | None]], metric: str, with_model: bool, protocol: Protocol
) -> Json:
    """Means over patients of the pairs in which rater and model both have a finite value."""
    values = [
        (patient, own.values[metric], ours.values[metric] if ours else 0.0)  # no model: its column is not used
        for patient, own, ours in pairs
    ]
    finite = [row for row in values if np.isfinite(row[1:]).all()]
    patients = [row[0] for row in finite]
    means = [patient_means(np.array([row[column] for row in finite]), patients) for column in (1, 2)]
    own_mean, our_mean = (float(mean.mean()) if len(mean) else np.nan for mean in means)
    found: Json = {"rater": own_mean, "n": len(finite)}
    if with_model:
        found |= {"model": our_mean, "difference": signed(our_mean - own_mean, metric)}
    if metric != protocol.metric:
        return found
    own, ours = means
    low, high = METRICS[metric].range
    found["rater_ci95"] = protocol.interval(own, (low, high)).ci95
    if with_model:
        found["model_ci95"] = protocol.interval(ours, (low, high)).ci95
        turned = -1.0 if METRICS[metric].is_distance else 1.0
        found["difference_ci95"] = protocol.interval(turned * (ours - own), (low - high, high - low)).ci95
    return found


def _pair(case: CaseScores, label: str, a: str, b: str | None) -> PairScore | None:
    return next((score for score in case.of(label) if (score.a, score.b) == (a, b) and not score.is_missing), None)


def truth_entry(cases: Sequence[CaseScores], label: str, names: Sequence[str], protocol: Protocol) -> Json:
    """Per rater and model: summaries against the external truth, infinite distances by `empty_policy`."""
    found: Json = {}
    for name in names:
        pairs = [(case, pair) for case in cases if (pair := _pair(case, label, TRUTH, name))]
        if not pairs:
            continue
        found[name] = {}
        patients = [case.patient for case, _ in pairs]
        for metric in METRICS:
            values = [protocol.in_means(pair.values[metric], metric, case.diagonal_mm) for case, pair in pairs]
            found[name][metric] = summary(values, patients, metric, protocol)
    return found


def volume_entry(cases: Sequence[CaseScores], label: str, raters: Sequence[str], model: str | None) -> Json | None:
    """Bias and limits of agreement in ml: model minus a single reader, or without a model reader minus reader."""
    found = _volume_differences(cases, label, raters, model)
    if found is None:
        return None
    return {"bias_ml": found.bias, "sd_ml": found.sd, "limits_ml": found.limits, "n": found.n}


def presence_entry(table: Presence, guard_margin: float) -> Json:
    """The presence table and its guards, as they stand in the file."""
    entry: Json = {key: getattr(table, key) for key in ("findings", "missed", "absent", "false_positives")}
    for kind, guard in table.guards.items():
        entry[kind] = {
            "model": guard.model,
            "readers": guard.readers,
            "difference_ci95": guard.difference_ci95,
            "upper_bound": guard.upper,
            "patients": guard.patients,
        }
    return entry | {"guard_margin": guard_margin, "rule": RULE}


def _volume_differences(
    cases: Sequence[CaseScores], label: str, raters: Sequence[str], model: str | None
) -> BlandAltman | None:
    """Volumes in ml over the pairs that both marked: model minus single reader, or reader minus reader both ways."""
    kind = "human-human" if model is None else "model-human"
    pairs = [
        (score.volume_a_ml, score.volume_b_ml) if score.a != model else (score.volume_b_ml, score.volume_a_ml)
        for case in cases
        for score in case.of(label)
        if kind_of(score, raters, model) == kind and score.flag == ""
    ]
    first, second = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    # two readers have no order, so both orders count: their bias is 0 and only the limits speak
    return bland_altman(first, second) if model else bland_altman(np.r_[first, second], np.r_[second, first])
