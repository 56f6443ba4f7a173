"""`medseg agree`: is the model as close to the readers as they are to each other? Files, figures and the page.

The numbers come from `medseg.evaluation.agreement`; here they are only collected and written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import UsageError
from medseg.evaluation.agreement import TRUTH, Json, LabelAgreement, Protocol, label_agreement, verdict
from medseg.evaluation.consensus import TIE
from medseg.evaluation.metrics import METRICS, SYMMETRIC
from medseg.evaluation.paired import CaseAgreement, CaseScores, identical_readings, kind_of
from medseg.evaluation.scoring import Pair, others_of, score_case
from medseg.evaluation.verdict import Study
from medseg.files import check_output_folder, open_output_folder, write_text
from medseg.io.manifest import Dataset
from medseg.report.figures import bland_altman, forest, matrix, scatter, to_svg
from medseg.report.overlay import Overlay
from medseg.report.page import Table, agreement_page
from medseg.workflows.evaluation import check_tolerance
from medseg.workflows.outputs import plain, provenance, write_csv, write_json
from medseg.workflows.readings import ReadCase, Readings, dataset_readings, folder_readings, open_dataset
from medseg.workflows.slices import case_overlay, shown_cases

SCHEMA = "medseg.agreement/1"
PAIR_COLUMNS = (
    "case", "patient", "label", "a", "b", "kind", *METRICS, "volume_a_ml", "volume_b_ml", "flag",
)  # fmt: skip
CASE_COLUMNS = ("case", "patient", "label", "metric", "human_human", "model_human", "difference", "everyone_marked")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Scored:
    """All cases scored: the labels met, the pairs of every case, and who did not read how many cases."""

    labels: tuple[str, ...]
    cases: tuple[CaseScores, ...]
    missing: Mapping[str, int]


def agree(
    dataset: Dataset | str | Path | None = None,
    predictions: str | Path | None = None,
    *,
    out: str | Path,
    raters: str | Path | None = None,
    model: str | Path | None = None,
    metric: str = "dice",
    margin: float | Mapping[str, float] | None = None,
    tolerance_mm: float = 2.0,
    images: bool = True,
    overwrite: bool = False,
    allow_missing: bool = False,
    split: str | None = None,
    draws: int = 10_000,
    seed: int = 0,
    tables: Sequence[Table] = (),
    on_case: Progress | None = None,
) -> Json:
    """Agreement of readers with each other and of the model with them; returns what `agreement.json` holds.

    Writes `agreement.json`, `pairs.csv`, `cases.csv`, `report.html` and `figures/*.svg` into `out`.

    Args:
        dataset, predictions: a data set and a folder of `<case>.nii.gz`; without predictions readers only.
        raters, model: bare folders `<rater>/<case>.nii.gz` and `<case>.nii.gz` instead; the model may be left out.
        metric: key of SYMMETRIC that is judged.
        margin: positive, in the metric's unit, for every label or by label; none: nothing is judged.
        tolerance_mm: of NSD.
        images: show CT slices below the outlines where the data set has images.
        allow_missing: go on where predictions are missing.
        split: cases of this split only.
        draws, seed: of the bootstrap.
        tables: further tables for the page.
        on_case: called with (done, total) after each case.

    Raises:
        UsageError: arguments that exclude each other or make no sense.
        FileReadError, GeometryError, LabelError: see `medseg.workflows.readings`.
    """
    _check(metric, margin, draws, seed)
    check_tolerance(tolerance_mm)
    source = _source(dataset, predictions, raters, model, split, allow_missing)
    check_output_folder(out, kind="agreement", overwrite=overwrite)
    scored = score_readings(source, tolerance_mm, on_case)
    protocol = Protocol(metric, _margins(margin, scored.labels), tolerance_mm, draws=draws, seed=seed)
    found = [label_agreement(scored.cases, label, source.raters, source.model, protocol) for label in scored.labels]
    result, deciding = _assemble(source, scored, found, protocol, split)
    overlays = _overlays(source, found, deciding, protocol, images)
    result["config"]["images"] = "contains patient images" if any(o.hu is not None for o in overlays) else "no images"
    result = plain(result)
    folder = open_output_folder(out, kind="agreement", overwrite=overwrite)  # only now: bad input leaves the old
    _write(folder, result, plain(_pair_rows(scored, source)), plain(_case_rows(found)), overlays, tables)
    return result


def score_readings(source: Readings, tolerance_mm: float, on_case: Progress | None = None) -> Scored:
    """Every pair of every case, read one case at a time."""
    everyone = [*source.raters, *([source.model] if source.model else [])]
    missing = dict.fromkeys(everyone, 0)
    labels: dict[str, None] = dict.fromkeys(source.labels or ())
    cases: list[CaseScores] = []
    for done, case_id in enumerate(source.cases, 1):
        case = source.read(case_id)
        for name in everyone:
            missing[name] += name not in case.readings
        if case.readings:
            here = source.labels or _values_in(case)
            labels |= dict.fromkeys(here)
            cases.append(_score(case, source, here, tolerance_mm))
        if on_case:
            on_case(done, len(source.cases))
    order = list(labels) if source.labels else sorted(labels, key=int)
    return Scored(tuple(order), tuple(cases), missing)


def _score(case: ReadCase, source: Readings, labels: Sequence[str], tolerance_mm: float) -> CaseScores:
    raters = [rater for rater in source.raters if rater in case.readings]
    model = source.model if source.model in case.readings else None
    pairs: list[Pair] = list(combinations(raters, 2))
    readings = dict(case.readings)
    if model is not None:
        pairs += [(rater, model) for rater in raters]
    if len(raters) > 1:
        pairs += [(others_of(rater), name) for rater in raters for name in (rater, model) if name]
    if case.truth is not None:
        readings[TRUTH] = case.truth
        pairs += [(TRUTH, name) for name in (*raters, model) if name]
    scores = score_case(readings, labels=labels, tolerance_mm=tolerance_mm, pairs=pairs, leave_one_out=raters)
    return CaseScores(case.id, case.patient, scores, case.diagonal_mm)


def _values_in(case: ReadCase) -> tuple[str, ...]:
    """The labels of a bare case, by value."""
    names = {name for reading in case.readings.values() for name in reading.label_set.foreground}
    return tuple(sorted(names, key=int))


def _check(metric: str, margin: float | Mapping[str, float] | None, draws: int, seed: int) -> None:
    if metric not in SYMMETRIC:
        known = "one of " + ", ".join(SYMMETRIC)
        raise UsageError("unknown metric", where="--metric", expected=known, got=repr(metric))
    values = [] if margin is None else list(margin.values()) if isinstance(margin, Mapping) else [margin]
    if any(not (np.isfinite(value) and value > 0) for value in values):
        raise UsageError("wrong margin", where="--margin", expected="a positive number in the metric's unit",
                         got=str(margin))  # fmt: skip
    if seed < 0:
        raise UsageError("out of range", where="--seed", expected="0 or above", got=str(seed))
    if draws < 100:
        raise UsageError("too few bootstrap draws", where="draws", expected="at least 100", got=str(draws))


def _source(
    dataset: Dataset | str | Path | None,
    predictions: str | Path | None,
    raters: str | Path | None,
    model: str | Path | None,
    split: str | None,
    allow_missing: bool,
) -> Readings:
    if (dataset is None) == (raters is None):
        raise UsageError("nothing to compare, or two inputs", expected="either DATASET PREDICTIONS or --raters DIR")
    if raters is not None:
        if split is not None or predictions is not None:
            raise UsageError("bare folders have no splits and no predictions folder", expected="--raters and --model")
        return folder_readings(raters, model, allow_missing=allow_missing)
    if model is not None:
        raise UsageError("--model belongs to --raters", expected="DATASET PREDICTIONS")
    assert dataset is not None
    return dataset_readings(open_dataset(dataset), predictions, split=split, allow_missing=allow_missing)


def _margins(margin: float | Mapping[str, float] | None, labels: Sequence[str]) -> dict[str, float]:
    if margin is None:
        return {}
    if not isinstance(margin, Mapping):
        return dict.fromkeys(labels, float(margin))
    if unknown := [label for label in margin if label not in labels]:
        raise UsageError("a margin for an unknown label", where="--margin", expected="one of " + ", ".join(labels),
                         got=", ".join(unknown))  # fmt: skip
    return {label: float(value) for label, value in margin.items()}


def _assemble(
    source: Readings, scored: Scored, found: Sequence[LabelAgreement], protocol: Protocol, split: str | None
) -> tuple[Json, str | None]:
    """The content of `agreement.json` and the label that decided."""
    patients = {case.patient for case in scored.cases}
    study = Study(len(scored.cases), len(patients), len(source.raters))
    judged, deciding = verdict(found, study, protocol)
    for label in found if source.anonymous else ():  # reader K is another person in every case
        label.entry.update(leave_one_out={}, presence={})
    warnings = [*source.notes, *_dependence(scored, source)]
    judged["reasons"] = [*judged["reasons"], *warnings]
    result: Json = {
        "schema": SCHEMA,
        "config": _config(scored, protocol, split),
        "design": {
            "n_cases": len(source.cases),
            "n_patients": len(set(source.cases.values())),
            "raters": list(source.raters),
            "models": [source.model] if source.model else [],
            "missing": dict(scored.missing),
            "anonymous": source.anonymous,
        },
        "labels": {label.label: label.entry for label in found},
        "verdict": {source.model or "readers": judged},
        "warnings": warnings,
        "provenance": provenance(source.files),
    }
    return result, deciding


def _config(scored: Scored, protocol: Protocol, split: str | None) -> Json:
    return {
        "metric": protocol.metric,
        "margin": "stated by the user" if protocol.margins else None,
        "surface": "surfel",
        "surface_rule": "marching-cubes surfel areas for NSD, border voxels for distances; "
        "outside the image is background",
        "percentile_rule": "larger of the two directed 95th percentiles, linear",
        "empty_policy": "diagonal",
        "empty_rules": {key: metric.empty_rule for key, metric in METRICS.items()},
        "consensus": f"majority of the other readers, an even split is {TIE}",
        "domain_mm": None,
        "tolerance_mm": dict.fromkeys(scored.labels, protocol.tolerance_mm),
        "guard_margin": protocol.guard_margin,
        "split": split,
        "bootstrap": {"draws": protocol.draws, "seed": protocol.seed, "cluster": "patient"},
    }


def _dependence(scored: Scored, source: Readings) -> list[str]:
    """Warnings about readings that are equal voxel by voxel."""
    found = identical_readings(scored.cases, source.raters, source.model)
    return [
        f"{a} and {b} have identical outlines in {same} of {both} comparisons that both marked: "
        "they are not independent, and agreement is overstated"
        for (a, b), (same, both) in found.items()
    ]


def _pair_rows(scored: Scored, source: Readings) -> list[Json]:
    return [
        {
            "case": case.case,
            "patient": case.patient,
            "label": score.label,
            "a": score.a,
            "b": score.b,
            "kind": kind,
            **score.values,
            "volume_a_ml": score.volume_a_ml,
            "volume_b_ml": score.volume_b_ml,
            "flag": score.flag,
        }
        for case in scored.cases
        for score in case.scores
        if (kind := kind_of(score, source.raters, source.model))
    ]


def _case_rows(found: Sequence[LabelAgreement]) -> list[Json]:
    return [{column: getattr(row, column) for column in CASE_COLUMNS} for label in found for row in label.rows]


def _overlays(
    source: Readings, found: Sequence[LabelAgreement], deciding: str | None, protocol: Protocol, images: bool
) -> list[Overlay]:
    """Best, median and worst case of the label that decided."""
    rows: list[CaseAgreement] = [
        row for label in found if label.label == deciding for row in label.rows if row.metric == protocol.metric
    ]
    overlays = []
    for name, row in shown_cases(rows):
        volume = source.image(row.case) if images and source.image else None
        value = row.difference if not np.isnan(row.difference) else row.human_human
        what = f"D {value:+.3f}" if not np.isnan(row.difference) else f"readers {value:.3f}"
        title = f"{name} case, {row.label}: {what} ({METRICS[protocol.metric].title})"
        overlays.append(case_overlay(source.read(row.case), row.label, title, volume))
    return overlays


def _write(
    folder: Path,
    result: Json,
    pairs: Sequence[Mapping[str, Any]],
    cases: Sequence[Mapping[str, Any]],
    overlays: Sequence[Overlay],
    tables: Sequence[Table],
) -> None:
    write_json(folder / "agreement.json", result)
    write_csv(folder / "pairs.csv", pairs, PAIR_COLUMNS)
    write_csv(folder / "cases.csv", cases, CASE_COLUMNS)
    for name, svg in _figures(result, pairs, cases):
        write_text(folder / "figures" / f"{name}.svg", svg)
    write_text(folder / "report.html", agreement_page(result, pairs, cases, overlays, tables))


def _figures(
    result: Json, pairs: Sequence[Mapping[str, Any]], cases: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str]]:
    """File stem and SVG of every figure."""
    metric, models = result["config"]["metric"], result["design"]["models"]
    figures = [("forest", to_svg(forest(result, metric), "forest"))] if models else []
    for label in result["labels"]:
        safe = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in label)
        drawn = [("matrix", matrix(pairs, label, metric, models=models))]
        if models:
            margin = result["labels"][label]["models"][models[0]]["difference"][metric]["margin"]
            drawn.append(("scatter", scatter(cases, label, metric, margin=margin)))
        drawn.append(("volumes", bland_altman(pairs, label, models=models)))
        figures += [(f"{kind}_{safe}", to_svg(figure, f"{kind}-{safe}")) for kind, figure in drawn]
    return figures
