"""What stands beside the difference D of a model: the alternative annotator test, other readers, the distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from medseg.evaluation.alternative_annotator import alternative_annotator_test, null_control
from medseg.evaluation.crps import crps
from medseg.evaluation.distribution import matched_iou
from medseg.evaluation.entries import Json, Protocol
from medseg.evaluation.pair_table import PairTable, pair_table
from medseg.evaluation.paired import CaseScores
from medseg.evaluation.statistics import patient_means
from medseg.evaluation.two_way import two_way
from medseg.evaluation.volume_reliability import marked_volumes

DISTRIBUTION_RULE = (
    "per case, over the cases that every reader and the model read and somebody marked; GED^2 with d = 1 - IoU over "
    "all pairs, those of an outline with itself too; compare it only at equal numbers of samples and readers"
)


def fields(found: Any) -> Json:
    """A result as a plain mapping of its fields."""
    return asdict(found)


def alt_test_entry(
    cases: Sequence[CaseScores], label: str, raters: Sequence[str], model: str, protocol: Protocol
) -> Json:
    """The alternative annotator test on the judged metric, with the same test passed or failed by every reader."""
    table = pair_table(cases, label, protocol.metric, raters, model)
    found = fields(alternative_annotator_test(table, anonymous=protocol.anonymous))
    control = null_control(table, anonymous=protocol.anonymous, seed=protocol.seed)
    return found | {
        "metric": protocol.metric,
        "null_control": {
            "passed": control.passed,
            "readers": len(control.tests),
            "winning_rates": {rater: test.winning_rate for rater, test in control.tests.items()},
            "pass_rates": control.pass_rates,
            "mean_pass_rate": control.mean_pass_rate,
            "draws": control.draws,
            "reason": control.reason,
        },
    }


def two_way_entry(
    cases: Sequence[CaseScores], label: str, raters: Sequence[str], model: str, protocol: Protocol
) -> Json:
    """Would other readers have said the same: readers drawn with the patients, or left out one by one."""
    table = pair_table(cases, label, protocol.metric, raters, model)
    return fields(two_way(table, anonymous=protocol.anonymous, seed=protocol.seed))


def distribution_entry(
    cases: Sequence[CaseScores], label: str, raters: Sequence[str], model: str, protocol: Protocol
) -> Json | None:
    """Energy distance and matched IoU of the model's one outline and the readers', and CRPS of the volume.

    The pairs are scored already, so nothing is measured twice. None without two readers or without a full case.
    """
    table = pair_table(cases, label, "iou", raters, model)
    full = _full_rows(table)
    if len(raters) < 2 or not full.any():
        return None
    values = [_distances(table, row) for row in np.flatnonzero(full).tolist()]
    patients = [table.patients[row] for row in np.flatnonzero(full).tolist()]
    entry: Json = {"samples": 1, "readers": len(raters), "n": len(values), "left_out": int((~full).sum())}
    for place, key in enumerate(("ged2", "hungarian_iou")):
        interval = protocol.interval(
            patient_means(np.array([value[place] for value in values]), patients), (-np.inf, np.inf)
        )
        entry[key] = {"mean": interval.mean, "ci95": interval.ci95, "n": interval.n}
    return entry | {"crps_volume_ml": _crps(cases, label, raters, model, protocol), "rule": DISTRIBUTION_RULE}


def _full_rows(table: PairTable) -> np.ndarray:
    first, second = np.triu_indices(len(table.raters), 1)
    known = ~np.isnan(np.concatenate([table.model, table.human[:, first, second]], axis=1))
    return np.asarray(known.all(axis=1))


def _distances(table: PairTable, row: int) -> tuple[float, float]:
    """GED^2 and matched IoU of one case; an outline is at distance 0 from itself."""
    among = np.where(np.eye(len(table.raters), dtype=bool), 1.0, table.human[row])
    cross = table.model[row][None, :]
    return float(2 * np.mean(1 - cross) - np.mean(1 - among)), matched_iou(cross)


def _crps(cases: Sequence[CaseScores], label: str, raters: Sequence[str], model: str, protocol: Protocol) -> Json:
    """The readers' volumes as forecast, the model's as outcome, in ml; smaller is better."""
    scores, patients = [], []
    for case in cases:
        volumes = _volumes_ml(case, label, [*raters, model])
        forecast = np.array([volumes[rater] for rater in raters if rater in volumes])
        if model in volumes and len(forecast) > 1 and any(volumes.values()):
            scores.append([crps(forecast, volumes[model], mode=mode) for mode in ("exact", "ensemble")])
            patients.append(case.patient)
    table = np.array(scores, dtype=np.float64).reshape(-1, 2)
    found: Json = {"n": len(table)}
    for place, mode in enumerate(("exact", "ensemble")):
        interval = protocol.interval(patient_means(table[:, place], patients), (0.0, np.inf))
        found[mode] = {"mean": interval.mean, "ci95": interval.ci95, "n": interval.n}
    return found


def _volumes_ml(case: CaseScores, label: str, names: Sequence[str]) -> dict[str, float]:
    """Volume of each that read the structure, 0 for an empty outline; empty where pairs were cut to common slices."""
    volumes = marked_volumes(case, label)
    if volumes is None:
        return {}
    return {name: volumes.get(name, 0.0) for name in case.presence(label, names)}
