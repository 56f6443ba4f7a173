"""A model that learned from a reader's outlines agrees with that reader more than a stranger would: shown apart."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from medseg.evaluation.entries import Json, Protocol, summary
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.pair_table import PairTable, pair_table, row_means
from medseg.evaluation.paired import CaseScores
from medseg.evaluation.statistics import patient_means
from medseg.shapes import FloatArray

TRAINED_ON_RULE = (
    "for a group of readers: the model with each of them, against each of them with all other readers, over the cases "
    "in which both are defined; D as everywhere, positive favours the model. The verdict rests on all readers"
)


def trained_on_entry(
    cases: Sequence[CaseScores],
    label: str,
    raters: Sequence[str],
    model: str,
    learned: Collection[str],
    protocol: Protocol,
) -> Json | None:
    """D with the readers from whom the model learned and with the others, in the judged metric; None without any."""
    table = pair_table(cases, label, protocol.metric, raters, model)
    groups = {
        "learned_from": [rater for rater in raters if rater in learned],
        "others": [rater for rater in raters if rater not in learned],
    }
    if not groups["learned_from"]:
        return None
    found: Json = {"metric": protocol.metric, "rule": TRAINED_ON_RULE}
    for name, group in groups.items():
        found[name] = {"raters": group} | _apart(table, [raters.index(rater) for rater in group], protocol)
    return found


def _apart(table: PairTable, group: Sequence[int], protocol: Protocol) -> Json:
    """Means and D of the pairs of some readers."""
    turned = -1.0 if METRICS[protocol.metric].is_distance else 1.0
    ours = row_means(table.model[:, group])
    theirs = row_means(table.human[:, group].reshape(len(table.patients), -1))
    known = ~np.isnan(ours - theirs)
    patients = [patient for patient, here in zip(table.patients, known.tolist(), strict=True) if here]

    def summarised(values: FloatArray) -> Json:
        return summary((turned * values[known]).tolist(), patients, protocol.metric, protocol)

    low, high = METRICS[protocol.metric].range
    interval = protocol.interval(patient_means((ours - theirs)[known], patients), (low - high, high - low))
    return {
        "human_human": summarised(theirs),
        "model_human": summarised(ours),
        "difference": {"mean": interval.mean, "ci95": interval.ci95, "n": len(patients), "n_patients": interval.n},
    }
