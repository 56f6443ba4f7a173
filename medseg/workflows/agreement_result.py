"""The content of `agreement.json`, assembled from what was found."""

from __future__ import annotations

from collections.abc import Sequence

from medseg.evaluation.agreement import Json, LabelAgreement, Protocol, verdict
from medseg.evaluation.consensus import TIE
from medseg.evaluation.domain import MARGIN_MM
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.paired import identical_readings
from medseg.evaluation.ranking_entry import ranking_entry
from medseg.evaluation.statistics import INTERVAL_RULE
from medseg.evaluation.surface_rules import SURFEL, VOXEL, surface_rule
from medseg.evaluation.verdict import Study
from medseg.evaluation.words import counted
from medseg.workflows.agreement_options import AgreementOptions
from medseg.workflows.agreement_scoring import Scored, models_of
from medseg.workflows.outputs import provenance
from medseg.workflows.readings import Readings

SCHEMA = "medseg.agreement/1"
SURFACES = {SURFEL: "marching-cubes surfel areas", VOXEL: "numbers of border voxels"}


def assemble(
    source: Readings, scored: Scored, found: Sequence[LabelAgreement], protocol: Protocol, asked: AgreementOptions
) -> tuple[Json, str | None]:
    """The content of the file and the label that decided for the first model."""
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
        "config": _config(scored, protocol, asked),
        "design": _design(source, scored),
        "labels": {label.label: label.entry for label in found},
        "verdict": verdicts,
        "warnings": warnings,
        "provenance": provenance({**source.files, **source.soft_files}),
    }
    if ranking := ranking_entry(found, models, protocol):
        result["ranking"] = ranking
    return result, next(iter(judged.values()))[1]


def _design(source: Readings, scored: Scored) -> Json:
    return {
        "n_cases": len(source.cases),
        "n_patients": len(set(source.cases.values())),
        "raters": list(source.raters),
        "models": list(models_of(source)),
        "missing": dict(scored.missing),
        "anonymous": source.anonymous,
    } | ({"trained_on": {model: list(raters) for model, raters in source.trained_on.items()}}
         if source.trained_on else {})  # fmt: skip


def _config(scored: Scored, protocol: Protocol, asked: AgreementOptions) -> Json:
    rule = surface_rule(asked.surface)
    return {
        "metric": protocol.metric,
        "primary": str(protocol.primary) if protocol.primary else None,
        "secondary": [str(question) for question in protocol.secondary],
        "margin": protocol.margin_source if protocol.margins else None,
        "surface": rule.nsd,
        "surface_rule": f"{SURFACES[rule.nsd]} for NSD, border voxels for distances; outside the image is background",
        "surface_definition": rule.as_dict(),
        "percentile_rule": "larger of the two directed 95th percentiles, linear",
        "interval_rule": INTERVAL_RULE,
        "empty_policy": protocol.empty_policy,
        "empty_rules": {key: metric.empty_rule for key, metric in METRICS.items()},
        "consensus": f"majority of the other readers, an even split is {TIE}",
        "domain_mm": MARGIN_MM,
        "tolerance_mm": {label: protocol.tolerance_of(label) for label in scored.labels},
        "guard_margin": protocol.guard_margin,
        "split": asked.split,
        "bootstrap": {"draws": protocol.draws, "seed": protocol.seed, "cluster": "patient"},
    }


def _dependence(scored: Scored, source: Readings) -> list[str]:
    """Warnings about readings that are equal voxel by voxel, and about models that learned from a reader."""
    equal = {
        pair: count
        for model in models_of(source) or (None,)
        for pair, count in identical_readings(scored.cases, source.raters, model).items()
    }
    copies = [
        f"{a} and {b} have identical outlines in {same} of {counted(both, 'comparison')} that both marked: "
        "they are not independent, and agreement is overstated"
        for (a, b), (same, both) in equal.items()
    ]
    learned = [
        f"{model} learned from outlines of {', '.join(raters)}: its agreement with them is shown apart"
        for model, raters in source.trained_on.items()
        if raters
    ]
    return [*copies, *learned]
