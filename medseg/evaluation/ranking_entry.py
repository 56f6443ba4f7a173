"""Several models in order, label by label, as it stands in `agreement.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from medseg.evaluation.agreement import LabelAgreement
from medseg.evaluation.entries import Json, Protocol
from medseg.evaluation.multiplicity import holm
from medseg.evaluation.ranking import rank_models


def ranking_entry(labels: Sequence[LabelAgreement], models: Sequence[str], protocol: Protocol) -> Json | None:
    """By label the models from best to worst in the judged metric, with paired intervals; None for one model.

    `p_noninferior_holm` corrects the models' tests against the margin for their number, by label.
    """
    if len(models) < 2:
        return None
    found: Json = {}
    for label in labels:
        differences = {model: label.judged[model].differences for model in models}
        if not any(differences.values()):
            continue
        ranking = rank_models(_known(differences), draws=protocol.draws, seed=protocol.seed)
        entry = asdict(ranking)
        entry["p_noninferior_holm"] = holm({model: label.judged[model].p for model in models})
        found[label.label] = entry
    return {"metric": protocol.metric, "labels": found}


def _known(differences: Mapping[str, Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
    return {model: values for model, values in differences.items() if values}
