"""`medseg evaluate`: every prediction against every rater, and against the truth where the data set has one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from medseg.errors import UsageError
from medseg.evaluation.agreement import TRUTH, Protocol
from medseg.evaluation.entries import summary
from medseg.evaluation.metrics import MAIN, METRICS
from medseg.evaluation.scoring import score_case
from medseg.imaging.regions import Reading
from medseg.io.manifest import Dataset
from medseg.workflows.agreement_cache import case_key
from medseg.workflows.fleet import Fleet, ready
from medseg.workflows.fleet_finished import Finished, check_out, close_out, open_out
from medseg.workflows.fleet_outcomes import results_of
from medseg.workflows.outputs import plain, provenance, write_csv, write_json
from medseg.workflows.readings import ReadCase, Readings, dataset_readings, open_dataset

SCHEMA = "medseg.evaluation/1"
KIND = "evaluation"  # of output folder
COLUMNS = (
    "case", "patient", "label", "rater", *METRICS, "volume_reference_ml", "volume_prediction_ml", "flag",
)  # fmt: skip
Row = dict[str, Any]


def evaluate(
    dataset: Dataset | str | Path,
    predictions: str | Path,
    out: str | Path,
    *,
    tolerance_mm: float = 2.0,
    overwrite: bool = False,
    allow_missing: bool = False,
    split: str | None = None,
    jobs: int | None = 1,
    ray: str | None = None,
    insecure_cluster: bool = False,
    on_case: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Scores of the predictions; writes `scores.csv` and `evaluation.json` and returns what the latter holds.

    Every finished case is kept under `scored`, so that an evaluation that was cut off goes on where it was.

    Args:
        dataset: a Dataset, or its `dataset.yaml` or folder.
        predictions: folder of `<case>.nii.gz` in the data set's label values.
        out: folder for the result.
        tolerance_mm: of NSD.
        allow_missing: go on without the cases that have no prediction; they are listed in the result.
        split: score the cases of this split only.
        jobs: cases scored at the same time, by a process each; None: as many as cores with Ray. Results do not
            depend on it.
        ray: score on Ray workers instead: `local`, or the address of a cluster.
        insecure_cluster: accept a cluster that asks for no token.
        on_case: called with (done, total) after each case.

    Raises:
        FileReadError: predictions are missing; UsageError, GeometryError, LabelError: see `dataset_readings`.
    """
    check_tolerance(tolerance_mm)
    source = dataset_readings(open_dataset(dataset), predictions, split=split, allow_missing=allow_missing)
    assert source.model is not None and source.labels is not None
    fleet = Fleet(jobs, ray, insecure_cluster=insecure_cluster)
    finished = check_out(out, kind=KIND, overwrite=overwrite)
    outcomes = fleet.map(
        ready(CaseEvaluator(source, tolerance_mm, finished, threads=1 if fleet.most > 1 else None)),
        list(source.cases),
        on_done=None if on_case is None else lambda _, done, total: on_case(done, total),
        name=lambda case_id: f"case {case_id}",
    )
    cases = results_of(outcomes)
    rows = [row for case in cases for row in case.rows]
    diagonals = {case.case: case.diagonal_mm for case in cases if case.diagonal_mm is not None}
    missing = [case.case for case in cases if case.diagonal_mm is None]
    result = plain(_summarise(rows, diagonals, source, missing, tolerance_mm, split))
    folder = open_out(out, kind=KIND)  # only now: bad input leaves the old
    finished.keep({case.key for case in cases})
    write_csv(folder / "scores.csv", plain(rows), COLUMNS)
    write_json(folder / "evaluation.json", result)
    close_out(folder)
    return result


@dataclass(frozen=True)
class Evaluated:
    """One case scored: a row for each label and rater; without a prediction none, and no diagonal."""

    case: str
    rows: Sequence[Row] = ()
    diagonal_mm: float | None = None
    key: str = ""


@dataclass(frozen=True)
class CaseEvaluator:
    """Reads one case and scores its prediction unless that was done before; can be handed to another process."""

    source: Readings
    tolerance_mm: float
    finished: Finished
    threads: int | None = None

    def __call__(self, case_id: str) -> Evaluated:
        case, source = self.source.read(case_id), self.source
        if source.model not in case.readings:
            return Evaluated(case_id)
        asked = {"evaluation": sorted(METRICS), "tolerance": self.tolerance_mm, "labels": source.labels}
        key = case_key(case, source.raters, source.models, asked)
        rows = self.finished.read(key)
        if rows is None:
            rows = _score(case, source, self.tolerance_mm, self.threads)
            self.finished.write(key, rows)
        return Evaluated(case_id, rows, case.diagonal_mm, key)


def score_table(evaluation: Mapping[str, Any]) -> Table:
    """The summary as a table for the screen: a line per label and rater, means with n."""
    table = Table(title=f"{evaluation['model']}: mean over patients", title_justify="left", caption_justify="left")
    table.caption = "A missed structure scores 0, and its distance counts as the image's diagonal."
    table.add_column("label")
    table.add_column("against")
    for metric in (METRICS[key] for key in MAIN):
        table.add_column(metric.title + (f" ({metric.unit})" if metric.unit else ""), justify="right")
    table.add_column("n", justify="right")
    for label, raters in evaluation["labels"].items():
        for rater, scores in raters.items():
            cells = [_cell(scores[key]["mean"]) for key in MAIN]
            table.add_row(label, rater, *cells, str(scores["dice"]["n"]))
    return table


def check_tolerance(tolerance_mm: float) -> None:
    """Raises UsageError unless the tolerance is a number of at least 0."""
    if not (np.isfinite(tolerance_mm) and tolerance_mm >= 0):
        raise UsageError("wrong tolerance", where="--tolerance", expected="a number of mm, at least 0",
                         got=str(tolerance_mm))  # fmt: skip


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _score(case: ReadCase, source: Readings, tolerance_mm: float, threads: int | None) -> list[Row]:
    assert source.model is not None
    readings: dict[str, Reading] = dict(case.readings)
    if case.truth is not None:
        readings[TRUTH] = case.truth
    pairs = [(name, source.model) for name in readings if name != source.model]
    return [
        {
            "case": case.id,
            "patient": case.patient,
            "label": score.label,
            "rater": score.a,
            **score.values,
            "volume_reference_ml": score.volume_a_ml,
            "volume_prediction_ml": score.volume_b_ml,
            "flag": score.flag,
        }
        for score in score_case(readings, labels=source.labels, tolerance_mm=tolerance_mm, pairs=pairs, threads=threads)
    ]


def _summarise(
    rows: Sequence[Row],
    diagonals: Mapping[str, float],
    source: Readings,
    missing: Sequence[str],
    tolerance_mm: float,
    split: str | None,
) -> dict[str, Any]:
    raters = [name for name in (*source.raters, TRUTH) if any(row["rater"] == name for row in rows)]
    scored = [case for case in source.cases if case in diagonals]
    return {
        "schema": SCHEMA,
        "model": source.model,
        "config": {
            "tolerance_mm": tolerance_mm,
            "split": split,
            "surface": "surfel areas for NSD, border voxels for distances",
            "percentile_rule": "larger of the two directed 95th percentiles, linear",
            "empty_policy": "diagonal",
            "means": "over patients",
        },
        "empty_rules": {key: metric.empty_rule for key, metric in METRICS.items()},
        "design": {
            "n_cases": len(scored),
            "n_patients": len({source.cases[case] for case in scored}),
            "raters": raters,
            "missing_predictions": list(missing),
        },
        "labels": {
            label: {rater: _means(rows, label, rater, diagonals) for rater in raters} for label in source.labels or ()
        },
        "provenance": provenance(source.files),
    }


def _means(rows: Sequence[Row], label: str, rater: str, diagonals: Mapping[str, float]) -> dict[str, Any]:
    """Summaries of one label against one rater, an infinite distance counted as the image diagonal."""
    mine = [row for row in rows if row["label"] == label and row["rater"] == rater]
    patients = [row["patient"] for row in mine]
    found: dict[str, Any] = {}
    for key, metric in METRICS.items():
        values = [float(metric.fill_infinite(np.array(row[key]), diagonals[row["case"]])) for row in mine]
        found[key] = summary(values, patients, key, Protocol())
        found[key]["infinite"] = sum(bool(np.isinf(row[key])) for row in mine)
    volumes = [row for row in mine if row["flag"] != "missing"]
    for key in ("volume_reference_ml", "volume_prediction_ml"):
        found[key] = float(np.mean([row[key] for row in volumes])) if volumes else None
    lone = [row for row in mine if row["flag"] == "one_empty"]
    missed = sum(row["volume_prediction_ml"] == 0 for row in lone)
    return found | {"missed": missed, "false_positives": len(lone) - missed, "cases": len(volumes)}
