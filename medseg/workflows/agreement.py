"""`medseg agree`: is the model as close to the readers as they are to each other? Files, figures and the page.

The numbers come from `medseg.evaluation.agreement`; here they are only collected and written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import numpy as np

from medseg.errors import UsageError
from medseg.evaluation.agreement import Json, LabelAgreement, Protocol, verdict
from medseg.evaluation.consensus import TIE
from medseg.evaluation.damaged import standard_damages
from medseg.evaluation.degrade import Damage, read_damage
from medseg.evaluation.domain import MARGIN_MM
from medseg.evaluation.metrics import METRICS, SYMMETRIC
from medseg.evaluation.paired import identical_readings
from medseg.evaluation.primary import read_question
from medseg.evaluation.ranking_entry import ranking_entry
from medseg.evaluation.self_checks import null_control_entry
from medseg.evaluation.verdict import Study
from medseg.io.manifest import Dataset
from medseg.report.page import Table
from medseg.workflows.agreement_cache import check_out, open_out
from medseg.workflows.agreement_files import case_rows, overlays, pair_rows, write_agreement
from medseg.workflows.agreement_label import label_entry
from medseg.workflows.agreement_scoring import Progress, Scored, Scoring, models_of, score_readings
from medseg.workflows.agreement_settings import settle
from medseg.workflows.agreement_viewers import viewer_table, worst_rows, write_viewers
from medseg.workflows.fleet import Fleet
from medseg.workflows.outputs import plain, provenance
from medseg.workflows.readings import (
    Models,
    ReadingOptions,
    Readings,
    dataset_readings,
    folder_readings,
    manifest_readings,
    open_dataset,
)
from medseg.workflows.registration import read_registration

SCHEMA = "medseg.agreement/1"


def agree(
    dataset: Dataset | str | Path | None = None,
    predictions: Models = None,
    *,
    out: str | Path,
    raters: str | Path | None = None,
    model: Models = None,
    manifest: str | Path | None = None,
    reading: ReadingOptions | None = None,
    metric: str | None = None,
    primary: str | None = None,
    margin: float | Mapping[str, float] | None = None,
    tolerance_mm: float | Mapping[str, float] | Literal["readers"] | None = None,
    plan: str | Path | None = None,
    null_control: bool = False,
    degrade: bool | Sequence[str] = False,
    lesions: bool | Sequence[str] = False,
    viewers: int = 0,
    images: bool = True,
    overwrite: bool = False,
    allow_missing: bool = False,
    split: str | None = None,
    draws: int = 10_000,
    seed: int = 0,
    jobs: int = 1,
    ray: str | None = None,
    insecure_cluster: bool = False,
    tables: Sequence[Table] = (),
    on_case: Progress | None = None,
) -> Json:
    """Agreement of readers with each other and of models with them; returns what `agreement.json` holds.

    Writes `agreement.json`, `pairs.csv`, `cases.csv`, `report.html` and `figures/*.svg` into `out`, and under `scored`
    every finished case, so that a comparison that was cut off goes on where it was.

    Args:
        dataset, predictions: a data set and a folder of `<case>.nii.gz`, or several, one per model; without
            predictions readers only.
        raters, model: bare folders `<rater>/<case>.nii.gz` and `<case>.nii.gz` instead, one or several models or none.
        manifest: a CSV or YAML list of readings instead.
        reading: what else is to be said about the input: names, patterns, maps of labels, resampling.
        metric: key of SYMMETRIC that is judged, Dice by default.
        primary: `LABEL:METRIC`, the one question that decides; without it the worst label does.
        margin: positive, in the metric's unit, for every label or by label; none: nothing is judged.
        tolerance_mm: of NSD, one for all labels or by label (2 mm for a label not there), or `readers`: from the
            readers' own distances in other patients; 2 mm by default.
        plan: a registered plan; it gives what is not given here, and a run that follows it is pre-specified.
        null_control: each reader in turn plays the model.
        degrade: damage the model's outlines (without a model the first reader's) by known amounts and judge them:
            words such as `erode:2`, or True for the standard ones.
        lesions: match the connected components of these labels (True: of all) one to one as lesions.
        viewers: how many of the worst cases get a viewer page of their own, about 3 MB each.
        images: show CT slices below the outlines where the data set has images.
        allow_missing: go on where predictions are missing.
        split: cases of this split only.
        draws, seed: of the bootstrap.
        jobs: cases scored at the same time, by a process each.
        ray: score on Ray workers instead: `local`, or the address of a cluster.
        insecure_cluster: accept a cluster that asks for no token.
        tables: further tables for the page.
        on_case: called with (done, total) after each case.

    Raises:
        UsageError: arguments that exclude each other or make no sense.
        FileReadError, GeometryError, LabelError: see `medseg.workflows.readings`.
    """
    registration = read_registration(plan) if plan is not None else None
    asked = settle(registration, metric=metric, primary=primary, margin=margin, tolerance_mm=tolerance_mm)
    _check(asked.metric, asked.margin, draws, seed)
    source = _source(dataset, predictions, raters, model, manifest, split, allow_missing, reading or ReadingOptions())
    cache = check_out(out, overwrite=overwrite)
    scoring = Scoring(
        asked.scored_mm,
        _damages(degrade, source),
        (*models_of(source), *source.raters)[0],
        None if lesions is True else tuple(lesions or ()),
        Fleet(jobs, ray, insecure_cluster=insecure_cluster),
        seed,
        cache,
    )
    scored = score_readings(source, scoring, on_case)
    protocol = Protocol(
        asked.metric,
        _margins(asked.margin, scored.labels),
        asked.scored_mm,
        asked.guard_margin,
        draws=draws,
        seed=seed,
        primary=read_question(asked.primary, scored.labels) if asked.primary else None,
        anonymous=source.anonymous,
    )
    scored, protocol, tolerances = asked.with_tolerances(scored, protocol, source.raters)
    checked = asked.verify(registration, protocol, scored.labels, source)
    protocol = replace(protocol, margin_source=checked.status)
    found = [label_entry(label, scored, source, scoring, protocol) for label in scored.labels]
    for label in found if null_control else ():
        label.entry["null_control"] = null_control_entry(scored.cases, label.label, source.raters, protocol)
    for label in found if tolerances else ():
        label.entry["tolerance"] = tolerances[label.label]
    result, deciding = _assemble(source, scored, found, protocol, split)
    if registration:
        result["config"]["registration"] = asdict(checked)
    slices = overlays(source, found, deciding, protocol, images)
    result["config"]["images"] = "contains patient images" if any(o.hu is not None for o in slices) else "no images"
    result = plain(result)
    pairs = plain(pair_rows(scored.cases, source.raters, models_of(source)))
    folder = open_out(out)  # only now: bad input leaves the old
    cache.keep({case.key for case in scored.results})
    worst = worst_rows(found, deciding, protocol.metric, viewers)
    write_viewers(folder, source, worst, protocol, images=images)
    write_agreement(folder, result, pairs, plain(case_rows(found)), slices, [*viewer_table(worst), *tables])
    return result


def _damages(degrade: bool | Sequence[str], source: Readings) -> tuple[Damage, ...]:
    if degrade is True:
        first = source.read(next(iter(source.cases)))
        return tuple(standard_damages(first.geometry.spacing_mm)) if first.readings else ()
    return tuple(read_damage(text) for text in degrade or ())


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
    predictions: Models,
    raters: str | Path | None,
    model: Models,
    manifest: str | Path | None,
    split: str | None,
    allow_missing: bool,
    reading: ReadingOptions,
) -> Readings:
    if sum(given is not None for given in (dataset, raters, manifest)) != 1:
        raise UsageError("nothing to compare, or two inputs",
                         expected="one of DATASET PREDICTIONS, --raters DIR and --manifest FILE")  # fmt: skip
    if dataset is None and (split is not None or predictions is not None):
        raise UsageError("bare folders and manifests have no splits and no predictions folder",
                         expected="--raters and --model, or --manifest alone")  # fmt: skip
    if raters is None and model is not None:
        raise UsageError("--model belongs to --raters", expected="DATASET PREDICTIONS, or models in the manifest")
    if manifest is not None:
        return manifest_readings(manifest, allow_missing=allow_missing, options=reading)
    if raters is not None:
        return folder_readings(raters, model, allow_missing=allow_missing, options=reading)
    assert dataset is not None
    return dataset_readings(
        open_dataset(dataset), predictions, split=split, allow_missing=allow_missing, options=reading
    )


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
    """The content of `agreement.json` and the label that decided for the first model."""
    patients = {case.patient for case in scored.cases}
    study = Study(len(scored.cases), len(patients), len(source.raters))
    models = models_of(source)
    judged = {model: verdict(found, model or None, study, protocol) for model in models or ("",)}
    warnings = [*source.told([result.facts for result in scored.results]), *_dependence(scored, source)]
    verdicts = {
        model or "readers": entry | {"reasons": [*entry["reasons"], *warnings]} for model, (entry, _) in judged.items()
    }
    result: Json = {
        "schema": SCHEMA,
        "config": _config(scored, protocol, split),
        "design": {
            "n_cases": len(source.cases),
            "n_patients": len(set(source.cases.values())),
            "raters": list(source.raters),
            "models": list(models),
            "missing": dict(scored.missing),
            "anonymous": source.anonymous,
        },
        "labels": {label.label: label.entry for label in found},
        "verdict": verdicts,
        "warnings": warnings,
        "provenance": provenance({**source.files, **source.soft_files}),
    }
    if ranking := ranking_entry(found, models, protocol):
        result["ranking"] = ranking
    return result, next(iter(judged.values()))[1]


def _config(scored: Scored, protocol: Protocol, split: str | None) -> Json:
    return {
        "metric": protocol.metric,
        "primary": str(protocol.primary) if protocol.primary else None,
        "margin": protocol.margin_source if protocol.margins else None,
        "surface": "surfel",
        "surface_rule": "marching-cubes surfel areas for NSD, border voxels for distances; "
        "outside the image is background",
        "percentile_rule": "larger of the two directed 95th percentiles, linear",
        "empty_policy": "diagonal",
        "empty_rules": {key: metric.empty_rule for key, metric in METRICS.items()},
        "consensus": f"majority of the other readers, an even split is {TIE}",
        "domain_mm": MARGIN_MM,
        "tolerance_mm": {label: protocol.tolerance_of(label) for label in scored.labels},
        "guard_margin": protocol.guard_margin,
        "split": split,
        "bootstrap": {"draws": protocol.draws, "seed": protocol.seed, "cluster": "patient"},
    }


def _dependence(scored: Scored, source: Readings) -> list[str]:
    """Warnings about readings that are equal voxel by voxel."""
    found = {
        pair: count
        for model in models_of(source) or (None,)
        for pair, count in identical_readings(scored.cases, source.raters, model).items()
    }
    return [
        f"{a} and {b} have identical outlines in {same} of {both} comparisons that both marked: "
        "they are not independent, and agreement is overstated"
        for (a, b), (same, both) in found.items()
    ]
